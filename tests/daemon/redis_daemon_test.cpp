// The real program with a real redis-server, as a user meets it. Where it does not matter what is heard, the checkpoint
// is the tiny synthetic one.
#include "daemon/utterance_edges.h"
#include "storage/chunk_store.h"
#include "storage/wav_file.h"
#include "tests/daemon/fakes.h"
#include "tests/daemon/process.h"
#include "tests/jobs/redis_fixture.h"
#include "tests/storage/memory_sink.h"

#include <algorithm>
#include <csignal>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace audiobookd::daemon {
namespace {
namespace fs = std::filesystem;

std::string short_book() {
  std::string text = "CHAPTER 1\n\n";
  for (int i = 0; i < 30; ++i) {
    text += "The keeper climbed up " + std::to_string(i) + " steps again.\n\n";
  }
  return text;
}

/// What a service manager would be told: sd_notify(3) on a socket of the test.
class NotifySocket {
public:
  explicit NotifySocket(const fs::path& path) : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.string().copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  ~NotifySocket() { close(fd_); }
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  /// The next message that contains @p part; empty when none comes for 20 seconds.
  [[nodiscard]] std::string next_with(const std::string& part) const {
    std::string found;
    jobs::eventually([&] {
      std::string message(4096, '\0');
      const ssize_t length = recv(fd_, message.data(), message.size(), MSG_DONTWAIT);
      message.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
      found = message.find(part) == std::string::npos ? "" : message;
      return !found.empty();
    });
    return found;
  }

private:
  int fd_;
};

class RedisDaemon : public jobs::RedisQueueFixture {
protected:
  /// The configuration of a daemon with a chunk store of its own, slow enough to be interrupted.
  /// @param more of section [queue] and further ones.
  fs::path configure(const std::string& name, const std::string& more = "") {
    fs::create_directories(folder_.path() / "files");
    return folder_.write(
        name + ".toml",
        "[redis]\nurl = '" + server.url() + "'\n[paths]\ninput_root = 'files'\noutput_root = 'files'\nchunk_store = '" +
            name + "'\nchunk_store_gib = 1\nvoices = 'voices'\n[engine]\ncheckpoint = '" + checkpoint_.string() +
            "'\nmax_batch = 2\nsynthesis_batch = 2\ncpu_threads = 1\n[audio.loudness]\nenabled = "
            "false\n[queue]\nheartbeat_s = 0.2\nlease_s = 0.6\n" +
            more);
  }

  [[nodiscard]] std::unique_ptr<testing::Process> start(const std::string& name,
                                                        const std::map<std::string, std::string>& environment = {}) {
    return std::make_unique<testing::Process>(
        std::vector<std::string>{"--config", configure(name, queue_keys_).string()}, environment, log_);
  }

  [[nodiscard]] bool has_logged(const std::string& text) const {
    return testing::read_file(log_).find(text) != std::string::npos;
  }

  void enqueue(const std::string& id, const std::string& text, const std::string& output) {
    folder_.write("files/" + id + ".txt", text);
    add("normal", nlohmann::json{{"id", id}, {"input", id + ".txt"}, {"output", output}, {"title", "A book"}}.dump());
  }

  /// Waits, as long as the job is on its way, for @p wanted.
  nlohmann::json result_when_done(const std::string& id) {
    for (int i = 0; i < 6 && state(id) != "done"; ++i) {
      jobs::eventually([&] { return state(id) == "done" || state(id) == "dead"; });
    }
    EXPECT_EQ(state(id), "done") << field(id, "error") << testing::read_file(log_);
    return nlohmann::json::parse(field(id, "result"));
  }

  [[nodiscard]] std::vector<std::string> stored_keys(const std::string& name) const {
    std::vector<std::string> keys;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / name)) {
      if (entry.path().extension() == ".audio") {
        keys.push_back(entry.path().stem().string());
      }
    }
    return keys;
  }

  /// The keys of utterances whose tokens or audio are there.
  [[nodiscard]] std::set<std::string> known(const std::string& name) const {
    std::set<std::string> keys;
    for (const char* extension : {".tokens", ".audio"}) { // tokens become audio meanwhile
      for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / name)) {
        const fs::path& file = entry.path();
        if (file.extension() == extension && file.parent_path().filename() != "tmp") {
          keys.insert(file.stem().string());
        }
      }
    }
    return keys;
  }

  [[nodiscard]] fs::path output(const std::string& name) const { return folder_.path() / "files" / name; }

  testing::TemporaryFolder folder_;
  fs::path checkpoint_ = testing::tiny_checkpoint(); ///< empty: the embedded voice
  std::string queue_keys_;                           ///< further lines of section [queue]
  const fs::path log_ = folder_.path() / "log";
};

