// One table of a TOML file, read key by key, so that what nobody asked for can be reported.
//
// One thread at a time per section.
#pragma once

#include "daemon/config_error.h"

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <toml++/toml.h>
#include <vector>

namespace audiobookd::daemon {

/// Reads a TOML file. @throws ConfigError: it cannot be read, is empty, or is not TOML.
[[nodiscard]] toml::table parse_toml(const std::filesystem::path& file);

class ConfigSection {
public:
  /// @p table null: the section is absent, every key keeps its default.
  /// @param name with its parents, "audio.pauses".
  ConfigSection(const toml::table* table, std::string name, std::filesystem::path file)
      : table_(table), name_(std::move(name)), file_(std::move(file)) {}

  // Each leaves @p value alone when @p key is absent, and throws ConfigError for a wrong type or range.
  void read(std::string_view key, std::string& value);
  void read(std::string_view key, bool& value);
  void read(std::string_view key, int& value, int least, int greatest);
  void read(std::string_view key, std::optional<int>& value, int least, int greatest);
  void read(std::string_view key, double& value, double least, double greatest);
  void read(std::string_view key, std::vector<std::string>& value);
  /// A list of lists of @p length integers from 0 to @p greatest, at most @p most. @return whether @p key is present
  bool read(std::string_view key, std::vector<std::vector<int>>& value, std::size_t length, std::size_t most,
            int greatest);
  void read_path(std::string_view key, std::filesystem::path& value);

  /// A table inside this one.
  [[nodiscard]] ConfigSection section(std::string_view key);
  /// @throws ConfigError when @p key is absent.
  void require(std::string_view key) const;
  /// @throws ConfigError naming a key that was not asked for.
  void reject_unknown() const;
  /// @throws ConfigError about this section always.
  [[noreturn]] void reject_section(const std::string& why) const;
  /// @throws ConfigError about the value of @p key, which is present, always.
  [[noreturn]] void reject(std::string_view key, const std::string& expected) const;

private:
  [[nodiscard]] const toml::node* find(std::string_view key);
  [[nodiscard]] std::string dotted(std::string_view key) const;

  const toml::table* table_;
  std::string name_;
  std::filesystem::path file_;
  std::set<std::string, std::less<>> asked_;
};

} // namespace audiobookd::daemon
