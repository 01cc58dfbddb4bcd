// The target appears whole or not at all, once, and nothing else stays behind.
#include "storage/local_storage.h"
#include "storage/publisher.h"
#include "tests/storage/files.h"
#include "tests/storage/small_disk.h"

#include <csignal>
#include <sys/stat.h>

namespace audiobookd::storage {
namespace {

using tests::throws_with;

void append(Publication& publication, std::string_view text) { publication.append(std::as_bytes(std::span(text))); }

class PublisherTest : public testing::Test {
protected:
  PublishResult publish(std::string_view content, IfExists if_exists, const std::function<bool()>& still_mine = {}) {
    const auto publication = FilePublication::at(target_);
    append(*publication, content);
    return publication->commit(if_exists, still_mine);
  }

  tests::ScratchFolder folder_;
  std::filesystem::path target_ = folder_ / "book.mp3";
};

TEST_F(PublisherTest, ShowsNothingBeforeCommitAndExactlyTheTargetAfterwards) {
  const auto publication = FilePublication::at(target_);
  append(*publication, "one two");
  EXPECT_FALSE(std::filesystem::exists(target_));
  EXPECT_EQ(publication->commit(IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(tests::list_names(folder_.path()), std::vector<std::string>{"book.mp3"});
  EXPECT_EQ(tests::read_file(target_), "one two");
  EXPECT_TRUE(throws_with<std::logic_error>([&] { (void)publication->commit(IfExists::fail, {}); }, "twice"));
}

TEST_F(PublisherTest, DiscardsWhatIsNotCommitted) {
  append(*FilePublication::at(target_), "lost");
  EXPECT_TRUE(tests::list_names(folder_.path()).empty());
}

TEST_F(PublisherTest, OverwritesOnlyWhatWasWritten) {
  const auto publication = FilePublication::at(target_);
  append(*publication, std::string(100'000, 'a'));
  append(*publication, "tail");
  EXPECT_EQ(publication->size(), 100'004U);
  publication->overwrite(1, std::as_bytes(std::span(std::string_view("bc"))));
  publication->overwrite(100'003, std::as_bytes(std::span(std::string_view("L"))));
  EXPECT_THROW(publication->overwrite(100'003, std::as_bytes(std::span(std::string_view("LL")))), std::out_of_range);
  ASSERT_EQ(publication->commit(IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(tests::read_file(target_), "abc" + std::string(99'997, 'a') + "taiL");
}

TEST_F(PublisherTest, DoesWhatIfExistsSays) {
  struct Case {
    const char* content;
    IfExists if_exists;
    PublishResult result;
    const char* left;
  };
  const Case cases[] = {
      {"new", IfExists::fail, PublishResult::exists, "old"},
      {"old", IfExists::fail, PublishResult::identical, "old"},
      {"new", IfExists::skip, PublishResult::skipped, "old"},
      {"older", IfExists::fail, PublishResult::exists, "old"},
      {"new", IfExists::replace, PublishResult::published, "new"},
  };
  for (const Case& c : cases) {
    tests::write_file(target_, "old");
    EXPECT_EQ(publish(c.content, c.if_exists), c.result) << c.content;
    EXPECT_EQ(tests::read_file(target_), c.left);
    EXPECT_EQ(tests::list_names(folder_.path()).size(), 1U);
  }
  for (const IfExists if_exists : {IfExists::fail, IfExists::skip, IfExists::replace}) {
    std::filesystem::remove(target_);
    EXPECT_EQ(publish("new", if_exists), PublishResult::published);
    EXPECT_EQ(tests::read_file(target_), "new");
  }
}

TEST_F(PublisherTest, ComparesTheWholeOfALongTarget) {
  std::string content(300'000, 'x');
  tests::write_file(target_, content);
  EXPECT_EQ(publish(content, IfExists::fail), PublishResult::identical);
  content.back() = 'y';
  EXPECT_EQ(publish(content, IfExists::fail), PublishResult::exists);
}

TEST_F(PublisherTest, PublishesNothingThatIsNoLongerMine) {
  EXPECT_EQ(publish("zombie", IfExists::replace, [] { return false; }), PublishResult::lost);
  EXPECT_TRUE(throws_with<std::runtime_error>(
      [&] { publish("zombie", IfExists::replace, []() -> bool { throw std::runtime_error("redis is gone"); }); },
      "redis is gone"));
  EXPECT_TRUE(tests::list_names(folder_.path()).empty());
}

TEST_F(PublisherTest, RemovesStagesOfDeadRunsOnly) {
  tests::write_file(folder_ / ".book.mp3.000000000123456789abcdef.partial", "dead");
  tests::write_file(folder_ / ".other.mp3.000000000123456789abcdef.partial", "dead, another target");
  tests::write_file(folder_ / ".book.mp3.notes.partial", "no stage");
  const auto living = FilePublication::at(target_);
  append(*living, "living");
  const auto second = FilePublication::at(target_);
  const auto names = tests::list_names(folder_.path());
  EXPECT_EQ(names.size(), 4U); // two foreign files, two living stages
  EXPECT_FALSE(std::filesystem::exists(folder_ / ".book.mp3.000000000123456789abcdef.partial"));
  EXPECT_EQ(living->commit(IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(tests::read_file(target_), "living");
}

TEST_F(PublisherTest, WhatIsClearedIsWrittenAnew) {
  for (const std::size_t before : {std::size_t{10}, std::size_t{200'000}}) {
    const auto publication = FilePublication::at(target_);
    append(*publication, std::string(before, 'x'));
    publication->clear();
    EXPECT_EQ(publication->size(), 0U);
    append(*publication, "anew");
    ASSERT_EQ(publication->commit(IfExists::replace, {}), PublishResult::published);
    EXPECT_EQ(tests::read_file(target_), "anew");
  }
}

TEST_F(PublisherTest, OfOneOwnersTransactionsOnlyTheLastPublishes) {
  const LocalStorage storage({.input = folder_.path(), .output = folder_.path()});
  for (const IfExists if_exists : {IfExists::fail, IfExists::skip, IfExists::replace}) {
    std::filesystem::remove(target_);
    const auto asleep = storage.open_output("book.mp3", "job");
    const auto of_another_job = storage.open_output("book.mp3", "another job");
    const auto nobodys = storage.open_output("book.mp3", "");
    append(*asleep, "asleep");
    // between the last question whether the job is still its own and the rename, another run begins
    std::unique_ptr<Publication> heir;
    const auto falls_asleep = [&] {
      heir = storage.open_output("book.mp3", "job");
      return true;
    };
    EXPECT_EQ(asleep->commit(if_exists, falls_asleep), PublishResult::lost);
    EXPECT_FALSE(std::filesystem::exists(target_));
    append(*heir, "heir");
    EXPECT_EQ(heir->commit(if_exists, {}), PublishResult::published);
    EXPECT_EQ(tests::read_file(target_), "heir");
    EXPECT_EQ(of_another_job->commit(IfExists::replace, {}), PublishResult::published) << "others are left alone";
    EXPECT_EQ(nobodys->commit(IfExists::replace, {}), PublishResult::published);
    EXPECT_EQ(tests::list_names(folder_.path()), std::vector<std::string>{"book.mp3"});
  }
}

TEST_F(PublisherTest, KeepsFilesReadableForOthers) {
  const mode_t before = ::umask(022);
  publish("x", IfExists::fail);
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(target_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644U);
}

TEST_F(PublisherTest, SaysThatTheFolderIsMissing) {
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)FilePublication::at(folder_ / "no/book.mp3"); }, "ENOENT"));
}

/// Real processes that die or race.
class FaultPublisherTest : public PublisherTest {};

TEST_F(FaultPublisherTest, KilledBetweenStageAndRenameLeavesNoTargetAndTheNextRunCleansUp) {
  const int status = tests::wait_for(tests::start_process([&] {
    publish("half", IfExists::replace, []() -> bool { return ::raise(SIGKILL) == 0; });
    return 0;
  }));
  EXPECT_EQ(status, -SIGKILL);
  EXPECT_FALSE(std::filesystem::exists(target_));
  EXPECT_EQ(tests::list_names(folder_.path()).size(), 1U); // the stage of the dead
  EXPECT_EQ(publish("whole", IfExists::fail), PublishResult::published);
  EXPECT_EQ(tests::list_names(folder_.path()), std::vector<std::string>{"book.mp3"});
  EXPECT_EQ(tests::read_file(target_), "whole");
}

TEST_F(FaultPublisherTest, KilledAfterTheRenameIsFoundIdenticalByTheNextRun) {
  ASSERT_EQ(tests::wait_for(tests::start_process(
                [&] { return publish("book", IfExists::fail) == PublishResult::published ? 0 : 1; })),
            0);
  EXPECT_EQ(publish("book", IfExists::fail), PublishResult::identical);
}

TEST_F(FaultPublisherTest, OfManyConcurrentPublishersExactlyOneWins) {
  for (int round = 0; round < 20; ++round) {
    std::filesystem::remove(target_);
    int gate[2];
    ASSERT_EQ(::pipe(gate), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 8; ++i) {
      children.push_back(tests::start_process([&, i] {
        ::close(gate[1]);
        char byte = 0;
        (void)!::read(gate[0], &byte, 1); // ends when all have started
        const auto result = publish("publisher " + std::to_string(i), IfExists::fail);
        return result == PublishResult::published ? 10 + i : result == PublishResult::exists ? 0 : 1;
      }));
    }
    ::close(gate[1]);
    ::close(gate[0]);
    std::vector<int> winners;
    for (const pid_t child : children) {
      const int status = tests::wait_for(child);
      if (status != 0) {
        winners.push_back(status - 10);
      }
    }
    ASSERT_EQ(winners.size(), 1U);
    EXPECT_EQ(tests::read_file(target_), "publisher " + std::to_string(winners[0]));
    EXPECT_EQ(tests::list_names(folder_.path()).size(), 1U);
  }
}

TEST_F(FaultPublisherTest, AFullDiskIsTransientAndPublishesNothing) {
  const int status = tests::on_small_disk(folder_.path(), 1 << 20, [&] {
    tests::write_file(target_, "old");
    try {
      publish(std::string(2 << 20, 'x'), IfExists::replace);
      return 1;
    } catch (const TransientError& error) {
      if (std::string(error.what()).find("ENOSPC") == std::string::npos) {
        return 2;
      }
    }
    const bool untouched = tests::read_file(target_) == "old" && tests::list_names(folder_.path()).size() == 1;
    return untouched && publish("new", IfExists::replace) == PublishResult::published ? 0 : 3;
  });
  EXPECT_EQ(status, 0);
}

} // namespace
} // namespace audiobookd::storage
