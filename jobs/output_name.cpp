// See output_name.h.
#include "jobs/output_name.h"

#include "jobs/job.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <unicode/uchar.h>
#include <utility>
#include <vector>

namespace audiobookd::jobs {
namespace {

constexpr std::string_view placeholder_letters = "abcdefghijklmnopqrstuvwxyz_";
constexpr std::string_view s3_scheme = "s3://";

using Placeholder = std::pair<std::string_view, std::string OutputNames::*>;
constexpr std::array<Placeholder, 6> placeholders = {{{"author", &OutputNames::author},
                                                      {"series", &OutputNames::series},
                                                      {"series_index", &OutputNames::series_index},
                                                      {"title", &OutputNames::title},
                                                      {"year", &OutputNames::year},
                                                      {"narrator", &OutputNames::narrator}}};

std::string trimmed(std::string_view text, std::string_view edges) {
  const std::size_t begin = text.find_first_not_of(edges);
  return begin == std::string_view::npos ? ""
                                         : std::string(text.substr(begin, text.find_last_not_of(edges) - begin + 1));
}

/// The beginning of @p text that has at most @p max_bytes, without half a character.
std::string_view cut(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) {
    return text;
  }
  std::size_t end = max_bytes;
  while (end > 0 && U8_IS_TRAIL(text[end])) {
    --end;
  }
  return text.substr(0, end);
}

/// A run of what is no placeholder, or one of these.
struct Part {
  std::string_view text;                           ///< without the braces of a placeholder
  const std::string OutputNames::*field = nullptr; ///< of a placeholder
};

/// A word of small letters in braces at the beginning of @p text; empty when there is none.
std::string_view word_in_braces(std::string_view text) {
  const std::size_t end = text.find_first_not_of(placeholder_letters, 1);
  const bool is_one = text.front() == '{' && end != std::string_view::npos && end > 1 && text[end] == '}';
  return is_one ? text.substr(1, end - 1) : "";
}

std::vector<Part> parts_of(std::string_view component) {
  std::vector<Part> parts;
  while (!component.empty()) {
    const std::string_view word = word_in_braces(component);
    if (word.empty()) {
      const std::size_t end = std::min(component.find('{', 1), component.size());
      parts.push_back({component.substr(0, end)});
      component.remove_prefix(end);
      continue;
    }
    const auto known = std::ranges::find(placeholders, word, &Placeholder::first);
    if (known == placeholders.end()) {
      throw JobError("output: \"{" + std::string(word) +
                     "}\" is not known; expected {author}, {series}, {series_index}, {title}, {year} or {narrator}");
    }
    parts.push_back({word, known->second});
    component.remove_prefix(word.size() + 2);
  }
  return parts;
}

std::vector<std::string_view> components_of(std::string_view path) {
  std::vector<std::string_view> components;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    components.push_back(path.substr(begin, end - begin));
    begin = end + 1;
  }
  return components;
}

bool is_placeholder(const Part& part) { return part.field != nullptr; }

/// Empty when it vanishes.
std::string expand(std::string_view component, const OutputNames& names) {
  const std::vector<Part> parts = parts_of(component);
  if (std::ranges::none_of(parts, is_placeholder)) {
    return std::string(component);
  }
  std::string text;
  bool any_known = false;
  bool any_empty = false;
  for (const Part& part : parts) {
    const std::string value = is_placeholder(part) ? safe_name(names.*part.field) : std::string(part.text);
    any_known = any_known || (is_placeholder(part) && !value.empty());
    any_empty = any_empty || value.empty();
    text += value;
  }
  if (!any_known) {
    return "";
  }
  return safe_name(any_empty ? trimmed(text, " -,_") : text);
}

} // namespace

std::string safe_name(std::string_view text, std::size_t max_bytes) {
  std::string name;
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t end) {
    const bool is_blank = u_isUWhiteSpace(c) || u_charType(c) == U_CONTROL_CHAR;
    const bool follows_blank = name.empty() || name.back() == ' ';
    if (is_blank) {
      name += follows_blank ? "" : " ";
    } else if (c == ':') {
      const bool before_blank = end < text.size() && text[end] == ' ';
      name += before_blank && !follows_blank ? " -" : "-";
    } else if (c == '/' || c == '\\' || c == '|' || c == '<' || c == '>') {
      name += '-';
    } else if (c == '"') {
      name += '\'';
    } else if (c != '?' && c != '*' && !u_hasBinaryProperty(c, UCHAR_DEFAULT_IGNORABLE_CODE_POINT)) {
      append_code_point(name, c);
    }
  });
  name.erase(0, std::min(name.find_first_not_of(". "), name.size()));
  const std::string_view kept = cut(name, max_bytes);
  return std::string(kept.substr(0, kept.find_last_not_of(". ") + 1)); // npos + 1: nothing
}

bool names_audio(std::string_view name) {
  std::string extension(name.substr(std::min(name.rfind('.'), name.size())));
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return std::tolower(c); });
  constexpr std::array<std::string_view, 7> extensions = {".mp3", ".flac", ".opus", ".ogg", ".m4a", ".m4b", ".wav"};
  return std::ranges::find(extensions, extension) != extensions.end();
}

bool has_placeholders(std::string_view output) {
  return std::ranges::any_of(components_of(output), [](std::string_view component) {
    return std::ranges::any_of(parts_of(component), is_placeholder);
  });
}

void check_placeholders(std::string_view output) {
  (void)has_placeholders(output);
  const std::size_t bucket_end = output.starts_with(s3_scheme) ? output.find('/', s3_scheme.size()) : 0;
  if (has_placeholders(output.substr(0, bucket_end))) {
    throw JobError("output: \"" + std::string(output) + "\" has a placeholder for its bucket; a bucket must be named");
  }
}

std::string expand_output(std::string_view output, const OutputNames& names) {
  check_placeholders(output);
  if (!has_placeholders(output)) {
    return std::string(output);
  }
  std::string path(output.starts_with('/') ? "/" : ""); // of a person's command line
  std::string last;
  const std::vector<std::string_view> components = components_of(output);
  const bool is_url = output.starts_with(s3_scheme);
  for (std::size_t i = 0; i < components.size(); ++i) {
    last = expand(components[i], names);
    const bool is_of_scheme = is_url && i < 3;
    if (!last.empty() || is_of_scheme) {
      path += (path.empty() || path == "/" || i == 0 ? "" : "/") + last;
    }
  }
  if (last.empty()) {
    throw JobError("output: of \"" + std::string(output) +
                   "\" no name is left, because the document does not say what its last part stands for; `title`, "
                   "`author` and `metadata` can");
  }
  return path;
}

} // namespace audiobookd::jobs
