// The engine as the daemon uses it: a seam, so that tests can stand in an engine of their own.
//
// Threads: as engine::Engine. run() belongs to one thread; everything else may be called from any.
#pragma once

#include "engine/engine.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::daemon {

/// What to say when EngineStats::out_of_memory has risen.
inline constexpr const char* out_of_memory_notice =
    "the GPU's memory ran out, and rendering went on with less at a time: slower, but it sounds the same. Lower "
    "gpu_memory_fraction so that other programs find room beside this one, or max_batch and synthesis_batch";

/// What a device does.
struct DeviceActivity {
  std::size_t in_flight = 0;  ///< utterances that it holds
  std::uint64_t advances = 0; ///< rises when its work advances
};

/// Every function does what the function of the same name of engine::Engine does, but for activity().
class Renderer {
public:
  virtual ~Renderer() = default;
  virtual void run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) = 0;
  virtual void notify() noexcept = 0;
  virtual void cancel(engine::UtteranceId id) noexcept = 0;
  [[nodiscard]] virtual const engine::EngineInfo& info() const noexcept = 0;
  [[nodiscard]] virtual engine::EngineStats stats() const = 0;
  /// Of each device, where there are several; of a single one the whole of what is in flight tells.
  [[nodiscard]] virtual std::vector<DeviceActivity> activity() const { return {}; }
  [[nodiscard]] virtual int predict_tokens(std::string_view text) const = 0;
  virtual std::string add_voice(const engine::VoiceConditionals& voice) = 0;
  [[nodiscard]] virtual engine::Hash128 utterance_key(std::string_view text, std::string_view language,
                                                      std::string_view voice, int occurrence) const = 0;
  [[nodiscard]] virtual std::string chunk_key(const engine::Utterance& utterance) const = 0;
};

/// The real one.
class EngineRenderer final : public Renderer {
public:
  /// @throws std::runtime_error as engine::Engine::load().
  explicit EngineRenderer(const engine::EngineOptions& options) : engine_(engine::Engine::load(options)) {}

  void run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) override {
    engine_->run(source, sink, stop);
  }
  void notify() noexcept override { engine_->notify(); }
  void cancel(engine::UtteranceId id) noexcept override { engine_->cancel(id); }
  [[nodiscard]] const engine::EngineInfo& info() const noexcept override { return engine_->info(); }
  [[nodiscard]] engine::EngineStats stats() const override { return engine_->stats(); }
  [[nodiscard]] int predict_tokens(std::string_view text) const override { return engine_->predict_tokens(text); }
  std::string add_voice(const engine::VoiceConditionals& voice) override { return engine_->add_voice(voice); }
  [[nodiscard]] engine::Hash128 utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                                              int occurrence) const override {
    return engine_->utterance_key(text, language, voice, occurrence);
  }
  [[nodiscard]] std::string chunk_key(const engine::Utterance& utterance) const override {
    return engine_->chunk_key(utterance);
  }

private:
  std::unique_ptr<engine::Engine> engine_;
};

} // namespace audiobookd::daemon
