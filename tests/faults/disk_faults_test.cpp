// Disks that are full and files that are damaged.
#include "tests/faults/fault_fixture.h"

#include <csignal>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>

namespace audiobookd::tests {
namespace {

class FaultDisk : public FaultFixture {
protected:
  /// A worker for which @p folder is a disk of 1 MB, filled up to the last @p room bytes.
  std::unique_ptr<Process> start_on_small_disk(const fs::path& folder, std::size_t room) {
    fs::create_directories(folder);
    const std::string script = fmt::format("mount -t tmpfs -o size=1m small '{0}' && "
                                           "head -c {1} /dev/zero >'{0}/ballast' && exec \"$@\"",
                                           folder.string(), (1U << 20) - room);
    return place_.start({.wrapper = {"/usr/bin/unshare", "-rm", "/bin/sh", "-c", script, "sh"}});
  }
  /// @p file as the worker sees it.
  static fs::path seen_by(const Process& worker, const fs::path& file) {
    return "/proc/" + std::to_string(worker.pid()) + "/root" + file.string();
  }
};

// Fault 23.
TEST_F(FaultDisk, AFullOutputDiskIsTriedAgainLaterAndNothingHalfIsPublished) {
  const auto worker = start_on_small_disk(place_.path("out"), 8192);
  enqueue("book", 1, 40, R"(,"max_attempts":100)");
  ASSERT_TRUE(reaches("book", "retry_wait"));
  EXPECT_NE(field("book", "error").find("No space left on device"), std::string::npos) << field("book", "error");
  ASSERT_TRUE(comes([&] { return std::stoi(field("book", "attempts")) >= 2; })) << "and tried again";
  EXPECT_FALSE(fs::exists(seen_by(*worker, place_.output("book"))));
  fs::remove(seen_by(*worker, place_.path("out/ballast")));
  ASSERT_TRUE(reaches("book", "done"));
  EXPECT_EQ(decoded_samples(seen_by(*worker, place_.output("book"))), book_samples(1, 40));
  EXPECT_EQ(list_names(seen_by(*worker, place_.path("out"))),
            (std::vector<std::string>{".book.mp3.utterances.json", "book.mp3"}));
  EXPECT_EQ(rendered(1), 40U) << "the audio was kept";
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

TEST_F(FaultDisk, AFullChunkStoreIsTriedAgainLaterAndNothingHalfIsPublished) {
  const auto worker = start_on_small_disk(place_.path("worker"), 200'000);
  enqueue("book", 1, 8, R"(,"max_attempts":100)");
  ASSERT_TRUE(reaches("book", "retry_wait"));
  EXPECT_NE(field("book", "error").find("No space left on device"), std::string::npos) << field("book", "error");
  EXPECT_TRUE(published_.counts().empty());
  fs::remove(seen_by(*worker, place_.path("worker/ballast")));
  EXPECT_TRUE(is_published("book", 1, 8));
  EXPECT_EQ(worker->end(SIGTERM), 0);
}

/// Turns a byte in the middle of @p file around.
void damage(const fs::path& file) {
  std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
  const auto middle = static_cast<std::streamoff>(fs::file_size(file) / 2);
  stream.seekg(middle);
  const int byte = stream.get();
  stream.seekp(middle);
  stream.put(static_cast<char>(byte ^ 0x55));
}

// Fault 26.
TEST_F(FaultDisk, ChunksThatWereDamagedAreRenderedAgain) {
  place_.behave_until(10);
  auto first = place_.start({.name = "first", .chunks = "shared"});
  enqueue("book", 1, 30);
  ASSERT_TRUE(comes([&] { return place_.stored_chunks("shared").size() == 10; }));
  first->end(SIGKILL);
  const std::vector<fs::path> chunks = place_.stored_chunks("shared");
  place_.behave(5);
  damage(chunks[0]);
  fs::resize_file(chunks[1], fs::file_size(chunks[1]) / 2);
  fs::resize_file(chunks[2], 0);
  write_file(chunks[3], "something else");
  fs::copy_file(chunks[5], chunks[4], fs::copy_options::overwrite_existing); // whole, but of another utterance
  const auto second = place_.start({.name = "second", .chunks = "shared"});
  EXPECT_TRUE(is_published("book", 1, 30));
  EXPECT_EQ(rendered(1, second->pid()), 25U);
  EXPECT_EQ(second->end(SIGTERM), 0);

  const auto third = place_.start({.name = "third"});
  enqueue("reference", 1, 30);
  EXPECT_TRUE(is_published("reference", 1, 30));
  EXPECT_TRUE(read_file(place_.output("book")) == read_file(place_.output("reference")));
}

} // namespace
} // namespace audiobookd::tests
