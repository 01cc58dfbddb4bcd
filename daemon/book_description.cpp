// See book_description.h.
#include "daemon/book_description.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

namespace audiobookd::daemon {
namespace {

using Json = nlohmann::ordered_json;

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json list_of(const std::string& text) { return text.empty() ? Json::array() : Json::array({text}); }

double in_seconds(std::uint32_t milliseconds) { return milliseconds / 1000.0; }

bool is_suffix(std::string_view name) {
  constexpr std::array<std::string_view, 9> suffixes = {"Jr.", "Jr", "Sr.", "Sr", "II", "III", "IV", "M.D.", "Ph.D."};
  return std::ranges::find(suffixes, name) != suffixes.end();
}

Json chapters_of(const BookDescription& book) {
  Json chapters = Json::array();
  for (const storage::Chapter& chapter : book.chapters) {
    chapters.push_back({{"id", chapters.size()},
                        {"start", in_seconds(chapter.start_ms)},
                        {"end", in_seconds(chapter.end_ms)},
                        {"title", chapter.title}});
  }
  return chapters;
}

Json files_of(const BookDescription& book) {
  Json files = Json::array();
  for (const BookFile& file : book.files) {
    Json& entry = files.emplace_back(Json{{"name", file.name}});
    if (file.seconds > 0) {
      entry["seconds"] = std::round(1000 * file.seconds) / 1000;
    }
    entry["bytes"] = file.bytes;
  }
  return files;
}

} // namespace

std::vector<std::string> split_names(std::string_view names) {
  constexpr std::string_view separator = ", ";
  std::vector<std::string> split;
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(separator), names.size());
    const std::string name(names.substr(0, end));
    if (is_suffix(name) && !split.empty()) {
      split.back() += std::string(separator) + name;
    } else if (!name.empty()) {
      split.push_back(name);
    }
    names.remove_prefix(std::min(end + separator.size(), names.size()));
  }
  return split;
}

std::string to_metadata_json(const BookDescription& book) {
  const std::string series = book.series + (book.series_index.empty() ? "" : " #" + book.series_index);
  const Json json = {{"tags", Json::array()},
                     {"chapters", chapters_of(book)},
                     {"title", book.title},
                     {"subtitle", text_or_null(book.subtitle)},
                     {"authors", split_names(book.authors)},
                     {"narrators", split_names(book.narrators)},
                     {"series", list_of(book.series.empty() ? "" : series)},
                     {"genres", list_of(book.genre)},
                     {"publishedYear", text_or_null(book.year)},
                     {"publishedDate", nullptr},
                     {"publisher", text_or_null(book.publisher)},
                     {"description", text_or_null(book.description)},
                     {"isbn", text_or_null(book.isbn)},
                     {"asin", text_or_null(book.asin)},
                     {"language", text_or_null(book.language)},
                     {"explicit", false},
                     {"abridged", false},
                     {"disclosure", text_or_null(book.disclosure)},
                     {"files", files_of(book)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

} // namespace audiobookd::daemon
