// A folder appears whole or not at all, once, and nothing else stays behind.
#include "storage/folder_publisher.h"
#include "storage/local_storage.h"
#include "storage/publisher.h"
#include "tests/storage/files.h"
#include "tests/storage/small_disk.h"

#include <csignal>
#include <fcntl.h>
#include <map>

namespace audiobookd::storage {
namespace {

using tests::throws_with;
using Files = std::map<std::string, std::string>;

void append(ByteSink& sink, std::string_view text) { sink.append(std::as_bytes(std::span(text))); }

void add_files(FolderPublication& publication, const Files& files) {
  for (const auto& [name, content] : files) {
    append(publication.add(name), content);
  }
}

/// What a reader finds in @p folder.
Files content_of(const std::filesystem::path& folder) {
  Files files;
  for (const std::string& name : tests::list_names(folder)) {
    files[name] = tests::read_file(folder / name);
  }
  return files;
}

class FolderPublisherTest : public testing::Test {
protected:
  PublishResult publish(const Files& files, IfExists if_exists, const std::function<bool()>& still_mine = {}) {
    const auto publication = LocalFolderPublication::at(target_);
    add_files(*publication, files);
    (void)publication->settle("version");
    return publication->commit("about " + std::to_string(files.size()), if_exists, still_mine);
  }
  [[nodiscard]] bool is_alone() const { return tests::list_names(folder_.path()) == std::vector<std::string>{"book"}; }

