// Books in several files, whose workers die or sleep: the folder appears once, whole, and always the same.
#include "jobs/redis_script.h"
#include "tests/faults/fault_fixture.h"
#include "tests/faults/tcp_proxy.h"

#include <csignal>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>

namespace audiobookd::tests {
namespace {

using Files = std::map<std::string, std::string>;

/// Without what differs from job to job: its id and payload in the listing, and so the listing's length.
std::string without_job(const std::string& name, const std::string& content) {
  if (name != "utterances.json" && name != "metadata.json") {
    return content;
  }
  nlohmann::json json = nlohmann::json::parse(content);
  for (const char* field : {"job", "payload", "output"}) {
    json.erase(field);
  }
  if (name == "metadata.json") {
    json.at("files").back().erase("bytes");
  }
  return json.dump();
}

Files content_of(const fs::path& folder) {
  Files files;
  for (const std::string& name : list_names(folder)) {
    files[name] = without_job(name, read_file(folder / name));
  }
  return files;
}

class FaultFolder : public FaultFixture {
protected:
  static constexpr int chapters = 4;
  static constexpr int paragraphs = 6;            // of each
  static constexpr int utterances = chapters * 7; // with their headings
  static constexpr int files = 2 * chapters + 2;  // audio, subtitles, listing, description

  void enqueue_folder(const std::string& id, const std::string& more = "") {
    std::string text = "---\ntitle: A book\nauthor: Ann\n---\n";
    for (int chapter = 0; chapter < chapters; ++chapter) {
      text += "# " + paragraph(9, chapter) + "\n\n";
      for (int i = 0; i < paragraphs; ++i) {
        text += paragraph(1, chapter * paragraphs + i) + "\n\n";
      }
    }
    write_file(place_.path("in") / "book.md", text);
    add("normal", R"({"id":")" + id + R"(","input":"book.md","output":")" + id +
                      R"(","split":"chapters","layout":"audiobookshelf","subtitles":"vtt")" + more + "}");
  }
  [[nodiscard]] fs::path folder(const std::string& id) const { return place_.path("out") / id; }

  /// Waits until the job is done. Its folder must have appeared once and be as that of a worker that nothing befell.
  ::testing::AssertionResult is_whole(const std::string& id) {
    if (auto done = reaches(id, "done"); !done) {
      return done;
    }
    if (reference_.empty()) {
      place_.behave(1, "", "reference");
      const auto undisturbed = place_.start({.name = "undisturbed", .engine = "reference"});
      enqueue_folder("reference");
      if (auto done = reaches("reference", "done"); !done) {
        return done;
      }
      undisturbed->end(SIGTERM);
      reference_ = content_of(folder("reference"));
    }
    const int times = published_.count(id);
    const bool is_same = content_of(folder(id)) == reference_;
    const bool is_clean = list_names(place_.path("out")).size() == 2;
    if (times == 1 && is_same && is_clean && reference_.size() == files) {
      return ::testing::AssertionSuccess();
    }
    return ::testing::AssertionFailure() << id << " appeared " << times << " times, has "
                                         << content_of(folder(id)).size() << " files"
                                         << (is_same ? "" : ", others than it should have")
                                         << (is_clean ? "" : "; something else lies beside it") << "; logs:\n"
                                         << place_.all_logs();
  }

private:
  Files reference_;
};

// Fault 1.
TEST_F(FaultFolder, AKillInTheMiddleOfABookGivesTheSameFolder) {
  place_.behave_until(12);
  auto first = place_.start({.name = "first", .chunks = "shared"});
  enqueue_folder("book");
  ASSERT_TRUE(comes([&] { return place_.rendered() >= 12; }));
  EXPECT_EQ(first->end(SIGKILL), -SIGKILL);
  EXPECT_FALSE(fs::exists(folder("book")));
  const std::size_t kept = place_.stored_chunks("shared").size();
  place_.behave(5);
  const auto second = place_.start({.name = "second", .chunks = "shared"});
  ASSERT_TRUE(reaches("book", "done"));
  EXPECT_EQ(place_.rendered("", second->pid()), utterances - kept);
  EXPECT_EQ(second->end(SIGTERM), 0);
  EXPECT_TRUE(is_whole("book"));
  const nlohmann::json listed = nlohmann::json::parse(field("book", "result")).at("files");
  ASSERT_EQ(listed.size(), files - 1U);
  for (const nlohmann::json& file : listed) {
    EXPECT_EQ(file.at("bytes"), fs::file_size(folder("book") / file.at("name").get<std::string>()));
  }
}

// Fault 3.
TEST_F(FaultFolder, AKillBetweenRenameAndCompleteIsFoundPublishedAndNotRenderedAgain) {
  TcpProxy proxy(server.socket());
  proxy.hold_request(is_call_of(jobs::scripts::complete));
  auto first = place_.start({.name = "first", .url = proxy.url()});
  enqueue_folder("book");
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  EXPECT_EQ(published_.count("book"), 1);
  first->end(SIGKILL);
  proxy.cut();
  const auto second = place_.start({.name = "second"});
  ASSERT_TRUE(reaches("book", "done"));
  EXPECT_EQ(result("book", "published_by_earlier_attempt"), "true");
  EXPECT_EQ(place_.rendered("", second->pid()), 0U);
  EXPECT_EQ(second->end(SIGTERM), 0);
  EXPECT_TRUE(is_whole("book"));
}

