// Finished audio comes back bit for bit or not at all, stays while a job needs it, and the folder stays bounded.
#include "storage/chunk_store.h"
#include "tests/storage/files.h"
#include "tests/storage/small_disk.h"

#include <bit>
#include <chrono>
#include <csignal>
#include <cstring>
#include <sys/stat.h>
#include <thread>

namespace audiobookd::storage {
namespace {

namespace fs = std::filesystem;
using tests::throws_with;

/// 32 hex digits; neighbours lie in different shards.
std::string key_of(unsigned number) {
  char text[33];
  std::snprintf(text, sizeof text, "%02x%030x", number * 37 % 256, number);
  return text;
}

std::vector<float> noise(std::size_t num_samples, unsigned seed) {
  std::vector<float> samples(num_samples);
  std::uint32_t state = seed * 2654435761U + 1;
  for (float& sample : samples) {
    state = state * 1664525U + 1013904223U;
    sample = static_cast<float>(static_cast<std::int32_t>(state)) / 2147483648.0F;
  }
  return samples;
}

class ChunkStoreTest : public testing::Test {
protected:
  [[nodiscard]] ChunkStoreOptions options(std::uint64_t max_bytes = 1U << 30) const {
    return {folder_ / "chunks", max_bytes, 8, std::chrono::milliseconds(50)};
  }
  [[nodiscard]] fs::path file_of(const std::string& key, const char* extension = ".audio") const {
    return folder_ / "chunks" / key.substr(0, 2) / (key + extension);
  }
  /// Gives @p key a last use @p seconds ago.
  void age(const std::string& key, int seconds) const {
    fs::last_write_time(file_of(key), fs::file_time_type::clock::now() - std::chrono::seconds(seconds));
  }
  /// Gives every claim a last renewal so long ago.
  void set_claim_age(std::chrono::seconds age) const {
    for (const auto& file : fs::directory_iterator(folder_ / "chunks/jobs")) {
      fs::last_write_time(file.path(), fs::file_time_type::clock::now() - age);
    }
  }
  tests::ScratchFolder folder_;
};

TEST_F(ChunkStoreTest, ReturnsEverySampleBitForBit) {
  const std::uint32_t patterns[] = {0, 0x80000000, 1, 0x7f800000, 0xff800000, 0x7fc12345, 0x7f812345, 0x3f800001};
  std::vector<float> samples = noise(10'000, 1);
  for (const std::uint32_t pattern : patterns) { // zeros, a denormal, infinities, NaNs with payload
    samples.push_back(std::bit_cast<float>(pattern));
  }
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, samples, R"({"attempt":2})");
  const auto chunk = store.read_audio(key_of(1));
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->sample_rate, 24000);
  EXPECT_EQ(chunk->metadata, R"({"attempt":2})");
  ASSERT_EQ(chunk->samples.size(), samples.size());
  EXPECT_EQ(std::memcmp(chunk->samples.data(), samples.data(), 4 * samples.size()), 0);
}

TEST_F(ChunkStoreTest, StaysWhereItIsWhenTheProcessChangesFolder) {
  const int status = tests::wait_for(tests::start_process([this] { // the folder of this process stays as it is
    fs::current_path(folder_.path());
    ChunkStore store({.folder = "chunks", .max_bytes = 1U << 30});
    fs::current_path("/");
    store.put_audio(key_of(1), 24000, noise(100, 1), "{}");
    return 0;
  }));
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(fs::exists(file_of(key_of(1))));
}

TEST_F(ChunkStoreTest, KeepsEmptyAudioApartFromMissingAudio) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, {}, "");
  ASSERT_TRUE(store.read_audio(key_of(1)));
  EXPECT_TRUE(store.read_audio(key_of(1))->samples.empty());
  EXPECT_FALSE(store.read_audio(key_of(2)));
  EXPECT_FALSE(store.contains_audio(key_of(2)));
}

TEST_F(ChunkStoreTest, KeepsTokensUntilTheAudioIsThere) {
  ChunkStore store(options());
  const std::vector<std::int32_t> tokens = {6560, 0, 17, -1};
  store.put_tokens(key_of(1), tokens, "{}");
  EXPECT_FALSE(store.contains_audio(key_of(1)));
  ASSERT_TRUE(store.read_tokens(key_of(1)));
  EXPECT_EQ(store.read_tokens(key_of(1))->tokens, tokens);
  store.put_audio(key_of(1), 24000, noise(10, 1), "");
  EXPECT_FALSE(store.read_tokens(key_of(1)));
}

