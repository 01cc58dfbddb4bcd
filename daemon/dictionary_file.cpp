// See dictionary_file.h.
#include "daemon/dictionary_file.h"

#include "daemon/config_section.h"

namespace audiobookd::daemon {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& file, const toml::node* node, const std::string& why) {
  const std::string line = node == nullptr ? "" : ":" + std::to_string(node->source().begin.line);
  throw ConfigError(file.string() + line + ": " + why);
}

std::string checked(const std::filesystem::path& file, std::string_view written, const toml::node& node) {
  const std::string name = "words.\"" + std::string(written.substr(0, jobs::max_written_bytes)) + "\": ";
  const auto spoken = node.value<std::string>();
  if (!node.is_string() || !spoken) {
    refuse(file, &node, name + "expected the spoken words in quotation marks, like \"gif\" = \"jif\"");
  }
  if (const auto complaint = jobs::complaint_about(written, *spoken)) {
    refuse(file, &node, name + *complaint);
  }
  return *spoken;
}

} // namespace

jobs::Words load_dictionary(const std::filesystem::path& file) {
  const toml::table table = parse_toml(file);
  for (const auto& [key, node] : table) {
    if (key.str() != "words") {
      refuse(file, &node, "\"" + std::string(key.str()) + "\" is unknown; words belong into a table [words]");
    }
  }
  const toml::table* words = table["words"].as_table();
  if (words == nullptr) {
    refuse(file, table.get("words"), "expected a table [words] with lines like \"gif\" = \"jif\"");
  }
  if (words->size() > jobs::max_dictionary_words) {
    refuse(file, words,
           std::to_string(words->size()) + " words, at most " + std::to_string(jobs::max_dictionary_words) +
               " are allowed");
  }
  jobs::Words result;
  for (const auto& [written, node] : *words) {
    result.emplace(written.str(), checked(file, written.str(), node));
  }
  return result;
}

} // namespace audiobookd::daemon
