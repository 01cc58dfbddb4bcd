// See book_metadata.h.
#include "jobs/book_metadata.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t name_bytes = 1024;
constexpr std::size_t long_bytes = 64 * 1024;

constexpr std::array<MetadataField, 11> fields = {{{"subtitle", &BookMetadata::subtitle, name_bytes},
                                                   {"narrator", &BookMetadata::narrator, name_bytes},
                                                   {"series", &BookMetadata::series, name_bytes},
                                                   {"series_index", &BookMetadata::series_index, 16},
                                                   {"publisher", &BookMetadata::publisher, name_bytes},
                                                   {"year", &BookMetadata::year, 4},
                                                   {"description", &BookMetadata::description, long_bytes},
                                                   {"genre", &BookMetadata::genre, name_bytes},
                                                   {"identifier", &BookMetadata::identifier, name_bytes},
                                                   {"isbn", &BookMetadata::isbn, 32},
                                                   {"asin", &BookMetadata::asin, 10}}};

constexpr std::string_view digits = "0123456789";

bool is_all(std::string_view text, std::string_view letters) {
  return text.find_first_not_of(letters) == std::string_view::npos;
}

bool is_number(std::string_view text) {
  const std::size_t dot = text.find('.');
  const std::string_view whole = text.substr(0, dot);
  const std::string_view rest = dot == std::string_view::npos ? "0" : text.substr(dot + 1);
  return !whole.empty() && !rest.empty() && is_all(whole, digits) && is_all(rest, digits);
}

/// Digits (and a last 'X') of an ISBN; empty when @p text is none.
std::string isbn_digits(std::string_view text) {
  std::string isbn;
  std::ranges::copy_if(text, std::back_inserter(isbn), [](char c) { return c != '-' && c != ' '; });
  if (isbn.size() == 13 && is_all(isbn, digits)) {
    return isbn;
  }
  const bool is_ten = isbn.size() == 10 && is_all(std::string_view(isbn).substr(0, 9), digits) &&
                      (is_all(isbn.substr(9), digits) || isbn.back() == 'X' || isbn.back() == 'x');
  if (is_ten) {
    isbn.back() = static_cast<char>(std::toupper(static_cast<unsigned char>(isbn.back())));
  }
  return is_ten ? isbn : "";
}

bool is_asin(std::string_view text) {
  return text.size() == 10 && is_all(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
}

} // namespace

std::span<const MetadataField> metadata_fields() { return fields; }

const MetadataField* find_metadata_field(std::string_view name) {
  const auto* const found = std::ranges::find(fields, name, &MetadataField::name);
  return found == fields.end() ? nullptr : found;
}

std::optional<std::string> complaint_about(const MetadataField& field, std::string_view value) {
  if (field.name == "year" && (value.size() != 4 || !is_all(value, digits))) {
    return "expected four digits";
  }
  if (field.name == "series_index" && !is_number(value)) {
    return "expected a number, like 2 or 1.5";
  }
  if (field.name == "isbn" && isbn_digits(value).empty()) {
    return "expected an ISBN: 13 digits, or 9 and a digit or X, with or without dashes";
  }
  if (field.name == "asin" && !is_asin(value)) {
    return "expected ten capital letters and digits";
  }
  return std::nullopt;
}

void apply(const BookMetadata& metadata, Document& document) {
  using Override = std::pair<std::string BookMetadata::*, std::string Document::*>;
  constexpr std::array<Override, 6> overrides = {{{&BookMetadata::series, &Document::series},
                                                  {&BookMetadata::series_index, &Document::series_index},
                                                  {&BookMetadata::publisher, &Document::publisher},
                                                  {&BookMetadata::year, &Document::year},
                                                  {&BookMetadata::description, &Document::description},
                                                  {&BookMetadata::identifier, &Document::identifier}}};
  if (!metadata.series.empty() && metadata.series != document.series) {
    document.series_index.clear(); // its place in another series
  }
  for (const auto& [from, to] : overrides) {
    if (!(metadata.*from).empty()) {
      document.*to = metadata.*from;
    }
  }
}

std::string isbn_of(const BookMetadata& metadata, std::string_view identifier) {
  if (!metadata.isbn.empty()) {
    return isbn_digits(metadata.isbn);
  }
  std::string lower(identifier.substr(0, std::string_view("urn:isbn:").size()));
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (const std::string_view prefix : {"urn:isbn:", "isbn:", "isbn "}) {
    if (lower.starts_with(prefix)) {
      return isbn_digits(identifier.substr(prefix.size()));
    }
  }
  return isbn_digits(identifier);
}

} // namespace audiobookd::jobs