TEST_F(ChunkStoreTest, ReplacesAndRemovesAnEntry) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, noise(10, 1), "first");
  store.put_audio(key_of(1), 24000, noise(20, 2), "second");
  EXPECT_EQ(store.read_audio(key_of(1))->samples, noise(20, 2));
  store.remove(key_of(1));
  store.remove(key_of(1));
  EXPECT_FALSE(store.read_audio(key_of(1)));
}

TEST_F(ChunkStoreTest, NoticesEveryFlippedByte) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, noise(30, 1), R"({"gate":"ok"})");
  const std::string whole = tests::read_file(file_of(key_of(1)));
  ASSERT_EQ(whole.size(), 72U + 13U + 120U);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
    tests::write_file(file_of(key_of(1)), damaged);
    EXPECT_FALSE(store.read_audio(key_of(1))) << "byte " << i;
    EXPECT_FALSE(fs::exists(file_of(key_of(1)))) << "byte " << i;
    EXPECT_EQ(store.stats().corrupt, i + 1);
  }
}

TEST_F(ChunkStoreTest, NoticesEveryTruncationAndAnyTail) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, noise(30, 1), "meta");
  const std::string whole = tests::read_file(file_of(key_of(1)));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    tests::write_file(file_of(key_of(1)), whole.substr(0, length));
    EXPECT_FALSE(store.contains_audio(key_of(1))) << length;
    tests::write_file(file_of(key_of(1)), whole.substr(0, length));
    EXPECT_FALSE(store.read_audio(key_of(1))) << length;
  }
  tests::write_file(file_of(key_of(1)), whole + "x");
  EXPECT_FALSE(store.read_audio(key_of(1)));
  tests::write_file(file_of(key_of(1)), whole);
  EXPECT_TRUE(store.read_audio(key_of(1)));
}

TEST_F(ChunkStoreTest, DoesNotTakeAFileUnderAWrongNameForAnotherUtterance) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, noise(30, 1), "");
  fs::copy_file(file_of(key_of(1)), file_of(key_of(2)));
  EXPECT_FALSE(store.read_audio(key_of(2)));
  EXPECT_TRUE(store.read_audio(key_of(1)));
}

