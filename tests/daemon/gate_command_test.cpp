// What the listening program gets, and what becomes of one that does not behave.
#include "daemon/errors.h"
#include "daemon/gate_command.h"
#include "tests/daemon/fakes.h"
#include "tests/daemon/speech_like.h"

#include <chrono>
#include <csignal>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <thread>

namespace audiobookd::daemon {
namespace {

class GateCommandTest : public ::testing::Test {
protected:
  double score(const std::string& script, double timeout_s = 30, const std::stop_token& stop = {}) {
    const auto file = folder_.write("listener.sh", script);
    const GateCommand command({.command = {"sh", file.string(), "an argument"}, .timeout_s = timeout_s});
    return command.score(testing::speech_like(0.5), "Was it \"said\"?", stop);
  }

  std::string complaint(const std::string& script, double timeout_s = 30) {
    try {
      (void)score(script, timeout_s);
      return "nothing";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }

  testing::TemporaryFolder folder_;
};

TEST_F(GateCommandTest, TheProgramGetsTheWavAndTheTextAndItsScoreCounts) {
  const std::string request = (folder_.path() / "request").string();
  const std::string copy = (folder_.path() / "copy.wav").string();
  EXPECT_EQ(score("cat > " + request + "; wav=$(sed 's/.*\"wav\":\"\\([^\"]*\\)\".*/\\1/' " + request +
                  "); cp \"$wav\" " + copy + "; echo '{\"score\": 0.25, \"heard\": \"it was\"}'"),
            0.25);
  const auto json = nlohmann::json::parse(testing::read_file(request));
  EXPECT_EQ(json.at("text"), "Was it \"said\"?");
  EXPECT_EQ(json.at("sample_rate"), 24000);
  EXPECT_EQ(json.at("seconds"), 0.5);
  EXPECT_EQ(testing::read_file(copy).substr(0, 4), "RIFF");
  EXPECT_FALSE(std::filesystem::exists(json.at("wav").get<std::string>())) << "the file goes with the program";
}

TEST_F(GateCommandTest, ItIsStartedWithoutAShellAndWithItsArguments) {
  EXPECT_EQ(score("test \"$1\" = 'an argument' && echo '{\"score\": 1}'"), 1);
}

TEST_F(GateCommandTest, WhatItDoesWrongIsSaid) {
  EXPECT_NE(complaint("echo 'no model' >&2; exit 3").find("ended with status 3: no model"), std::string::npos)
      << complaint("echo 'no model' >&2; exit 3");
  EXPECT_NE(complaint("echo 0.5").find("answered '0.5\n' instead of {\"score\": X}"), std::string::npos);
  EXPECT_NE(complaint("echo '{\"score\": 2}'").find("with X from 0 to 1"), std::string::npos);
  EXPECT_NE(complaint("kill -9 $$").find("was killed by signal 9"), std::string::npos);
  const GateCommand missing({.command = {"/nowhere/listener"}});
  try {
    (void)missing.score(testing::speech_like(0.5), "text", {});
    FAIL() << "it was started";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "gates.command '/nowhere/listener' cannot be started: No such file or directory");
  }
}

TEST_F(GateCommandTest, OneThatTakesTooLongIsKilledWithEverythingItStarted) {
  const std::string pid_file = (folder_.path() / "pid").string();
  const std::string script = "sleep 1000 & echo $! > " + pid_file + "; wait";
  EXPECT_NE(complaint(script, 1).find("took too long and was killed"), std::string::npos);
  const pid_t child = std::stoi(testing::read_file(pid_file));
  const auto is_gone = [child] { // its reaper, init, may take a moment
    std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
    std::string pid, name, state;
    return !(stat >> pid >> name >> state) || state == "Z";
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!is_gone() && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(is_gone());
}

TEST_F(GateCommandTest, AStopEndsTheWait) {
  std::stop_source stop;
  stop.request_stop();
  EXPECT_THROW((void)score("sleep 1000", 1000, stop.get_token()), Interrupted);
}

} // namespace
} // namespace audiobookd::daemon