TEST_F(RedisDaemon, AJobBecomesAnMp3AsLongAsItsUtterancesAndPauses) {
  checkpoint_.clear();
  const auto daemon = start("chunks");
  enqueue("tale", "CHAPTER 1\n\nIt was late in the evening.\n\nNobody was there any more.\n", "new/tale.mp3");
  const nlohmann::json result = result_when_done("tale");
  EXPECT_EQ(result.at("utterances"), 3);
  EXPECT_EQ(result.at("synthetic"), false);
  EXPECT_EQ(daemon->end(SIGTERM), 0);

  storage::ChunkStore store({.folder = folder_.path() / "chunks", .max_bytes = 1u << 30});
  double expected = 2 * 0.6; // between three paragraphs
  for (const std::string& key : stored_keys("chunks")) {
    auto chunk = store.read_audio(key).value();
    expected += static_cast<double>(trim_edges(chunk.samples, chunk.sample_rate).size()) / chunk.sample_rate;
  }
  const storage::AudioClip clip = storage::read_audio_file(output("new/tale.mp3"), 3600);
  EXPECT_EQ(clip.channels, 1);
  EXPECT_NEAR(static_cast<double>(clip.samples.size()) / clip.sample_rate, expected, 0.05);
  EXPECT_NEAR(result.at("audio_seconds").get<double>(), expected, 0.05);
}

TEST_F(RedisDaemon, AJobThatCannotBeRenderedIsDeadWithItsReasonAndTheDaemonGoesOn) {
  const auto daemon = start("chunks");
  folder_.write("secret.txt", "Outside of the root.");
  fs::create_symlink("../secret.txt", folder_.path() / "files/link.txt");
  fs::create_directories(folder_.path() / "voices");
  folder_.write("voices/damaged.safetensors", "damaged");
  storage::write_wav(folder_.path() / "files/silent.wav", 24'000, std::vector<float>(6 * 24'000));
  const std::map<std::string, std::pair<std::string, std::string>> mistakes = {
      {"typo", {R"("input":"a.txt","ouput":"a.mp3")", "\"ouput\""}},
      {"type", {R"("input":"a.txt","output":"a.mp3","params":{"seed":"seven"})", "params.seed"}},
      {"climbs", {R"("input":"../secret.txt","output":"a.mp3")", "input"}},
      {"escapes", {R"("input":"a.txt","output":"/tmp/a.mp3")", "output"}},
      {"linked", {R"("input":"link.txt","output":"a.mp3")", "through a symbolic link"}},
      {"missing", {R"("input":"a.txt","output":"a.mp3")", "a.txt': No such file or directory"}},
      {"nobody",
       {R"("text":"Hello.","output":"a.mp3","voice":"nobody")", "\"nobody\" does not exist (there are: default"}},
      {"damaged", {R"("text":"Hello.","output":"a.mp3","voice":"damaged")", "damaged.safetensors"}},
      {"silent", {R"("text":"Hello.","output":"a.mp3","voice":{"clip":"silent.wav"})", "the clip is silent"}},
      {"clipless", {R"("text":"Hello.","output":"a.mp3","voice":{"clip":"none.wav"})", "none.wav"}},
  };
  for (const auto& [id, mistake] : mistakes) {
    add("normal", R"({"id":")" + id + "\"," + mistake.first + "}");
  }
  for (const auto& [id, mistake] : mistakes) {
    ASSERT_TRUE(jobs::eventually([&, name = id] { return state(name) == "dead"; })) << id << testing::read_file(log_);
    EXPECT_NE(field(id, "error").find(mistake.second), std::string::npos) << field(id, "error");
  }
  enqueue("good", "Only one sentence is read here.\n", "good.mp3");
  result_when_done("good");
  EXPECT_EQ(daemon->end(SIGTERM), 0);
}

