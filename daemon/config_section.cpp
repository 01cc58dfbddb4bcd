// Reading and rejecting the keys of a TOML table.
#include "daemon/config_section.h"

#include <fstream>
#include <sstream>

namespace audiobookd::daemon {
namespace {

std::string show(const toml::node& node) {
  std::ostringstream text;
  node.visit([&text](const auto& value) { text << value; });
  return text.str();
}

template <typename Number>
std::string range(const char* what, Number least, Number greatest) {
  std::ostringstream text;
  text << what << " from " << least << " to " << greatest;
  return text.str();
}

} // namespace

toml::table parse_toml(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (!stream || !(text << stream.rdbuf())) {
    throw ConfigError(file.string() + ": cannot be read, or is empty");
  }
  try {
    return toml::parse(text.str(), file.string());
  } catch (const toml::parse_error& error) {
    throw ConfigError(file.string() + ":" + std::to_string(error.source().begin.line) + ": " +
                      std::string(error.description()));
  }
}

std::string ConfigSection::dotted(std::string_view key) const {
  return name_.empty() ? std::string(key) : name_ + "." + std::string(key);
}

const toml::node* ConfigSection::find(std::string_view key) {
  asked_.emplace(key);
  return table_ == nullptr ? nullptr : table_->get(key);
}

void ConfigSection::reject_section(const std::string& why) const {
  throw ConfigError(file_.string() + ": " + name_ + ": " + why);
}

void ConfigSection::reject(std::string_view key, const std::string& expected) const {
  const toml::node* node = table_->get(key);
  throw ConfigError(file_.string() + ":" + std::to_string(node->source().begin.line) + ": " + dotted(key) +
                    ": expected " + expected + ", found " + show(*node));
}

void ConfigSection::read(std::string_view key, std::string& value) {
  if (const toml::node* node = find(key)) {
    if (!node->is_string()) {
      reject(key, "a string");
    }
    value = node->as_string()->get();
  }
}

void ConfigSection::read(std::string_view key, bool& value) {
  if (const toml::node* node = find(key)) {
    if (!node->is_boolean()) {
      reject(key, "true or false");
    }
    value = node->as_boolean()->get();
  }
}

void ConfigSection::read(std::string_view key, int& value, int least, int greatest) {
  if (const toml::node* node = find(key)) {
    const auto* number = node->as_integer();
    if (number == nullptr || number->get() < least || number->get() > greatest) {
      reject(key, range("an integer", least, greatest));
    }
    value = static_cast<int>(number->get());
  }
}

void ConfigSection::read(std::string_view key, std::optional<int>& value, int least, int greatest) {
  if (find(key) != nullptr) {
    read(key, value.emplace(), least, greatest);
  }
}

void ConfigSection::read(std::string_view key, double& value, double least, double greatest) {
  if (const toml::node* node = find(key)) {
    const auto number = node->is_number() ? node->value<double>() : std::nullopt;
    if (!number || !(*number >= least && *number <= greatest)) {
      reject(key, range("a number", least, greatest));
    }
    value = *number;
  }
}

void ConfigSection::read(std::string_view key, std::vector<std::string>& value) {
  if (const toml::node* node = find(key)) {
    if (!node->is_array() || !(node->as_array()->empty() || node->as_array()->is_homogeneous<std::string>())) {
      reject(key, "a list of strings");
    }
    value.clear();
    for (const toml::node& element : *node->as_array()) {
      value.push_back(element.as_string()->get());
    }
  }
}

bool ConfigSection::read(std::string_view key, std::vector<std::vector<int>>& value, std::size_t length,
                         std::size_t most, int greatest) {
  const toml::node* node = find(key);
  if (node == nullptr) {
    return false;
  }
  const auto refuse = [&] {
    reject(key, "a list of at most " + std::to_string(most) + " lists of " + std::to_string(length) +
                    " integers from 0 to " + std::to_string(greatest) + " each");
  };
  if (!node->is_array() || node->as_array()->size() > most) {
    refuse();
  }
  value.clear();
  for (const toml::node& element : *node->as_array()) {
    if (!element.is_array() || element.as_array()->size() != length) {
      refuse();
    }
    std::vector<int>& list = value.emplace_back();
    for (const toml::node& item : *element.as_array()) {
      const auto* number = item.as_integer();
      if (number == nullptr || number->get() < 0 || number->get() > greatest) {
        refuse();
      }
      list.push_back(static_cast<int>(number->get()));
    }
  }
  return true;
}

void ConfigSection::read_path(std::string_view key, std::filesystem::path& value) {
  std::string text;
  read(key, text);
  if (!text.empty()) {
    value = (std::filesystem::absolute(file_).parent_path() / text).lexically_normal();
  }
}

ConfigSection ConfigSection::section(std::string_view key) {
  const toml::node* node = find(key);
  if (node != nullptr && !node->is_table()) {
    reject(key, "a table");
  }
  return {node == nullptr ? nullptr : node->as_table(), dotted(key), file_};
}

void ConfigSection::require(std::string_view key) const {
  if (table_ == nullptr || !table_->contains(key)) {
    throw ConfigError(file_.string() + ": " + dotted(key) + " is missing");
  }
}

void ConfigSection::reject_unknown() const {
  if (table_ == nullptr) {
    return;
  }
  for (const auto& [key, node] : *table_) {
    if (!asked_.contains(key.str())) {
      throw ConfigError(file_.string() + ":" + std::to_string(key.source().begin.line) + ": " + dotted(key.str()) +
                        ": unknown key");
    }
  }
}

} // namespace audiobookd::daemon
