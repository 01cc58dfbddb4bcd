// The engine with the tiny checkpoint, something to render, and a test at both of its ends.
#pragma once

#include "engine/engine.h"

#include <deque>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

namespace audiobookd::tests {

/// Made once and removed at the end.
const std::filesystem::path& tiny_checkpoint();

/// For the device under test.
engine::EngineOptions tiny_options();

engine::Utterance utterance(engine::UtteranceId id, std::string text);

/// Hands out a list of utterances, collects what comes back, and stops the engine when nothing is open.
class Recorder : public engine::WorkSource, public engine::Sink {
public:
  explicit Recorder(std::vector<engine::Utterance> utterances) : waiting_(utterances.begin(), utterances.end()) {
    open_ = waiting_.size();
  }

  std::vector<engine::Utterance> next(std::size_t free_capacity) override {
    std::vector<engine::Utterance> answer;
    while (!waiting_.empty() && answer.size() < free_capacity) {
      answer.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
    handed_out += answer.size();
    return answer;
  }
  void aligned(engine::UtteranceId id, const engine::Alignment& alignment) override {
    const std::lock_guard lock(mutex_);
    EXPECT_EQ(speech_tokens.count(id), 0u) << "it came after the tokens";
    EXPECT_TRUE(alignments.emplace(id, alignment).second) << "utterance " << id << " came twice";
  }
  void tokens(engine::UtteranceId id, std::span<const std::int32_t> list) override {
    const std::lock_guard lock(mutex_);
    speech_tokens[id].assign(list.begin(), list.end());
    if (on_tokens) {
      on_tokens(id);
    }
  }
  void finished(engine::UtteranceId id, engine::Waveform waveform) override {
    const std::lock_guard lock(mutex_);
    EXPECT_TRUE(waveforms.emplace(id, std::move(waveform)).second) << "utterance " << id << " came twice";
    close_one();
  }
  void failed(engine::UtteranceId id, std::string why) override {
    const std::lock_guard lock(mutex_);
    failures[id] = std::move(why);
    close_one();
  }
  /// A cancelled utterance does not come back.
  void forget_one() { close_one(); }

  std::size_t handed_out = 0;
  std::map<engine::UtteranceId, std::vector<std::int32_t>> speech_tokens;
  std::map<engine::UtteranceId, engine::Alignment> alignments;
  std::map<engine::UtteranceId, engine::Waveform> waveforms;
  std::map<engine::UtteranceId, std::string> failures;
  std::function<void(engine::UtteranceId)> on_tokens;
  std::stop_source stop;

private:
  void close_one() {
    if (--open_ == 0) {
      stop.request_stop();
    }
  }
  std::deque<engine::Utterance> waiting_;
  std::mutex mutex_;
  std::size_t open_ = 0;
};

/// Ids are 0, 1, …; utterance i has 4 + 7 i mod 23 tokens.
std::vector<engine::Utterance> some_utterances(int count);

/// Renders all of them; none may fail.
std::map<engine::UtteranceId, engine::Waveform> render(engine::Engine& engine,
                                                       std::vector<engine::Utterance> utterances);

} // namespace audiobookd::tests
