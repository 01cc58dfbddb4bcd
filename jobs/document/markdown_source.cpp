// See markdown_source.h.
#include "jobs/document/markdown_source.h"

#include "jobs/document/block.h"

#include <algorithm>
#include <map>
#include <vector>

namespace audiobookd::jobs {
namespace {

using Fields = std::map<std::string, std::vector<std::string>, std::less<>>;

std::string_view take_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = std::min(text.find_first_not_of(" \t\r"), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(" \t\r") + 1);
}

std::string unquoted(std::string_view value) {
  value = trimmed(value);
  const bool is_quoted =
      value.size() >= 2 && (value.front() == '"' || value.front() == '\'') && value.back() == value[0];
  if (!is_quoted) {
    return clean_text(value.substr(0, value.find(" #")));
  }
  const char quote = value.front();
  std::string text;
  for (std::size_t i = 1; i + 1 < value.size(); ++i) {
    const bool is_escape = (quote == '"' && value[i] == '\\') || (quote == '\'' && value[i] == '\'');
    i += is_escape && i + 2 < value.size() ? 1 : 0;
    text += value[i];
  }
  return clean_text(text);
}

/// The items of `[a, "b, c"]`; one item for anything else.
std::vector<std::string> values_of(std::string_view value) {
  value = trimmed(value);
  if (!value.starts_with('[') || !value.ends_with(']')) {
    return {unquoted(value)};
  }
  std::vector<std::string> values;
  std::string item;
  char quote = 0;
  for (const char c : value.substr(1, value.size() - 2)) {
    quote = quote == 0 && (c == '"' || c == '\'') ? c : (quote == c ? '\0' : quote);
    if (c == ',' && quote == 0) {
      values.push_back(unquoted(item));
      item.clear();
    } else {
      item += c;
    }
  }
  values.push_back(unquoted(item));
  return values;
}

/// Reads lines of YAML up to the end of the front matter.
class FrontMatter {
public:
  void add(std::string_view line) {
    const std::string_view content = trimmed(line);
    const bool is_indented = line.starts_with(' ') || line.starts_with('\t');
    if (content.empty() || content.starts_with('#')) {
      return;
    }
    if (content.starts_with("- ") || content == "-") {
      add_item(content.substr(1));
    } else if (const std::size_t colon = content.find(':'); !is_indented && colon != std::string_view::npos) {
      begin_field(content.substr(0, colon), content.substr(colon + 1));
    } else if (is_indented && !key_.empty()) {
      continue_value(content);
    }
  }
  [[nodiscard]] const Fields& fields() const { return fields_; }

private:
  void begin_field(std::string_view key, std::string_view value) {
    key_ = clean_text(key);
    std::ranges::transform(key_, key_.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    const std::string_view content = trimmed(value);
    const bool is_folded = content.starts_with('|') || content.starts_with('>');
    fields_[key_] = content.empty() || is_folded ? std::vector<std::string>() : values_of(content);
  }
  /// `- Name`, or an object of which `name: Name` or `text: Name` is taken.
  void add_item(std::string_view item) {
    item = trimmed(item);
    for (const std::string_view prefix : {"name:", "text:"}) {
      if (item.starts_with(prefix)) {
        item.remove_prefix(prefix.size());
      }
    }
    fields_[key_].push_back(unquoted(item));
  }
  void continue_value(std::string_view content) {
    std::vector<std::string>& values = fields_[key_];
    if (values.empty()) {
      values.emplace_back();
    }
    values.back() += (values.back().empty() ? "" : " ") + unquoted(content);
  }

  std::string key_;
  Fields fields_;
};

std::string joined(const Fields& fields, std::initializer_list<const char*> keys) {
  std::string result;
  for (const char* key : keys) {
    const auto found = fields.find(key);
    for (const std::string& value :
         found == fields.end() || !result.empty() ? std::vector<std::string>() : found->second) {
      result += (result.empty() || value.empty() ? "" : ", ") + value;
    }
  }
  return result;
}

/// The first four digits in a row in @p date.
std::string year_of(std::string_view date) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  for (std::size_t i = 0; i + 4 <= date.size(); ++i) {
    if (std::ranges::all_of(date.substr(i, 4), is_digit)) {
      return std::string(date.substr(i, 4));
    }
  }
  return "";
}

/// Moves @p text behind its YAML front matter. @return false, and nothing moved, if there is none.
bool take_front_matter(std::string_view& text, MarkdownSource& source) {
  std::string_view rest = text;
  if (trimmed(take_line(rest)) != "---" || trimmed(rest.substr(0, rest.find('\n'))).empty()) {
    return false;
  }
  FrontMatter matter;
  while (!rest.empty()) {
    const std::string_view line = take_line(rest);
    if (trimmed(line) == "---" || trimmed(line) == "...") {
      const Fields& fields = matter.fields();
      source.title = joined(fields, {"title"});
      source.author = joined(fields, {"author", "authors", "creator"});
      source.language = joined(fields, {"language", "lang"});
      source.series = joined(fields, {"series", "belongs-to-collection"});
      source.series_index = joined(fields, {"series_index", "series-index", "group-position"});
      source.publisher = joined(fields, {"publisher"});
      source.year = year_of(joined(fields, {"date", "year"}));
      source.description = joined(fields, {"description", "abstract"});
      text = rest;
      return true;
    }
    matter.add(line);
  }
  return false;
}

/// Moves @p text behind pandoc's title block, if there is one.
void take_title_block(std::string_view& text, MarkdownSource& source) {
  std::string date;
  for (std::string* field : {&source.title, &source.author, &date}) {
    if (!text.starts_with("%")) {
      break;
    }
    *field = clean_text(take_line(text).substr(1));
    while (text.starts_with("  ")) {
      *field += " " + clean_text(take_line(text));
    }
    std::ranges::replace(*field, ';', ',');
  }
  source.year = year_of(date);
}

/// Where a reference to a note that begins at @p begin ends; @p begin if there is none.
std::size_t note_end(std::string_view line, std::size_t begin) {
  if (!line.substr(begin).starts_with("[^")) {
    return begin;
  }
  const std::size_t end = line.find_first_of("] \t[", begin + 2);
  return end == std::string_view::npos || line[end] != ']' || end == begin + 2 ? begin : end + 1;
}

/// @p line without references to notes outside of `code`.
std::string without_references(std::string_view line) {
  std::string result;
  bool in_code = false;
  for (std::size_t i = 0; i < line.size();) {
    in_code = in_code != (line[i] == '`');
    const std::size_t end = in_code ? i : note_end(line, i);
    if (end == i) {
      result += line[i++];
    }
    i = std::max(i, end);
  }
  return result;
}

/// Drops notes and references to them.
std::string without_notes(std::string_view text) {
  std::string body;
  std::string fence; // that ends the block of code
  bool in_note = false;
  bool after_blank = false;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const std::string_view content = trimmed(line);
    const bool is_indented = line.starts_with("    ") || line.starts_with('\t');
    const std::string_view marks = content.substr(0, 3);
    if (!fence.empty() || marks == "```" || marks == "~~~") {
      fence = fence.empty() ? std::string(marks) : (marks == fence ? "" : fence);
      in_note = false;
    } else {
      const std::size_t end = note_end(line, 0);
      const bool begins_note = end > 0 && line.substr(end).starts_with(":");
      in_note = begins_note || (in_note && (content.empty() || is_indented || !after_blank));
    }
    after_blank = content.empty();
    if (!in_note || content.empty()) {
      body += (fence.empty() ? without_references(line) : std::string(line)) + "\n";
    }
  }
  return body;
}

} // namespace

MarkdownSource read_markdown_source(std::string_view text) {
  MarkdownSource source;
  if (!take_front_matter(text, source)) {
    take_title_block(text, source);
  }
  source.body = without_notes(text);
  return source;
}

} // namespace audiobookd::jobs
