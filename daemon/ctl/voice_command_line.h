// The command line of `audiobookctl voice`: its options, without what they do (voice_main.cpp).
//
// One thread.
#pragma once

#include "daemon/ctl/voice_commands.h"
#include "engine/engine.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

namespace audiobookd::daemon {

/// The subcommands, and what was said with them.
struct VoiceCommandLine {
  std::filesystem::path voices;
  AddVoice add;
  PreviewVoice preview;
  engine::EngineOptions engine; ///< of the preview
  std::string name;
  std::filesystem::path conds;

  CLI::App* add_command = nullptr;
  CLI::App* list_command = nullptr;
  CLI::App* show_command = nullptr;
  CLI::App* preview_command = nullptr;
  CLI::App* remove_command = nullptr;
  CLI::App* export_command = nullptr;

  /// Adds `voice` to @p app; this must outlive its parsing.
  void describe(CLI::App& app);
};

} // namespace audiobookd::daemon
