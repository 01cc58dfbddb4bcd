// `audiobookctl text BOOK`: what will be said beside what is written. Needs no queue and no model.
//
// One thread.
#pragma once

#include "daemon/ctl/exit_status.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>

namespace audiobookd::daemon {

class TextCommand {
public:
  TextCommand() = default;
  TextCommand(const TextCommand&) = delete;
  TextCommand& operator=(const TextCommand&) = delete;

  /// Adds the command to @p app; this must outlive its parsing.
  void describe(CLI::App& app);

  /// Prints the book paragraph by paragraph to @p out, and how many change to @p err; nothing if another command was
  /// parsed.
  /// @throws std::invalid_argument: a dictionary or language that is wrong; jobs::DocumentError, std::runtime_error:
  /// the book cannot be read.
  std::optional<ExitStatus> run(std::ostream& out, std::ostream& err);

private:
  CLI::App* command_ = nullptr;
  std::filesystem::path book_;
  std::filesystem::path dictionary_;
  std::string language_; ///< empty: the document's, or English
  bool as_json_ = false;
  bool only_changed_ = false;
};

} // namespace audiobookd::daemon
