// An engine that takes no time: each utterance becomes a tenth of a second of silence at once. What is left of a run is
// everything around the rendering.
//
// Threads: as daemon::Renderer.
#pragma once

#include "daemon/renderer.h"

#include <condition_variable>
#include <mutex>

namespace audiobookd::bench {

class InstantRenderer final : public daemon::Renderer {
public:
  InstantRenderer();

  void run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) override;
  void notify() noexcept override;
  void cancel(engine::UtteranceId) noexcept override {}
  [[nodiscard]] const engine::EngineInfo& info() const noexcept override { return info_; }
  [[nodiscard]] engine::EngineStats stats() const override { return {}; }
  [[nodiscard]] int predict_tokens(std::string_view text) const override;
  std::string add_voice(const engine::VoiceConditionals&) override { return "added"; }
  [[nodiscard]] engine::Hash128 utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                                              int occurrence) const override;
  [[nodiscard]] std::string chunk_key(const engine::Utterance& utterance) const override;

private:
  engine::EngineInfo info_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool notified_ = false; // protected by mutex_
};

} // namespace audiobookd::bench