// Fault 3, where the name is known only when the document was read.
TEST_F(FaultFolder, AFolderThatIsNamedByItsDocumentIsFoundToo) {
  TcpProxy proxy(server.socket());
  proxy.hold_request(is_call_of(jobs::scripts::complete));
  auto first = place_.start({.name = "first", .url = proxy.url()});
  write_file(place_.path("in") / "book.md", "---\ntitle: A book\nauthor: Ann\n---\n" + book_text(1, 3));
  add("normal", R"({"id":"named","input":"book.md","output":"{author}/{series}/{title}","layout":"audiobookshelf"})");
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  first->end(SIGKILL);
  proxy.cut();
  const auto second = place_.start({.name = "second"});
  ASSERT_TRUE(reaches("named", "done"));
  EXPECT_EQ(result("named", "published_by_earlier_attempt"), "true");
  EXPECT_EQ(list_names(place_.path("out") / "Ann" / "A book"),
            (std::vector<std::string>{"A book.mp3", "metadata.json", "utterances.json"}));
  EXPECT_EQ(second->end(SIGTERM), 0);
}

// Fault 4.
TEST_F(FaultFolder, AWorkerThatSleptLongerThanItsLeaseNeitherPublishesNorLeavesAnything) {
  place_.behave_until(12);
  place_.behave(1, "", "quick");
  const auto sleeper = place_.start({.name = "sleeper"});
  enqueue_folder("book", R"(,"if_exists":"replace")");
  ASSERT_TRUE(comes([&] { return place_.rendered() >= 12; }));
  sleeper->signal(SIGSTOP);
  const auto heir = place_.start({.name = "heir", .engine = "quick"});
  ASSERT_TRUE(reaches("book", "done"));
  sleeper->signal(SIGCONT);
  EXPECT_TRUE(comes([&] { // whichever it notices first, that its stage is gone or its lease
    return has_logged("sleeper", "job book: abandoned, nothing was published") ||
           has_logged("sleeper", "job book: failed after its lease was lost");
  }));
  EXPECT_EQ(sleeper->end(SIGTERM), 0);
  EXPECT_EQ(heir->end(SIGTERM), 0);
  EXPECT_TRUE(is_whole("book"));
}

// Fault 4, at the worst moment: allowed to publish, and then asleep.
TEST_F(FaultFolder, APermissionToPublishThatCameLateIsAskedForAgain) {
  TcpProxy proxy(server.socket());
  proxy.hold_reply(passes_the_point_of_no_return());
  const auto late = place_.start({.name = "late", .url = proxy.url()});
  enqueue_folder("book", R"(,"if_exists":"replace")");
  ASSERT_TRUE(comes([&] { return proxy.has_sprung(); }));
  late->signal(SIGSTOP);
  const auto heir = place_.start({.name = "heir"});
  ASSERT_TRUE(reaches("book", "done"));
  EXPECT_EQ(heir->end(SIGTERM), 0);
  proxy.let_go();
  late->signal(SIGCONT);
  EXPECT_TRUE(comes([&] {
    return has_logged("late", "the lease is gone, nothing was published by this run") ||
           has_logged("late", "job book: abandoned, nothing was published");
  }));
  late->end(SIGKILL);
  EXPECT_TRUE(is_whole("book"));
}

TEST_F(FaultFolder, ReplacingABookLeavesTheNewOneAlone) {
  const auto running = place_.start({.name = "worker"});
  write_file(place_.path("in") / "old.txt", book_text(2, 3));
  add("normal", R"({"id":"old","input":"old.txt","output":"book","subtitles":"vtt"})");
  ASSERT_TRUE(reaches("old", "done"));
  EXPECT_EQ(content_of(folder("book")).size(), 4U);
  enqueue_folder("book");
  ASSERT_TRUE(reaches("book", "dead"));
  EXPECT_NE(field("book", "error").find("exists already"), std::string::npos) << field("book", "error");
  enqueue_folder("skipped", R"(,"if_exists":"skip")");
  write_file(place_.path("in") / "other.txt", book_text(2, 4));
  add("normal", R"({"id":"new","input":"other.txt","output":"book","if_exists":"replace","split":"chapters"})");
  ASSERT_TRUE(reaches("new", "done"));
  EXPECT_EQ(list_names(folder("book")),
            (std::vector<std::string>{"01 - Chapter 1.mp3", "metadata.json", "utterances.json"}));
  ASSERT_TRUE(reaches("skipped", "done"));
  EXPECT_EQ(running->end(SIGTERM), 0);
}

} // namespace
} // namespace audiobookd::tests
