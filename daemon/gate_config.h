// [gates] of the configuration. Plain values; any thread.
#pragma once

#include "daemon/config_section.h"
#include "daemon/utterance_pool.h"
#include "engine/alignment.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

struct GateConfig {
  bool enabled = true;
  GateSettings settings;
  std::optional<std::vector<engine::AttentionHead>> alignment_heads; ///< nothing: those that the checkpoint names
  GateCommandSettings command;                                       ///< none without a program

  /// What UtterancePool is to do.
  [[nodiscard]] GateOptions options() const;
};

/// @throws ConfigError.
void read_gates(ConfigSection section, GateConfig& gates);

/// As TOML, with the section's name.
[[nodiscard]] std::string describe(const GateConfig& gates);

/// The heads to watch for @p gates: those of the configuration, else those of @p checkpoint. None when gates are off;
/// when none are known the log says that nobody watches for skipped and repeated words.
/// @throws std::runtime_error as engine::Engine::known_alignment_heads().
[[nodiscard]] std::vector<engine::AttentionHead> heads_to_watch(const GateConfig& gates,
                                                                const std::filesystem::path& checkpoint);

} // namespace audiobookd::daemon
