// The fields of a job as options of a command line: one option for each, so that what a job may say can be typed.
//
// One thread.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace audiobookd::daemon {

class JobFlags {
public:
  /// Adds the options to @p command; this must outlive its parsing.
  void describe(CLI::App& command);

  /// Whether any was given.
  [[nodiscard]] bool any() const;

  /// Puts what was given into @p job, over what is there. Values are not judged here but by jobs::parse_job().
  /// @param now_s Unix time, for a not_before that is relative. @param in where a text of "-" is read from.
  /// @throws std::invalid_argument naming an option that is not UTF-8, a not_before that is no time, or a field of
  /// @p job that should be an object.
  void put_into(nlohmann::json& job, std::int64_t now_s, std::istream& in) const;

private:
  std::map<std::string, std::string> values_; ///< by the field's path
  std::map<std::string, CLI::Option*> options_;
  std::vector<std::string> metadata_; ///< KEY=VALUE
};

/// Unix seconds: "1700000000", or from @p now_s on: "+90s", "+30m", "+2h", "+1d".
/// @throws std::invalid_argument naming @p text.
[[nodiscard]] std::int64_t parse_not_before(const std::string& text, std::int64_t now_s);

} // namespace audiobookd::daemon