TEST_F(ChunkStoreTest, HidesEntriesFromOtherUsers) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, noise(30, 1), "");
  struct stat status {};
  ASSERT_EQ(::stat(file_of(key_of(1)).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  ASSERT_EQ(::stat((folder_ / "chunks").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
}

TEST_F(ChunkStoreTest, RefusesMalformedKeysAndJobs) {
  ChunkStore store(options());
  for (const std::string& key : {std::string("../../etc/passwd"), std::string(32, 'G'), std::string(31, 'a')}) {
    EXPECT_THROW((void)store.read_audio(key), std::invalid_argument);
    EXPECT_THROW(store.put_audio(key, 24000, {}, ""), std::invalid_argument);
    EXPECT_THROW(store.claim("job", 1, std::vector{key}), std::invalid_argument);
  }
  for (const std::string& job : {std::string(), std::string("a/b"), std::string(129, 'a')}) {
    EXPECT_THROW(store.claim(job, 1, {}), std::invalid_argument);
    EXPECT_THROW(store.forget(job), std::invalid_argument);
  }
}

TEST_F(ChunkStoreTest, ManyThreadsWriteAndReadTheSameKeys) {
  ChunkStore store(options());
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 100; ++i) {
        const unsigned number = (i + 25 * t) % 50;
        store.put_audio(key_of(number), 24000, noise(500, number), "");
        const auto chunk = store.read_audio(key_of(number));
        wrong += chunk && chunk->samples == noise(500, number) ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  store.sync();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(store.stats().written, 400U);
  EXPECT_EQ(store.stats().corrupt, 0U);
}

TEST_F(ChunkStoreTest, EvictsTheLeastRecentlyUsedFirst) {
  const std::uint64_t entry = 72 + 4 * 1000;
  ChunkStore store(options(32 * entry));
  for (unsigned i = 0; i < 30; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
    age(key_of(i), 1000 - static_cast<int>(i));
  }
  ASSERT_EQ(store.stats().evicted, 0U);
  ASSERT_TRUE(store.read_audio(key_of(0))); // now the most recently used
  for (unsigned i = 30; i < 33; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
  }
  EXPECT_TRUE(store.contains_audio(key_of(0)));
  EXPECT_FALSE(store.contains_audio(key_of(1)));
  EXPECT_FALSE(store.contains_audio(key_of(2)));
  EXPECT_TRUE(store.contains_audio(key_of(20)));
  EXPECT_TRUE(store.contains_audio(key_of(32)));
  EXPECT_LE(store.stats().used_bytes, 32 * entry);
}

TEST_F(ChunkStoreTest, StaysBelowItsBoundHoweverMuchIsWritten) {
  const std::uint64_t bound = 40 * (72 + 4 * 1000);
  ChunkStore store(options(bound));
  for (unsigned i = 0; i < 200; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
    EXPECT_LE(store.stats().used_bytes, bound);
  }
  std::uint64_t on_disk = 0;
  for (const auto& file : fs::recursive_directory_iterator(folder_ / "chunks")) {
    on_disk += file.is_regular_file() ? file.file_size() : 0;
  }
  EXPECT_LE(on_disk, bound);
  EXPECT_GE(store.stats().evicted, 160U);
}

TEST_F(ChunkStoreTest, NeverEvictsWhatAnOpenJobPins) {
  const std::uint64_t bound = 40 * (72 + 4 * 1000);
  const std::vector<std::string> pinned = {key_of(0), key_of(1), key_of(999)};
  {
    ChunkStore store(options(bound));
    store.put_audio(key_of(0), 24000, noise(1000, 0), "");
    store.put_audio(key_of(1), 24000, noise(1000, 1), "");
    store.claim("moby-dick", 3 * (72 + 4 * 1000), pinned);
  }
  ChunkStore store(options(bound)); // pins outlive the process that made them
  EXPECT_EQ(store.open_jobs(), std::vector<std::string>{"moby-dick"});
  for (unsigned i = 2; i < 100; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
  }
  EXPECT_TRUE(store.contains_audio(key_of(0)));
  EXPECT_TRUE(store.contains_audio(key_of(1)));
  EXPECT_FALSE(store.contains_audio(key_of(2)));
  store.unpin("moby-dick");
  store.unpin("moby-dick");
  EXPECT_TRUE(store.open_jobs().empty());
  age(key_of(0), 1000);
  for (unsigned i = 100; i < 150; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
  }
  EXPECT_FALSE(store.contains_audio(key_of(0)));
}

TEST_F(ChunkStoreTest, SaysWhenItIsTooSmallForAJob) {
  ChunkStore store(options(1000));
  EXPECT_TRUE(
      throws_with<PermanentError>([&] { store.claim("huge", 1001, {}); }, "too small for job 'huge': it needs 1001"));
  store.claim("first", 600, {});
  EXPECT_TRUE(throws_with<NoRoomError>([&] { store.claim("second", 401, {}); }, "other open jobs hold 600 of 1000"));
  store.claim("first", 599, {}); // a second claim of the same job replaces the first
  store.claim("second", 401, {});
  store.unpin("first");
  store.claim("third", 599, {});
  EXPECT_EQ(store.open_jobs(), (std::vector<std::string>{"second", "third"}));
}

TEST_F(ChunkStoreTest, WhatAJobHasIsKeptWhileItWaitsForRoom) {
  const std::uint64_t entry = 72 + 4 * 1000;
  ChunkStore store(options(40 * entry));
  store.put_audio(key_of(0), 24000, noise(1000, 0), "");
  age(key_of(0), 1000);
  store.claim("first", 39 * entry, {});
  EXPECT_THROW(store.claim("second", 2 * entry, std::vector{key_of(0)}), NoRoomError);
  for (unsigned i = 1; i < 100; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
  }
  EXPECT_TRUE(store.contains_audio(key_of(0)));
}

TEST_F(ChunkStoreTest, AStoreEndsItsOwnClaimAndNotThatOfItsSuccessor) {
  ChunkStore zombie(options(1000));
  ChunkStore successor(options(1000));
  zombie.claim("job", 600, {});
  successor.claim("job", 600, {});
  zombie.end_claim("job");
  zombie.upkeep();
  EXPECT_EQ(successor.open_jobs(), std::vector<std::string>{"job"});
  EXPECT_THROW(zombie.claim("other", 500, {}), NoRoomError);
  successor.end_claim("job");
  EXPECT_EQ(successor.open_jobs(), std::vector<std::string>{"other"});
  zombie.claim("other", 500, {});
}

TEST_F(ChunkStoreTest, ClaimsThatNobodyRenewsHoldNoRoomYieldLastAndEndAfterAWeek) {
  const std::uint64_t entry = 72 + 4 * 1000;
  ChunkStore store(options(40 * entry));
  store.claim("waiting", 39 * entry, std::vector{key_of(0)});
  store.leave_claim("waiting");
  store.put_audio(key_of(0), 24000, noise(1000, 0), "");
  age(key_of(0), 1000);
  set_claim_age(std::chrono::minutes(20));
  std::vector<std::string> keys; // the bound is less than what the two jobs want
  for (unsigned i = 200; i < 235; ++i) {
    keys.push_back(key_of(i));
  }
  store.claim("busy", 39 * entry, keys);
  for (unsigned i = 1; i < 100; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
  }
  EXPECT_TRUE(store.contains_audio(key_of(0))) << "what nobody claims goes first";
  age(key_of(0), 1000);
  for (unsigned i = 200; i < 235; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
  }
  for (unsigned i = 300; i < 304; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
  }
  for (unsigned i = 200; i < 235; ++i) {
    EXPECT_TRUE(store.contains_audio(key_of(i))) << i;
  }
  EXPECT_LE(store.stats().used_bytes, 40 * entry);
  EXPECT_EQ(store.open_jobs().size(), 2U);
  store.upkeep(); // renews the claim of "busy"
  set_claim_age(std::chrono::hours(24 * 8));
  store.upkeep();
  EXPECT_EQ(store.open_jobs(), std::vector<std::string>{"busy"});
}

TEST_F(ChunkStoreTest, RemovesWhatWasNotUsedForLongUnlessAnOpenJobHasIt) {
  ChunkStoreOptions aging = options();
  aging.max_age = std::chrono::hours(24);
  ChunkStore store(aging);
  for (unsigned i = 0; i < 4; ++i) {
    store.put_audio(key_of(i), 24000, noise(100, i), "");
  }
  store.put_tokens(key_of(4), std::vector<std::int32_t>{1}, "{}");
  store.claim("job", 472, std::vector{key_of(0)});
  for (unsigned i = 0; i < 3; ++i) {
    age(key_of(i), 25 * 3600);
  }
  fs::last_write_time(file_of(key_of(4), ".tokens"), fs::file_time_type::clock::now() - std::chrono::hours(25));
  ASSERT_TRUE(store.read_audio(key_of(2))); // and used now
  store.upkeep();
  EXPECT_TRUE(store.contains_audio(key_of(0)));
  EXPECT_FALSE(store.contains_audio(key_of(1)));
  EXPECT_TRUE(store.contains_audio(key_of(2)));
  EXPECT_TRUE(store.contains_audio(key_of(3)));
  EXPECT_FALSE(store.read_tokens(key_of(4)));
  EXPECT_EQ(store.stats().used_bytes, 3 * 472U);
  EXPECT_EQ(store.stats().evicted, 2U);
}

TEST_F(ChunkStoreTest, ForgetsWhatOnlyOneJobUsed) {
  ChunkStore store(options());
  for (unsigned i = 0; i < 5; ++i) {
    store.put_audio(key_of(i), 24000, noise(100, i), "");
  }
  store.put_tokens(key_of(5), std::vector<std::int32_t>{1}, "{}");
  store.claim("over", 1000, std::vector{key_of(0), key_of(1), key_of(2), key_of(5)});
  store.claim("past", 1000, std::vector{key_of(1)});
  store.claim("open", 1000, std::vector{key_of(2), key_of(3)});
  store.end_claim("over");
  store.end_claim("past");
  store.forget("over");
  EXPECT_FALSE(store.contains_audio(key_of(0)));
  EXPECT_TRUE(store.contains_audio(key_of(1))) << "of a job that is over, too";
  EXPECT_TRUE(store.contains_audio(key_of(2))) << "of an open one";
  EXPECT_TRUE(store.contains_audio(key_of(4))) << "of none";
  EXPECT_FALSE(store.read_tokens(key_of(5)));
  store.forget("past");
  EXPECT_FALSE(store.contains_audio(key_of(1)));
  store.forget("past");
  store.forget("unknown");
  EXPECT_EQ(store.open_jobs(), std::vector<std::string>{"open"});
  store.forget("open");
  EXPECT_EQ(tests::list_names(folder_ / "chunks/jobs"), std::vector<std::string>{});
}

TEST_F(ChunkStoreTest, KeysOfJobsThatAreOverGoWithTheLastOfTheirEntries) {
  ChunkStore store(options());
  store.put_audio(key_of(0), 24000, noise(100, 0), "");
  store.claim("job", 472, std::vector{key_of(0), key_of(1)});
  store.end_claim("job");
  store.upkeep();
  EXPECT_EQ(tests::list_names(folder_ / "chunks/jobs"), std::vector<std::string>{"job.past"});
  store.remove(key_of(0));
  store.upkeep();
  EXPECT_EQ(tests::list_names(folder_ / "chunks/jobs"), std::vector<std::string>{});
}

TEST_F(ChunkStoreTest, ClaimsThatNoQueueKnowsAreNotListed) {
  ChunkStore store(options(1000));
  store.claim("~render", 600, {});
  EXPECT_TRUE(store.open_jobs().empty());
  EXPECT_THROW(store.claim("job", 600, {}), NoRoomError);
}

TEST_F(ChunkStoreTest, WhateverLiesInItsFoldersPoisonsNoBook) {
  const std::uint64_t entry = 72 + 4 * 1000;
  ChunkStore store(options(40 * entry));
  const fs::path chunks = folder_ / "chunks";
  fs::create_directories(file_of(key_of(1)) / "full");
  tests::write_file(file_of(key_of(1)) / "full/file", "foreign");
  ASSERT_EQ(::mkfifo(file_of(key_of(2)).c_str(), 0600), 0);
  fs::create_symlink("/dev/zero", file_of(key_of(3)));
  store.put_audio(key_of(4), 24000, noise(1000, 4), "");
  fs::rename(file_of(key_of(4)), file_of(key_of(5)));
  for (unsigned i = 1; i < 6; ++i) {
    EXPECT_FALSE(store.contains_audio(key_of(i))) << i;
    EXPECT_FALSE(store.read_audio(key_of(i))) << i;
    fs::create_directories(file_of(key_of(i)) / "again");
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
    EXPECT_TRUE(store.read_audio(key_of(i))) << i;
  }
  tests::write_file(chunks / "00/README", "not ours");
  tests::write_file(chunks / "jobs/notes.txt", "not ours");
  tests::write_file(chunks / "jobs/broken.0123456789abcdef.claim", std::string("\0\xff\nnot a key\n", 13));
  tests::write_file(chunks / "jobs/empty.0123456789abcdef.claim", "");
  fs::create_directories(chunks / "jobs/folder.0123456789abcdef.claim");
  store.claim("job", 39 * entry, std::vector{key_of(1)});
  for (unsigned i = 10; i < 100; ++i) {
    store.put_audio(key_of(i), 24000, noise(1000, i), "");
  }
  EXPECT_TRUE(store.contains_audio(key_of(1)));
  EXPECT_EQ(tests::read_file(chunks / "00/README"), "not ours");
}

TEST_F(ChunkStoreTest, GoesOnAfterSomebodyClearedItsFolder) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, noise(100, 1), "");
  for (const auto& entry : fs::directory_iterator(folder_ / "chunks")) {
    fs::remove_all(entry.path());
  }
  EXPECT_FALSE(store.read_audio(key_of(1)));
  store.put_audio(key_of(1), 24000, noise(100, 1), "");
  EXPECT_TRUE(store.read_audio(key_of(1)));
  store.claim("job", 472, std::vector{key_of(1)});
}

TEST_F(ChunkStoreTest, ReservesAtLeastWhatAnEntryTakes) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, noise(24'000, 1), std::string(2000, 'm'));
  EXPECT_LE(fs::file_size(file_of(key_of(1))), ChunkStore::entry_bytes(24'000));
}

TEST_F(ChunkStoreTest, CountsWhatItDid) {
  ChunkStore store(options());
  store.put_audio(key_of(1), 24000, noise(100, 1), "");
  (void)store.read_audio(key_of(1));
  (void)store.read_audio(key_of(2));
  const ChunkStoreStats stats = store.stats();
  EXPECT_EQ(stats.written, 1U);
  EXPECT_EQ(stats.hits, 1U);
  EXPECT_EQ(stats.misses, 1U);
  EXPECT_EQ(stats.used_bytes, 472U);
  EXPECT_EQ(ChunkStore(options()).stats().used_bytes, 472U);
}

/// Processes that die, race or run out of space.
class FaultChunkStoreTest : public ChunkStoreTest {};

TEST_F(FaultChunkStoreTest, AKilledProcessLosesNothingThatItPut) {
  const int status = tests::wait_for(tests::start_process([&] {
    ChunkStore store(options());
    for (unsigned i = 0; i < 20; ++i) {
      store.put_audio(key_of(i), 24000, noise(1000, i), "");
    }
    return ::raise(SIGKILL);
  }));
  ASSERT_EQ(status, -SIGKILL);
  ChunkStore store(options());
  for (unsigned i = 0; i < 20; ++i) {
    const auto chunk = store.read_audio(key_of(i));
    ASSERT_TRUE(chunk);
    EXPECT_EQ(chunk->samples, noise(1000, i));
  }
}

TEST_F(FaultChunkStoreTest, TemporaryFilesOfTheDeadAreRemovedAnHourLaterAndNewOnesStay) {
  { const ChunkStore store(options()); }
  const fs::path tmp = folder_ / "chunks/tmp";
  tests::write_file(tmp / "dead", "half");
  fs::create_directories(tmp / "aside/full");
  const auto old = fs::file_time_type::clock::now() - std::chrono::minutes(61);
  fs::last_write_time(tmp / "dead", old);
  fs::last_write_time(tmp / "aside", old);
  tests::write_file(tmp / "living", "half");
  const ChunkStore store(options());
  EXPECT_EQ(tests::list_names(tmp), std::vector<std::string>{"living"});
}

/// Puts, claims, reads and evicts until it is killed.
int work_until_killed(const ChunkStoreOptions& options, unsigned seed) {
  ChunkStore store(options);
  for (unsigned i = seed;; ++i) {
    const unsigned number = i % 60;
    store.claim("job-" + std::to_string(i % 3), 20'000, std::vector{key_of(number), key_of(number + 1)});
    store.put_tokens(key_of(number), std::vector<std::int32_t>(50, 7), "{}");
    store.put_audio(key_of(number), 24000, noise(1000, number), "");
    static_cast<void>(store.read_audio(key_of((number + 30) % 60)));
    if (i % 7 == 0) {
      store.end_claim("job-" + std::to_string(i % 3));
      store.forget("job-" + std::to_string((i + 1) % 3));
    }
  }
}

TEST_F(FaultChunkStoreTest, KilledAtAnyMomentItStaysUsable) {
  const std::uint64_t bound = 40 * (72 + 4 * 1000);
  std::uint32_t random = 1;
  std::size_t found = 0;
  for (unsigned round = 0; round < 25; ++round) {
    const pid_t child = tests::start_process([&] { return work_until_killed(options(bound), 11 * round); });
    random = random * 1664525U + 1013904223U;
    ::usleep(2'000 + random % 40'000); // any moment will do
    ::kill(child, SIGKILL);
    ASSERT_EQ(tests::wait_for(child), -SIGKILL);
    ChunkStore store(options(bound));
    for (unsigned i = 0; i < 60; ++i) {
      if (const auto chunk = store.read_audio(key_of(i))) {
        ASSERT_EQ(chunk->samples, noise(1000, i));
        ++found;
      }
      if (const auto tokens = store.read_tokens(key_of(i))) {
        ASSERT_EQ(tokens->tokens.size(), 50U);
      }
    }
    ASSERT_EQ(store.stats().corrupt, 0U);
    for (const std::string& job : store.open_jobs()) {
      store.unpin(job);
    }
    store.claim("next", bound, {});
    store.end_claim("next");
  }
  EXPECT_GT(found, 100U) << "the children did nothing before they were killed";
}

TEST_F(FaultChunkStoreTest, TwoStoresThatEvictAtTheSameTimeLoseNothingThatIsClaimed) {
  const std::uint64_t entry = 72 + 4 * 1000;
  const std::uint64_t bound = 64 * entry;
  std::vector<pid_t> children;
  for (unsigned p = 0; p < 3; ++p) {
    children.push_back(tests::start_process([&, p] {
      ChunkStore store(options(bound));
      std::vector<std::string> mine;
      for (unsigned i = 0; i < 8; ++i) {
        mine.push_back(key_of(1000 * (p + 1) + i));
      }
      for (unsigned round = 0; round < 20; ++round) {
        store.claim("job-" + std::to_string(p), 8 * entry, mine);
        std::vector<std::string> there;
        for (const std::string& key : mine) {
          if (!store.contains_audio(key)) {
            store.put_audio(key, 24000, noise(1000, p), "");
          }
          there.push_back(key);
        }
        for (unsigned i = 0; i < 20; ++i) { // makes the others, and this one, evict
          store.put_audio(key_of(10'000 + 100 * round + 20 * p + i), 24000, noise(1000, i), "");
        }
        for (const std::string& key : there) {
          // Put aside by an eviction that began before the claim, an entry comes back in an instant.
          bool is_back = false;
          for (int attempt = 0; attempt < 2000 && !is_back; ++attempt) {
            is_back = store.contains_audio(key);
            ::usleep(is_back ? 0 : 1000);
          }
          if (!is_back) {
            return 1;
          }
        }
        store.end_claim("job-" + std::to_string(p));
      }
      return store.stats().corrupt == 0 ? 0 : 2;
    }));
  }
  for (const pid_t child : children) {
    EXPECT_EQ(tests::wait_for(child), 0);
  }
  ChunkStore store(options(bound));
  EXPECT_TRUE(store.open_jobs().empty());
  EXPECT_LE(store.stats().used_bytes, bound + 3 * bound / 32);
}

TEST_F(FaultChunkStoreTest, ManyProcessesShareOneFolder) {
  const std::uint64_t bound = 100 * (72 + 4 * 500);
  std::vector<pid_t> children;
  for (unsigned p = 0; p < 4; ++p) {
    children.push_back(tests::start_process([&, p] {
      ChunkStore store(options(bound));
      store.claim("job-" + std::to_string(p), 72 + 4 * 500, std::vector{key_of(p)});
      for (unsigned i = 0; i < 150; ++i) {
        const unsigned number = (i + 37 * p) % 150;
        store.put_audio(key_of(number), 24000, noise(500, number), "");
        const auto chunk = store.read_audio(key_of((number + 75) % 150));
        if (chunk && chunk->samples != noise(500, (number + 75) % 150)) {
          return 1;
        }
      }
      return store.stats().corrupt == 0 && store.contains_audio(key_of(p)) ? 0 : 2;
    }));
  }
  for (const pid_t child : children) {
    EXPECT_EQ(tests::wait_for(child), 0);
  }
  ChunkStore store(options(bound));
  EXPECT_EQ(store.open_jobs().size(), 4U);
  EXPECT_LE(store.stats().used_bytes, bound + 4 * bound / 32);
}

TEST_F(FaultChunkStoreTest, AFullDiskIsTransientAndLeavesNoHalfEntry) {
  const auto status = tests::on_small_disk(folder_.path(), 2 << 20, [&] {
    ChunkStore store(options());
    unsigned stored = 0;
    try {
      for (; stored < 100; ++stored) {
        store.put_audio(key_of(stored), 24000, noise(25'000, stored), "");
      }
      return 1;
    } catch (const TransientError& error) {
      if (std::string(error.what()).find("ENOSPC") == std::string::npos || stored == 0) {
        return 2;
      }
    }
    for (unsigned i = 0; i < stored; ++i) {
      if (!store.read_audio(key_of(i))) {
        return 3;
      }
    }
    if (store.contains_audio(key_of(stored)) || !fs::is_empty(folder_ / "chunks/tmp")) {
      return 4;
    }
    store.remove(key_of(0));
    store.sync(); // closes the removed file, which gives its room back
    store.put_audio(key_of(stored), 24000, noise(25'000, stored), "");
    return 0;
  });
  EXPECT_EQ(status, 0);
}

} // namespace
} // namespace audiobookd::storage
