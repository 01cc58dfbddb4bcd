// The real program where it needs no Redis: its command line, its exit status and what it says.
#include "tests/daemon/acx_listener.h"
#include "tests/daemon/fakes.h"
#include "tests/daemon/process.h"
#include "tests/jobs/redis_fixture.h"

#include <csignal>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace audiobookd::daemon {
namespace {

namespace fs = std::filesystem;

class Program : public ::testing::Test {
protected:
  /// Runs the program to its end. @return the exit status; what it said is in said().
  int run(const std::vector<std::string>& arguments) { return start(arguments)->wait(); }

  std::unique_ptr<testing::Process> start(const std::vector<std::string>& arguments) {
    fs::remove(log_);
    return std::make_unique<testing::Process>(
        arguments, std::map<std::string, std::string>{{"CACHE_DIRECTORY", folder_.path() / "cache"}}, log_);
  }

  [[nodiscard]] std::string said() const { return testing::read_file(log_); }
  [[nodiscard]] bool has_said(const std::string& text) const { return said().find(text) != std::string::npos; }

  fs::path configure(const std::string& more) {
    fs::create_directories(folder_.path() / "files");
    return folder_.write("a.toml",
                         "[paths]\ninput_root = 'files'\noutput_root = 'files'\nchunk_store = 'chunks'\n" + more);
  }

  [[nodiscard]] std::size_t stored_chunks() const {
    std::size_t count = 0;
    if (fs::exists(folder_.path() / "cache/chunks")) {
      for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / "cache/chunks")) {
        count += entry.path().extension() == ".audio" ? 1 : 0;
      }
    }
    return count;
  }

  testing::TemporaryFolder folder_;
  const fs::path log_ = folder_.path() / "log";
  const std::string output_ = folder_.path() / "book.mp3";
};

TEST_F(Program, CheckConfigSaysWhatWasUnderstoodAndStartsNothing) {
  EXPECT_EQ(run({"--config", configure("[queue]\nmax_jobs = 3\n"), "--check-config"}), 0);
  EXPECT_TRUE(has_said("max_jobs = 3\n")) << said();
  EXPECT_TRUE(has_said("url = 'redis://127.0.0.1:6379'\n")) << said();
  EXPECT_FALSE(fs::exists(folder_.path() / "chunks"));
}

TEST_F(Program, AWrongConfigurationIsExitStatus2AndNamed) {
  const fs::path config = configure("[queue]\nmax_job = 3\n");
  const std::string error = "audiobookd: " + config.string() + ":6: queue.max_job: unknown key\n";
  EXPECT_EQ(run({"--config", config, "--check-config"}), 2);
  EXPECT_EQ(said(), error);
  EXPECT_EQ(run({"--config", config}), 2);
  EXPECT_EQ(said(), error);
  EXPECT_EQ(run({"--config", folder_.path() / "none.toml"}), 2);
  EXPECT_TRUE(has_said("none.toml: cannot be read")) << said();
}

TEST_F(Program, WrongUsageIsExitStatus2) {
  EXPECT_EQ(run({}), 2);
  EXPECT_EQ(run({"--check-config"}), 2);
  EXPECT_EQ(run({"render", "book.txt"}), 2);
  EXPECT_TRUE(has_said("--output is required")) << said();
  EXPECT_EQ(run({"--colour"}), 2);
  EXPECT_EQ(run({"--version"}), 0);
}

TEST_F(Program, ArithmeticThreadsSleepWhileTheyWait) {
  const std::map<std::string, std::string> show_settings = {{"OMP_DISPLAY_ENV", "verbose"}}; // as OpenMP loads
  testing::Process program({"render", folder_.path() / "none.txt", "-o", output_}, show_settings, log_);
  EXPECT_EQ(program.wait(), 1);
  EXPECT_TRUE(has_said("GOMP_SPINCOUNT = '0'")) << said();
}

TEST_F(Program, AGpuThatIsMissingIsAnErrorAndNeverARunOnTheCpu) {
  const fs::path book = folder_.write("book.txt", "A sentence to be read aloud.\n");
  EXPECT_EQ(run({"render", book, "-o", output_, "--device", "cuda:63"}), 1);
  EXPECT_TRUE(has_said("cuda:63")) << said();
  EXPECT_FALSE(fs::exists(output_));
  EXPECT_EQ(run({"--config", configure("[engine]\ndevice = 'cuda:63'\n")}), 1);
  EXPECT_TRUE(has_said("cuda:63")) << said();
}