  tests::ScratchFolder folder_;
  std::filesystem::path target_ = folder_ / "book";
  const Files old_{{"1.mp3", "one"}, {"2.mp3", "two"}};
  const Files new_{{"1.mp3", "ONE"}, {"3.mp3", "three"}};
  const Files old_there_{{"1.mp3", "one"}, {"2.mp3", "two"}, {"metadata.json", "about 2"}};
  const Files new_there_{{"1.mp3", "ONE"}, {"3.mp3", "three"}, {"metadata.json", "about 2"}};
};

TEST_F(FolderPublisherTest, ShowsNothingBeforeCommitAndExactlyItsFilesAfterwards) {
  const auto publication = LocalFolderPublication::at(target_);
  ByteSink& first = publication->add("1.mp3");
  append(first, std::string(100'000, 'a'));
  first.overwrite(0, std::as_bytes(std::span(std::string_view("b"))));
  append(publication->add("2.mp3"), "two");
  EXPECT_FALSE(std::filesystem::exists(target_));
  EXPECT_EQ(publication->settle("version"), (std::vector<std::string>{"1.mp3", "2.mp3"}));
  EXPECT_EQ(publication->commit("about it", IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(content_of(target_),
            (Files{{"1.mp3", "b" + std::string(99'999, 'a')}, {"2.mp3", "two"}, {"metadata.json", "about it"}}));
  EXPECT_TRUE(is_alone());
  EXPECT_TRUE(throws_with<std::logic_error>([&] { (void)publication->commit("", IfExists::fail, {}); }, "twice"));
}

TEST_F(FolderPublisherTest, DiscardsWhatIsNotCommitted) {
  add_files(*LocalFolderPublication::at(target_), old_);
  EXPECT_TRUE(tests::list_names(folder_.path()).empty());
}

TEST_F(FolderPublisherTest, WhatIsClearedIsWrittenAnew) {
  const auto publication = LocalFolderPublication::at(target_);
  add_files(*publication, old_);
  publication->clear();
  add_files(*publication, new_);
  (void)publication->settle("version");
  EXPECT_EQ(publication->commit("about 2", IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(content_of(target_), new_there_);
}

TEST_F(FolderPublisherTest, DoesWhatIfExistsSays) {
  struct Case {
    Files content;
    IfExists if_exists;
    PublishResult result;
    Files left;
  };
  const Case cases[] = {
      {new_, IfExists::fail, PublishResult::exists, old_there_},
      {old_, IfExists::fail, PublishResult::identical, old_there_},
      {{{"1.mp3", "one"}}, IfExists::fail, PublishResult::exists, old_there_},
      {new_, IfExists::skip, PublishResult::skipped, old_there_},
      {new_, IfExists::replace, PublishResult::published, new_there_},
  };
  for (const Case& c : cases) {
    std::filesystem::remove_all(target_);
    ASSERT_EQ(publish(old_, IfExists::fail), PublishResult::published);
    EXPECT_EQ(publish(c.content, c.if_exists), c.result);
    EXPECT_EQ(content_of(target_), c.left);
    EXPECT_TRUE(is_alone());
  }
  for (const IfExists if_exists : {IfExists::fail, IfExists::skip, IfExists::replace}) {
    std::filesystem::remove_all(target_);
    EXPECT_EQ(publish(new_, if_exists), PublishResult::published);
  }
}

TEST_F(FolderPublisherTest, WhatOthersPutIntoABookDoesNotMakeItAnother) {
  publish(old_, IfExists::fail);
  tests::write_file(target_ / "notes.txt", "a listener's");
  EXPECT_EQ(publish(old_, IfExists::fail), PublishResult::identical);
  EXPECT_EQ(tests::read_file(target_ / "notes.txt"), "a listener's");
}

TEST_F(FolderPublisherTest, ReplacesNoFolderThatMayNotBeABook) {
  std::filesystem::create_directory(target_);
  tests::write_file(target_ / "thesis.doc", "the only copy");
  const auto replacing = [&] { publish(new_, IfExists::replace); };
  EXPECT_TRUE(throws_with<PermanentError>(replacing, "there is no metadata.json in it"));
  tests::write_file(target_ / "metadata.json", "{}");
  std::filesystem::create_directory(target_ / "music");
  EXPECT_TRUE(throws_with<PermanentError>(replacing, "there is a folder 'music' in it"));
  EXPECT_EQ(tests::read_file(target_ / "thesis.doc"), "the only copy");
  EXPECT_TRUE(is_alone());
}

TEST_F(FolderPublisherTest, FilesAndFoldersDoNotReplaceOneAnother) {
  tests::write_file(target_, "a file");
  EXPECT_TRUE(throws_with<PermanentError>([&] { publish(new_, IfExists::replace); }, "a file of that name exists"));
  EXPECT_EQ(tests::read_file(target_), "a file");
  std::filesystem::remove(target_);
  const auto too_late = LocalFolderPublication::at(target_);
  add_files(*too_late, new_);
  tests::write_file(target_, "a file");
  EXPECT_EQ(too_late->commit("", IfExists::fail, {}), PublishResult::exists);
  std::filesystem::remove(target_);
  publish(old_, IfExists::fail);
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)FilePublication::at(target_); }, "a folder of that name exists"));
}

TEST_F(FolderPublisherTest, RefusesNamesThatAreNone) {
  const auto publication = LocalFolderPublication::at(target_);
  publication->add("1.mp3");
  for (const char* name : {"", ".", "..", "a/b.mp3", "metadata.json", "1.mp3"}) {
    EXPECT_THROW(publication->add(name), PermanentError) << name;
  }
  EXPECT_THROW(publication->add(std::string(201, 'x')), PermanentError);
}

TEST_F(FolderPublisherTest, PublishesNothingThatIsNoLongerMine) {
  publish(old_, IfExists::fail);
  EXPECT_EQ(publish(new_, IfExists::replace, [] { return false; }), PublishResult::lost);
  EXPECT_TRUE(throws_with<std::runtime_error>(
      [&] { publish(new_, IfExists::replace, []() -> bool { throw std::runtime_error("redis is gone"); }); },
      "redis is gone"));
  EXPECT_EQ(content_of(target_), old_there_);
  EXPECT_TRUE(is_alone());
}

TEST_F(FolderPublisherTest, OfOneOwnersTransactionsOnlyTheLastPublishes) {
  const LocalStorage storage({.input = folder_.path(), .output = folder_.path()});
  for (const IfExists if_exists : {IfExists::fail, IfExists::skip, IfExists::replace}) {
    std::filesystem::remove_all(target_);
    const auto asleep = storage.open_folder("book", "job");
    const auto of_another_job = storage.open_folder("book", "another job");
    add_files(*asleep, old_);
    // between the last question whether the job is still its own and the rename, another run begins
    std::unique_ptr<FolderPublication> heir;
    const auto falls_asleep = [&] {
      heir = storage.open_folder("book", "job");
      return true;
    };
    EXPECT_EQ(asleep->commit("asleep", if_exists, falls_asleep), PublishResult::lost);
    EXPECT_FALSE(std::filesystem::exists(target_));
    add_files(*heir, new_);
    EXPECT_EQ(heir->commit("about 2", if_exists, {}), PublishResult::published);
    EXPECT_EQ(content_of(target_), new_there_);
    EXPECT_EQ(of_another_job->commit("another's", IfExists::replace, {}), PublishResult::published)
        << "others are left alone";
    EXPECT_TRUE(is_alone());
  }
}

TEST_F(FolderPublisherTest, ASleeperThatIsStillWritingFindsItsStageGone) {
  const LocalStorage storage({.input = folder_.path(), .output = folder_.path()});
  const auto asleep = storage.open_folder("book", "job");
  append(asleep->add("1.mp3"), "one");
  const auto heir = storage.open_folder("book", "job");
  EXPECT_TRUE(throws_with<TransientError>([&] { asleep->add("2.mp3"); }, "another run took its place"));
  EXPECT_EQ(asleep->commit("asleep", IfExists::replace, {}), PublishResult::lost);
  EXPECT_FALSE(std::filesystem::exists(target_));
}

TEST_F(FolderPublisherTest, AJobThatBecameAFolderOrAFileTakesThePlaceOfItsEarlierRun) {
  const LocalStorage storage({.input = folder_.path(), .output = folder_.path()});
  const auto file = storage.open_output("book", "job");
  const auto folder = storage.open_folder("book", "job");
  EXPECT_EQ(file->commit(IfExists::fail, {}), PublishResult::lost);
  const auto file_again = storage.open_output("book", "job");
  EXPECT_EQ(folder->commit("", IfExists::fail, {}), PublishResult::lost);
  EXPECT_EQ(file_again->commit(IfExists::fail, {}), PublishResult::published);
  EXPECT_TRUE(is_alone());
}

TEST_F(FolderPublisherTest, RemovesStagesOfDeadRunsOnly) {
  const std::string token = "000000000123456789abcdef";
  std::filesystem::create_directory(folder_ / (".book." + token + ".partial"));
  tests::write_file(folder_ / (".book." + token + ".partial") / "metadata.json", "");
  tests::write_file(folder_ / (".book." + token + ".partial") / "1.mp3", "dead");
  std::filesystem::create_directory(folder_ / (".book." + token + ".removed"));
  tests::write_file(folder_ / (".book." + token + ".removed") / "1.mp3", "dead for long");
  std::filesystem::create_directory(folder_ / ".book.notes.partial");
  std::filesystem::create_directory(folder_ / (".other." + token + ".partial"));
  const auto living = LocalFolderPublication::at(target_);
  add_files(*living, old_);
  const auto second = LocalFolderPublication::at(target_);
  EXPECT_EQ(tests::list_names(folder_.path()).size(), 4U) << "two foreign ones, two living stages";
  EXPECT_EQ(living->commit("about 2", IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(content_of(target_), old_there_);
}

/// Real processes that die or race.
class FaultFolderPublisherTest : public FolderPublisherTest {};

TEST_F(FaultFolderPublisherTest, KilledBeforeTheRenameLeavesTheOldFolderAndTheNextRunCleansUp) {
  publish(old_, IfExists::fail);
  const int status = tests::wait_for(tests::start_process([&] {
    publish(new_, IfExists::replace, []() -> bool { return ::raise(SIGKILL) == 0; });
    return 0;
  }));
  EXPECT_EQ(status, -SIGKILL);
  EXPECT_EQ(content_of(target_), old_there_);
  EXPECT_EQ(tests::list_names(folder_.path()).size(), 2U) << "the stage of the dead";
  EXPECT_EQ(publish(new_, IfExists::replace), PublishResult::published);
  EXPECT_EQ(content_of(target_), new_there_);
  EXPECT_TRUE(is_alone());
}

TEST_F(FaultFolderPublisherTest, AReaderSeesTheOldBookOrTheNewOneAndNothingBetween) {
  publish(old_, IfExists::fail);
  const pid_t writer = tests::start_process([&] {
    for (int i = 0; i < 300; ++i) {
      publish(i % 2 == 0 ? new_ : old_, IfExists::replace);
    }
    return 0;
  });
  int looks = 0;
  for (int status = 0; ::waitpid(writer, &status, WNOHANG) == 0; ++looks) {
    // a folder that is open stays the same folder: what is in it is old or new, or is just being removed
    const int fd = ::open(target_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ASSERT_GE(fd, 0) << "there is a book at any time";
    const int second = ::openat(fd, "2.mp3", O_RDONLY | O_CLOEXEC);
    const int third = ::openat(fd, "3.mp3", O_RDONLY | O_CLOEXEC);
    EXPECT_FALSE(second >= 0 && third >= 0) << "never mixed";
    ::close(second);
    ::close(third);
    ::close(fd);
  }
  EXPECT_GT(looks, 0);
  EXPECT_EQ(content_of(target_), old_there_);
  EXPECT_TRUE(is_alone());
}

TEST_F(FaultFolderPublisherTest, OfManyConcurrentPublishersExactlyOneWins) {
  for (int round = 0; round < 10; ++round) {
    std::filesystem::remove_all(target_);
    int gate[2];
    ASSERT_EQ(::pipe(gate), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < 8; ++i) {
      children.push_back(tests::start_process([&, i] {
        ::close(gate[1]);
        char byte = 0;
        (void)!::read(gate[0], &byte, 1); // ends when all have started
        const auto result = publish({{"1.mp3", "publisher " + std::to_string(i)}}, IfExists::fail);
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
    EXPECT_EQ(tests::read_file(target_ / "1.mp3"), "publisher " + std::to_string(winners[0]));
    EXPECT_TRUE(is_alone());
  }
}

TEST_F(FaultFolderPublisherTest, AFullDiskIsTransientAndPublishesNothing) {
  const int status = tests::on_small_disk(folder_.path(), 1 << 20, [&] {
    publish(old_, IfExists::fail);
    try {
      publish({{"1.mp3", std::string(2 << 20, 'x')}}, IfExists::replace);
      return 1;
    } catch (const TransientError& error) {
      if (std::string(error.what()).find("ENOSPC") == std::string::npos) {
        return 2;
      }
    }
    const bool untouched = content_of(target_) == old_there_ && is_alone();
    return untouched && publish(new_, IfExists::replace) == PublishResult::published ? 0 : 3;
  });
  EXPECT_EQ(status, 0);
}

} // namespace
} // namespace audiobookd::storage
