// Several GPUs as one renderer: an engine for each, all fed from one source.
//
// Threads: as Renderer. run() starts a thread for each member.
#pragma once

#include "daemon/renderer.h"

#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace audiobookd::daemon {

class RendererGroup final : public Renderer {
public:
  struct Named {
    std::string device; ///< for messages
    std::unique_ptr<Renderer> renderer;
  };

  /// @throws std::invalid_argument when there is no member, or when they would not render the same audio (other weights
  /// or arithmetic).
  explicit RendererGroup(std::vector<Named> members);
  ~RendererGroup() override;

  /// Every member renders on a thread of its own. They are handed work evenly: no member may hold many more utterances
  /// than the one that holds least, so that all are done at about the same time. When one fails the others deliver what
  /// they have in flight and take no more: after an error of CUDA a process is not to be trusted.
  /// @throws std::runtime_error naming the device that failed first.
  void run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) override;
  void notify() noexcept override;
  void cancel(engine::UtteranceId id) noexcept override;

  /// Sums over members; constants of the model are those of each.
  [[nodiscard]] const engine::EngineInfo& info() const noexcept override { return info_; }
  [[nodiscard]] engine::EngineStats stats() const override;
  [[nodiscard]] std::vector<DeviceActivity> activity() const override;

  [[nodiscard]] int predict_tokens(std::string_view text) const override;
  /// To every member.
  std::string add_voice(const engine::VoiceConditionals& voice) override;
  [[nodiscard]] engine::Hash128 utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                                              int occurrence) const override;
  [[nodiscard]] std::string chunk_key(const engine::Utterance& utterance) const override;

private:
  class Member;

  [[nodiscard]] const Renderer& any() const noexcept;
  /// How many utterances @p member may take now.
  [[nodiscard]] std::size_t allowance(const Member& member) const;
  /// Ends what is known of an utterance; returns who had it, or null.
  Member* take_back(engine::UtteranceId id) noexcept;

  std::vector<std::unique_ptr<Member>> members_;
  engine::EngineInfo info_;
  mutable std::mutex mutex_;
  std::unordered_map<engine::UtteranceId, Member*> owners_; // of utterances in flight; protected by mutex_
};

/// The devices that a configuration names: "all" (every GPU), or names with commas between them.
/// @throws std::runtime_error for "all" where there is no GPU; std::invalid_argument for a device that is named twice.
[[nodiscard]] std::vector<std::string> devices_of(const std::string& configured);

/// Whether devices_of() and the engine know what @p configured means: "cpu", "all", or GPUs ("cuda", "cuda:N").
[[nodiscard]] bool is_device_list(const std::string& configured);

/// Loads the model on every device that @p options.device names, at the same time.
/// @throws as engine::Engine::load(); with several devices the message names the one.
[[nodiscard]] std::unique_ptr<Renderer> load_renderer(const engine::EngineOptions& options);

} // namespace audiobookd::daemon