TEST_F(Program, ADefaultVoiceThatTheModelDoesNotHaveIsExitStatus2AndNamed) {
  const fs::path config = configure("[audio]\nvoice = 'nobody'\n");
  EXPECT_EQ(run({"--config", config}), 2);
  EXPECT_TRUE(has_said(config.string() + ": audio.voice: \"nobody\" does not exist (there are: default, rms)\n"))
      << said();
}

TEST_F(Program, TheJournalGetsALevelInsteadOfATime) {
  const fs::path config = configure("[engine]\ndevice = 'cuda:63'\n"); // ends after its first words
  folder_.write("log", "");
  struct stat journal {};
  ASSERT_EQ(stat(log_.c_str(), &journal), 0);
  const std::string stream = std::to_string(journal.st_dev) + ":" + std::to_string(journal.st_ino);
  testing::Process({"--config", config}, {{"JOURNAL_STREAM", stream}, {"CACHE_DIRECTORY", folder_.path() / "cache"}},
                   log_)
      .wait();
  EXPECT_TRUE(said().starts_with("<4>no model is given")) << said();
}

TEST_F(Program, ABookIsRenderedWithTheEmbeddedCheckpointAndTheSecondTimeNothingIs) {
  const fs::path book = folder_.write("book.txt", "It was late in the evening.\n\nNobody was there any more.\n");
  ASSERT_EQ(run({"render", book, "-o", output_, "--seed", "7"}), 0) << said();
  EXPECT_TRUE(has_said("2 utterances: 2 rendered, 0 reused\n")) << said();
  EXPECT_TRUE(has_said("no model is given: reading with the embedded voice")) << said();
  EXPECT_FALSE(has_said("synthetic")) << said();
  const std::string first = testing::read_file(output_);

  EXPECT_EQ(run({"render", book, "-o", output_, "--seed", "7"}), 1);
  EXPECT_TRUE(has_said("--force replaces it")) << said();
  ASSERT_EQ(run({"render", book, "-o", output_, "--seed", "7", "--force"}), 0) << said();
  EXPECT_TRUE(has_said("2 utterances: 0 rendered, 2 reused\n")) << said();
  EXPECT_TRUE(testing::read_file(output_) == first);

  ASSERT_EQ(run({"render", book, "-o", output_, "--seed", "8", "--force"}), 0) << said();
  EXPECT_TRUE(has_said("2 utterances: 2 rendered, 0 reused\n")) << "another seed, another take: " << said();
}

TEST_F(Program, AnAcxBookInTheEmbeddedVoiceMeetsTheNumbersInTheEarsOfAnotherDecoder) {
  const fs::path book =
      folder_.write("lamp.md", "---\ntitle: The Lamp\nauthor: Ann Author\n---\n# One\n\nThe road went down to the "
                               "harbour, past the old mill and the empty market.\n\n# Two\n\nIn the morning the sea "
                               "was calm, and the lamp was still burning.\n");
  const fs::path output = folder_.path() / "book";
  ASSERT_EQ(run({"render", book, "-o", output, "--preset", "acx"}), 0) << said();
  EXPECT_TRUE(has_said("ACX report: pass")) << said() << testing::read_file(output / "acx-report.txt");
  const std::vector<std::string> files = {"01 - Opening Credits.mp3", "02 - One.mp3", "03 - Two.mp3",
                                          "04 - Closing Credits.mp3"};
  const auto report = nlohmann::json::parse(testing::read_file(output / "acx-report.json"));
  EXPECT_TRUE(report.at("pass").get<bool>());
  ASSERT_EQ(report.at("files").size(), files.size());
  for (std::size_t i = 0; i < files.size(); ++i) {
    EXPECT_EQ(report.at("files")[i].at("file"), files[i]);
    const testing::Heard heard = testing::listen_to(output / files[i]);
    testing::expect_meets_acx(heard, files[i]);
    for (const auto& measure : report.at("files")[i].at("measures")) {
      if (measure.at("measure") == "rms_dbfs") {
        EXPECT_NEAR(measure.at("value").get<double>(), heard.rms_db, 0.01) << files[i];
      }
    }
  }
}