TEST_F(RedisDaemon, AJobIsReadInTheVoiceOfItsClip) {
  const auto daemon = start("chunks");
  storage::write_wav(folder_.path() / "files/anna.wav", 24'000, tests::voice_like(6 * 24'000));
  for (const std::string id : {"plain", "cloned", "again"}) {
    nlohmann::json job{{"id", id}, {"text", "It was late in the evening."}, {"output", id + ".mp3"}};
    if (id != "plain") {
      job["voice"] = {{"clip", "anna.wav"}};
    }
    add("normal", job.dump());
    EXPECT_EQ(result_when_done(id).at("voice"), id == "plain" ? "default" : "anna");
  }
  EXPECT_EQ(stored_keys("chunks").size(), 2U) << "the same voice again gives the same audio";
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path() / "voices/clips"), {}), 1);
  EXPECT_EQ(daemon->end(SIGTERM), 0);
}

TEST_F(RedisDaemon, ProgressAndSummaryAreInTheRecordAndInTheLog) {
  const auto daemon = start("chunks");
  enqueue("tale", short_book(), "tale.mp3");
  EXPECT_TRUE(jobs::eventually([&] {
    const std::string progress = field("tale", "progress");
    return state("tale") == "running" && !progress.empty() && std::stod(progress) > 0 && std::stod(progress) < 1 &&
           !field("tale", "eta").empty();
  })) << state("tale");
  const nlohmann::json result = result_when_done("tale");
  EXPECT_EQ(field("tale", "progress"), "1");
  for (const char* number : {"words", "utterances", "audio_seconds", "wall_seconds", "times_real_time"}) {
    EXPECT_GT(result.at(number).get<double>(), 0) << number;
  }
  for (const char* stage : {"prefill", "decode", "encoder", "cfm", "vocoder", "encode"}) {
    EXPECT_GT(result.at("seconds_per_stage").at(stage).get<double>(), 0) << stage;
  }
  EXPECT_EQ(daemon->end(SIGTERM), 0);
  EXPECT_TRUE(has_logged(" s left\n")) << testing::read_file(log_);
  EXPECT_TRUE(has_logged("job tale: done {\"output\":")) << testing::read_file(log_);
}

TEST_F(RedisDaemon, AHangUpSignalReadsTheConfigurationAgainAndAWrongOneChangesNothing) {
  const auto daemon = start("chunks");
  ASSERT_TRUE(jobs::eventually([&] { return has_logged("queue: connected"); })) << testing::read_file(log_);
  configure("chunks", "max_jobs = 3\n[log]\nlevel = 'debug'\n");
  daemon->signal(SIGHUP);
  EXPECT_TRUE(jobs::eventually([&] { return has_logged("read again: log level debug, max_jobs 3"); }));
  configure("chunks", "max_job = 4\n");
  daemon->signal(SIGHUP);
  EXPECT_TRUE(jobs::eventually([&] { return has_logged("configuration unchanged: "); }));
  EXPECT_TRUE(has_logged("queue.max_job: unknown key"));
  enqueue("tale", "Only one sentence is read here.\n", "tale.mp3");
  result_when_done("tale");
  EXPECT_EQ(daemon->end(SIGTERM), 0);
}

TEST_F(RedisDaemon, TheServiceManagerHearsOfReadinessProgressAndTheEnd) {
  std::optional<NotifySocket> manager(folder_.path() / "notify");
  const auto daemon = start("chunks", {{"NOTIFY_SOCKET", folder_.path() / "notify"}});
  EXPECT_NE(manager->next_with("EXTEND_TIMEOUT_USEC="), "") << "loading may take long";
  EXPECT_NE(manager->next_with("READY=1"), "");
  EXPECT_NE(manager->next_with("WATCHDOG=1"), "");
  enqueue("tale", short_book(), "tale.mp3");
  const std::string status = manager->next_with("STATUS=jobs open: 1");
  EXPECT_NE(status.find(" % done; "), std::string::npos) << status;
  daemon->signal(SIGTERM);
  EXPECT_NE(manager->next_with("STOPPING=1"), "");
  manager.reset(); // a socket that nobody reads holds 10 messages and then blocks who sends
  EXPECT_EQ(daemon->wait(), 0);
}

TEST_F(RedisDaemon, WithoutRedisItWaitsAndSaysSo) {
  server.kill();
  std::optional<NotifySocket> manager(folder_.path() / "notify");
  const auto daemon = start("chunks", {{"NOTIFY_SOCKET", folder_.path() / "notify"}});
  EXPECT_NE(manager->next_with("STATUS=waiting for Redis: "), "");
  manager.reset(); // unread messages would block the daemon
  server.start();
  enqueue("tale", "Only one sentence is read here.\n", "tale.mp3");
  result_when_done("tale");
  EXPECT_EQ(daemon->end(SIGTERM), 0);
}

