// The real program with a real redis-server and the embedded checkpoint, as a user meets it.
#include "storage/chunk_store.h"
#include "storage/wav_file.h"
#include "tests/daemon/fakes.h"
#include "tests/jobs/redis_fixture.h"

#include <cmath>
#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace audiobookd::daemon {
namespace {
namespace fs = std::filesystem;

/// A run of the program; killed when forgotten.
class Process {
public:
  Process(const std::vector<std::string>& arguments, const fs::path& cache, const fs::path& log) : pid_(fork()) {
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      setenv("CACHE_DIRECTORY", cache.c_str(), 1);
      if (std::freopen(log.c_str(), "a", stderr) == nullptr) {
        _exit(127);
      }
      std::vector<std::string> words = arguments;
      words.insert(words.begin(), AUDIOBOOKD_PROGRAM);
      std::vector<char*> argv;
      for (std::string& word : words) {
        argv.push_back(word.data());
      }
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
  }
  ~Process() {
    if (pid_ > 0) {
      end(SIGKILL);
    }
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void signal(int number) const { kill(pid_, number); }
  /// Sends a signal and waits for the end. @return the exit status, or minus the signal that ended it.
  int end(int number) {
    signal(number);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }

private:
  pid_t pid_;
};

class RedisDaemon : public jobs::RedisQueueFixture {
protected:
  /// The configuration of a daemon with a chunk store of its own, slow enough to be interrupted.
  fs::path configure(const std::string& name) {
    fs::create_directories(folder_.path() / "files");
    return folder_.write(name + ".toml",
                         "[redis]\nurl = '" + server.url() +
                             "'\n[paths]\ninput_root = 'files'\noutput_root = 'files'\nchunk_store = '" + name +
                             "'\nchunk_store_gib = 1\n[engine]\nmax_batch = 2\nsynthesis_batch = 2\n"
                             "cpu_threads = 1\n[queue]\nheartbeat_s = 0.2\nlease_s = 0.6\n");
  }

  [[nodiscard]] std::unique_ptr<Process> start(const std::string& name) {
    return std::make_unique<Process>(std::vector<std::string>{"--config", configure(name).string()},
                                     folder_.path() / "cache", log_);
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

  [[nodiscard]] fs::path output(const std::string& name) const { return folder_.path() / "files" / name; }

  testing::TemporaryFolder folder_;
  const fs::path log_ = folder_.path() / "log";
};

std::string short_book() {
  std::string text = "CHAPTER 1\n\n";
  for (int i = 0; i < 30; ++i) {
    text += "The keeper climbed up " + std::to_string(i) + " steps again.\n\n";
  }
  return text;
}

TEST_F(RedisDaemon, AJobBecomesAnMp3AsLongAsItsUtterancesAndPauses) {
  const auto daemon = start("chunks");
  enqueue("tale", "CHAPTER 1\n\nIt was late in the evening.\n\nNobody was there any more.\n", "new/tale.mp3");
  const nlohmann::json result = result_when_done("tale");
  EXPECT_EQ(result.at("utterances"), 3);
  EXPECT_EQ(result.at("synthetic"), true);
  EXPECT_EQ(daemon->end(SIGTERM), 0);

  storage::ChunkStore store({.folder = folder_.path() / "chunks", .max_bytes = 1u << 30});
  double expected = 2 * 0.6; // between three paragraphs
  for (const std::string& key : stored_keys("chunks")) {
    const auto chunk = store.read_audio(key).value();
    expected += static_cast<double>(chunk.samples.size()) / chunk.sample_rate;
  }
  const storage::AudioClip clip = storage::read_audio_file(output("new/tale.mp3"), 3600);
  EXPECT_EQ(clip.channels, 1);
  EXPECT_NEAR(static_cast<double>(clip.samples.size()) / clip.sample_rate, expected, 0.05);
  EXPECT_NEAR(result.at("audio_seconds").get<double>(), expected, 0.05);
}

TEST_F(RedisDaemon, AMalformedJobIsDeadWithItsReasonAndTheDaemonGoesOn) {
  const auto daemon = start("chunks");
  add("normal", R"({"id":"typo","input":"a.txt","ouput":"a.mp3"})");
  ASSERT_TRUE(jobs::eventually([&] { return state("typo") == "dead"; })) << testing::read_file(log_);
  EXPECT_NE(field("typo", "error").find("ouput"), std::string::npos) << field("typo", "error");
  enqueue("good", "Only one sentence is read here.\n", "good.mp3");
  result_when_done("good");
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