TEST_F(Program, WhatContradictsThePresetOfRenderIsExitStatus2AndNamed) {
  const fs::path book = folder_.write("book.txt", "It was late in the evening.\n");
  const auto refused = [&](std::vector<std::string> options, const std::string& why) {
    options.insert(options.begin(), {"render", book, "-o", folder_.path() / "book"});
    EXPECT_EQ(run(options), 2);
    EXPECT_TRUE(has_said(why)) << said();
  };
  refused({"--preset", "acx", "--loudness", "-19"}, "--loudness: contradicts --preset acx");
  refused({"--preset", "acx", "--split", "single"}, "--split: single contradicts --preset acx");
  refused({"--preset", "acx", "--bitrate", "64"}, "bitrate_kbps 64 contradicts the preset acx; valid: 192");
  refused({"--preset", "audible"}, "--preset");
  refused({"--opening-credits", "x"}, "--opening-credits: needs --preset acx");
  refused({"--preset", "acx", "--closing-credits", "{writer}"}, "{writer} is no placeholder");
}

TEST_F(Program, WhatASyntheticCheckpointSpeaksIsCalledNoise) {
  const fs::path book = folder_.write("book.txt", "It was late in the evening.\n");
  ASSERT_EQ(run({"render", book, "-o", output_, "--model", testing::tiny_checkpoint()}), 0) << said();
  EXPECT_TRUE(has_said("warning: synthetic weights: noise\n")) << said();
}

TEST_F(Program, TheSecondBuiltInVoiceIsAnother) {
  const fs::path book = folder_.write("book.txt", "It was late in the evening.\n");
  ASSERT_EQ(run({"render", book, "-o", output_}), 0) << said();
  const std::string first = testing::read_file(output_);
  ASSERT_EQ(run({"render", book, "-o", output_, "--voice", "rms", "--force"}), 0) << said();
  EXPECT_TRUE(has_said("1 utterances: 1 rendered, 0 reused\n")) << said();
  EXPECT_FALSE(testing::read_file(output_) == first);
}

TEST_F(Program, WhatCannotBeRenderedIsExitStatus1AndNamed) {
  EXPECT_EQ(run({"render", folder_.path() / "none.txt", "-o", output_}), 1);
  EXPECT_TRUE(has_said("none.txt': No such file or directory")) << said();
  const fs::path book = folder_.write("book.txt", "A sentence to be read aloud.\n");
  EXPECT_EQ(run({"render", book, "-o", output_, "--voice", "nobody"}), 1);
  EXPECT_TRUE(has_said("voice \"nobody\" does not exist (there are: default, rms)")) << said();
  EXPECT_EQ(run({"render", book, "-o", output_, "--model", folder_.path() / "none"}), 1);
  EXPECT_TRUE(has_said((folder_.path() / "none").string())) << said();
  EXPECT_FALSE(fs::exists(output_));
}

TEST_F(Program, AnInterruptedRenderingPublishesNothingAndIsContinued) {
  std::string text;
  for (int i = 0; i < 40; ++i) {
    text += "The keeper climbed up " + std::to_string(i) + " steps again.\n\n";
  }
  const fs::path book = folder_.write("book.txt", text);
  const std::string tiny = testing::tiny_checkpoint();
  const auto program = start({"render", book, "-o", output_, "--threads", "1", "--model", tiny, "--loudness", "off"});
  ASSERT_TRUE(jobs::eventually([this] { return stored_chunks() > 0; })) << said();
  EXPECT_EQ(program->end(SIGINT), 130);
  EXPECT_FALSE(fs::exists(output_));
  const std::size_t kept = stored_chunks();
  EXPECT_EQ(run({"render", book, "-o", output_, "--model", tiny, "--loudness", "off"}), 0) << said();
  EXPECT_TRUE(has_said(std::to_string(40 - kept) + " rendered, " + std::to_string(kept) + " reused")) << said();
}

} // namespace
} // namespace audiobookd::daemon