TEST_F(RedisDaemon, AfterAKillOnlyWhatIsMissingIsRenderedAndTheBytesAreTheSame) {
  auto daemon = start("whole");
  enqueue("whole", short_book(), "whole.mp3");
  const nlohmann::json whole = result_when_done("whole");
  daemon->end(SIGTERM);

  daemon = start("parts");
  enqueue("parts", short_book(), "parts.mp3");
  ASSERT_TRUE(jobs::eventually([&] {
    return fs::exists(folder_.path() / "parts") && stored_keys("parts").size() >= 6;
  })) << testing::read_file(log_);
  EXPECT_EQ(daemon->end(SIGKILL), -SIGKILL);
  const std::size_t kept = stored_keys("parts").size();
  ASSERT_LT(kept, 31u) << "killed too late to show anything";
  EXPECT_FALSE(fs::exists(output("parts.mp3")));

  daemon = start("parts");
  const nlohmann::json parts = result_when_done("parts");
  EXPECT_EQ(parts.at("rendered").get<std::size_t>(), parts.at("utterances").get<std::size_t>() - kept);
  EXPECT_TRUE(testing::read_file(output("parts.mp3")) == testing::read_file(output("whole.mp3")));
  EXPECT_EQ(whole.at("rendered"), whole.at("utterances"));
}

TEST_F(RedisDaemon, ATermSignalReleasesTheJobWithoutAnAttempt) {
  auto daemon = start("chunks");
  enqueue("tale", short_book(), "tale.mp3");
  ASSERT_TRUE(jobs::eventually([&] {
    return fs::exists(folder_.path() / "chunks") && stored_keys("chunks").size() >= 2;
  })) << testing::read_file(log_);
  EXPECT_EQ(daemon->end(SIGTERM), 0);
  EXPECT_EQ(state("tale"), "queued");
  EXPECT_EQ(field("tale", "attempts"), "0");
  EXPECT_FALSE(fs::exists(output("tale.mp3")));
  const std::size_t kept = stored_keys("chunks").size();
  daemon = start("chunks");
  EXPECT_EQ(result_when_done("tale").at("reused").get<std::size_t>(), kept);
}

TEST_F(RedisDaemon, ToldToDrainItFinishesItsJobTakesNoMoreAndEndsWithSuccess) {
  const auto daemon = start("chunks");
  enqueue("tale", short_book(), "tale.mp3");
  ASSERT_TRUE(jobs::eventually([&] { return state("tale") == "running"; })) << testing::read_file(log_);
  command("drain", "", "");
  ASSERT_TRUE(jobs::eventually([&] { return has_logged("told to drain: 1 jobs open"); })) << testing::read_file(log_);
  enqueue("late", short_book(), "late.mp3");
  result_when_done("tale");
  EXPECT_EQ(daemon->wait(), 0) << testing::read_file(log_);
  EXPECT_EQ(state("late"), "queued") << "taken in, but not taken";
  EXPECT_EQ(admin.command({"ZCARD", "tts:workers"}).integer, 0);
}

TEST_F(RedisDaemon, PeriodsOfTheConfigurationReachTheQueue) {
  configure("chunks", "ended_retention_days = 0.01\nidempotency_days = 0.005\n");
  const testing::Process daemon({"--config", (folder_.path() / "chunks.toml").string()}, {}, log_);
  add("normal", R"({"id":"tale","text":"One sentence.","output":"tale.mp3","idempotency_key":"once"})");
  result_when_done("tale");
  const std::int64_t record = admin.command({"TTL", "tts:job:tale"}).integer;
  EXPECT_TRUE(record > 0 && record <= 864) << record;
  const std::int64_t key = admin.command({"TTL", "tts:idem:once"}).integer;
  EXPECT_TRUE(key > 0 && key <= 432) << key;
}

