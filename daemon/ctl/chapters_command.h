// `audiobookctl chapters BOOK`: what would be read of a document, and what that would take, before it is rendered.
//
// One thread.
#pragma once

#include "daemon/ctl/exit_status.h"
#include "daemon/estimate_config.h"
#include "jobs/document/document.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::daemon {

/// What a chapter amounts to, as far as its text tells.
struct ChapterEstimate {
  std::size_t number = 0; ///< from 1
  std::string title;
  std::size_t words = 0;
  std::size_t characters = 0;
  double seconds = 0; ///< of audio, pauses included
};

/// Of every chapter of @p document: the speech tokens that the engine predicts for its text (1.55 a character of
/// English, 25 a second), and the default pauses.
[[nodiscard]] std::vector<ChapterEstimate> estimate_chapters(const jobs::Document& document);

class ChaptersCommand {
public:
  /// @param columns of the terminal that @p out is; 0: it is none.
  explicit ChaptersCommand(std::ostream& out, std::size_t columns = 0) : out_(out), columns_(columns) {}
  ChaptersCommand(const ChaptersCommand&) = delete;
  ChaptersCommand& operator=(const ChaptersCommand&) = delete;

  /// Adds `chapters` to @p app; this must outlive its parsing.
  void describe(CLI::App& app);

  /// Runs the command if it was parsed; nothing if it was not.
  /// @throws std::invalid_argument: wrong usage; jobs::DocumentError, std::runtime_error: the document or the
  /// configuration cannot be read.
  [[nodiscard]] std::optional<ExitStatus> run() const;

private:
  [[nodiscard]] EstimateConfig read_estimate_config() const;

  std::ostream& out_;
  const std::size_t columns_;
  CLI::App* command_ = nullptr;
  std::filesystem::path book_;
  std::string only_;
  std::filesystem::path config_;
  std::optional<double> times_real_time_;
  std::optional<double> price_per_gpu_hour_;
  bool as_json_ = false;
};

} // namespace audiobookd::daemon
