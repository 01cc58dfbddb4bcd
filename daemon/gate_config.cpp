// Every key of [gates] stands once, in visit_bounds(), but for those that are no number.
#include "daemon/gate_config.h"

#include "engine/engine.h"

#include <limits>
#include <spdlog/spdlog.h>
#include <sstream>

namespace audiobookd::daemon {
namespace {

template <typename Settings, typename Visit>
void visit_bounds(Settings& gates, Visit&& visit) {
  visit("min_duration", gates.min_duration, 0, 1);
  visit("max_duration", gates.max_duration, 1, 100);
  visit("duration_slack_s", gates.duration_slack_s, 0, 60);
  visit("max_silence_s", gates.max_silence_s, 0.05, 60);
  visit("max_end_db", gates.max_end_db, -100, 100);
  visit("max_clipped_share", gates.max_clipped_share, 0, 1);
  visit("min_level_dbfs", gates.min_level_dbfs, -200, 0);
  visit("max_voiceless_s", gates.max_voiceless_s, 0.05, 60);
  visit("min_voiced_share", gates.min_voiced_share, 0, 1);
  visit("max_skipped_s", gates.max_skipped_s, 0.05, 60);
  visit("max_reread_s", gates.max_reread_s, 0.05, 60);
  visit("max_unread_s", gates.max_unread_s, 0.05, 60);
  visit("max_tail_s", gates.max_tail_s, 0.05, 60);
}

constexpr int most_retries = 10;
constexpr int most_heads = 64;
constexpr int most_layers = 1000;

void read_command(ConfigSection& section, GateCommandSettings& command) {
  section.read("command", command.command);
  section.read("command_timeout_s", command.timeout_s, 0.1, 3600);
  section.read("command_processes", command.processes, 1, 256);
  section.read("min_score", command.min_score, 0, 1);
  if (!command.command.empty() && command.command.front().empty()) {
    section.reject("command", "a program and its arguments");
  }
}

std::string show(const std::vector<engine::AttentionHead>& heads) {
  std::string text;
  for (const auto& [layer, head] : heads) {
    text += (text.empty() ? "[" : ", [") + std::to_string(layer) + ", " + std::to_string(head) + "]";
  }
  return "[" + text + "]";
}

} // namespace

GateOptions GateConfig::options() const {
  if (!enabled) {
    return {};
  }
  return {settings, command.command.empty() ? std::nullopt : std::optional(command)};
}

void read_gates(ConfigSection section, GateConfig& gates) {
  section.read("enabled", gates.enabled);
  section.read("max_retries", gates.settings.max_retries, 0, most_retries);
  section.read("max_repeated_tokens", gates.settings.max_repeated_tokens, 2, std::numeric_limits<int>::max());
  visit_bounds(gates.settings, [&section](const char* key, double& bound, double least, double greatest) {
    section.read(key, bound, least, greatest);
  });
  std::vector<std::vector<int>> heads;
  if (section.read("alignment_heads", heads, 2, most_heads, most_layers)) {
    gates.alignment_heads.emplace();
    for (const std::vector<int>& pair : heads) {
      gates.alignment_heads->push_back({pair[0], pair[1]});
    }
  }
  read_command(section, gates.command);
  section.reject_unknown();
}

std::string describe(const GateConfig& gates) {
  std::ostringstream out;
  out << "[gates]\nenabled = " << (gates.enabled ? "true" : "false") << "\nmax_retries = " << gates.settings.max_retries
      << "\nmax_repeated_tokens = " << gates.settings.max_repeated_tokens << '\n';
  visit_bounds(gates.settings,
               [&out](const char* key, double bound, double, double) { out << key << " = " << bound << '\n'; });
  if (gates.alignment_heads) {
    out << "alignment_heads = " << show(*gates.alignment_heads) << '\n';
  }
  out << "command = [";
  for (const std::string& word : gates.command.command) {
    out << (&word == &gates.command.command.front() ? "" : ", ") << toml::value<std::string>(word);
  }
  out << "]\ncommand_timeout_s = " << gates.command.timeout_s << "\ncommand_processes = " << gates.command.processes
      << "\nmin_score = " << gates.command.min_score << '\n';
  return out.str();
}

std::vector<engine::AttentionHead> heads_to_watch(const GateConfig& gates, const std::filesystem::path& checkpoint) {
  if (!gates.enabled) {
    return {};
  }
  std::vector<engine::AttentionHead> heads =
      gates.alignment_heads ? *gates.alignment_heads : engine::Engine::known_alignment_heads(checkpoint);
  if (heads.empty()) {
    spdlog::info("no alignment heads are known of '{}': nobody watches for skipped and repeated words "
                 "(gates.alignment_heads names them)",
                 checkpoint.string());
  } else {
    spdlog::info("alignment heads {} are watched for skipped and repeated words", show(heads));
  }
  return heads;
}

} // namespace audiobookd::daemon