TEST_F(RedisDaemon, WhenThereIsNoTimeToFinishNothingThatWasDecodedIsLostAndNoAttemptIsCounted) {
  queue_keys_ = "drain_seconds = 0\n";
  auto daemon = start("chunks");
  enqueue("tale", short_book(), "tale.mp3");
  ASSERT_TRUE(jobs::eventually([&] { return fs::exists(folder_.path() / "chunks") && known("chunks").size() > 2; }))
      << testing::read_file(log_);
  const std::set<std::string> before = known("chunks");
  EXPECT_EQ(daemon->end(SIGTERM), 0);
  EXPECT_EQ(state("tale"), "queued");
  EXPECT_EQ(field("tale", "attempts"), "0");
  const std::set<std::string> after = known("chunks");
  EXPECT_TRUE(std::ranges::includes(after, before));
  EXPECT_LT(after.size(), 31u) << "there was time to finish";
  const std::size_t audio = stored_keys("chunks").size();
  daemon = start("chunks");
  EXPECT_EQ(result_when_done("tale").at("reused").get<std::size_t>(), audio);
  EXPECT_EQ(daemon->end(SIGTERM), 0);
}

TEST_F(RedisDaemon, AfterOneParagraphWasChangedThatParagraphIsRendered) {
  const auto daemon = start("chunks");
  enqueue("first", short_book(), "first.mp3");
  result_when_done("first");
  std::string text = short_book();
  const std::string old = "The keeper climbed up 17 steps again.";
  text.replace(text.find(old), old.size(), "This time he took the lift, and he was not ashamed of it.");
  enqueue("second", text, "second.mp3");
  const nlohmann::json second = result_when_done("second");
  EXPECT_EQ(second.at("rendered"), 1);
  EXPECT_EQ(second.at("reused"), 30);
  EXPECT_EQ(daemon->end(SIGTERM), 0);
}

TEST_F(RedisDaemon, AShortJobBehindMoreNovelsThanPlacesIsDoneBeforeThem) {
  queue_keys_ = "max_jobs = 2\nshort_jobs = 1\nshort_minutes = 1\ndrain_seconds = 0\n";
  std::string novel;
  for (int i = 0; i < 20; ++i) {
    novel += short_book();
  }
  for (const char* id : {"novel-1", "novel-2", "novel-3", "novel-4"}) {
    enqueue(id, novel, std::string(id) + ".mp3");
  }
  const auto daemon = start("chunks");
  ASSERT_TRUE(jobs::eventually([&] { return state("novel-2") == "running"; })) << testing::read_file(log_);
  enqueue("story", "Only one sentence is read here.\n", "story.mp3");
  result_when_done("story");
  for (const char* id : {"novel-1", "novel-2"}) {
    EXPECT_EQ(state(id), "running") << id;
  }
  for (const char* id : {"novel-3", "novel-4"}) {
    EXPECT_EQ(state(id), "queued") << id;
    EXPECT_EQ(field(id, "long"), "1") << id;
    EXPECT_EQ(field(id, "attempts"), "0") << id;
  }
  EXPECT_EQ(daemon->end(SIGTERM), 0);
}

TEST_F(RedisDaemon, OfThirtyJobsOneWhoseTargetHangsHoldsUpItselfAlone) {
  queue_keys_ = "max_jobs = 3\nshort_jobs = 3\ndrain_seconds = 0\n";
  const auto daemon =
      start("chunks", {{"LD_PRELOAD", AUDIOBOOKD_HANGING_WRITES}, {"ASAN_OPTIONS", "verify_asan_link_order=0"}});
  enqueue("hung", "This is what nobody will ever hear.\n", "stuck.mp3");
  for (int i = 0; i < 29; ++i) {
    const std::string id = "job-" + std::to_string(i);
    enqueue(id, "Sentence number " + std::to_string(i) + " is read.\n", id + ".mp3");
  }
  for (int i = 0; i < 29; ++i) {
    result_when_done("job-" + std::to_string(i));
  }
  EXPECT_EQ(state("hung"), "running");
  EXPECT_EQ(daemon->end(SIGTERM), 1) << "ended although a thread hangs";
  EXPECT_TRUE(has_logged("job hung: its thread hangs")) << testing::read_file(log_);
  EXPECT_EQ(state("hung"), "queued");
  EXPECT_EQ(field("hung", "attempts"), "0");
}

TEST_F(RedisDaemon, ACancelledJobIsNotPublished) {
  const auto daemon = start("chunks");
  enqueue("tale", short_book(), "tale.mp3");
  ASSERT_TRUE(jobs::eventually([&] { return state("tale") == "running"; })) << testing::read_file(log_);
  command("cancel", "id", "tale");
  EXPECT_TRUE(jobs::eventually([&] { return state("tale") == "cancelled"; })) << state("tale");
  EXPECT_EQ(daemon->end(SIGTERM), 0);
  EXPECT_FALSE(fs::exists(output("tale.mp3")));
}

} // namespace
} // namespace audiobookd::daemon
