// What a job says about its book, besides title and author: it comes before what the document says.
//
// Plain values and pure functions: any thread.
#pragma once

#include "jobs/document/document.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace audiobookd::jobs {

/// UTF-8. Empty: as the document says, or not at all.
struct BookMetadata {
  std::string subtitle = {};
  std::string narrator = {}; ///< for listeners; else the voice
  std::string series = {};
  std::string series_index = {}; ///< a number that need not be whole
  std::string publisher = {};
  std::string year = {}; ///< four digits
  std::string description = {};
  std::string genre = {};      ///< else "Audiobook"
  std::string identifier = {}; ///< for example "urn:isbn:9780000000000"
  std::string isbn = {};       ///< else that of the identifier, if it is one
  std::string asin = {};       ///< Amazon's number: ten letters and digits

  bool operator==(const BookMetadata&) const = default;
};

/// One field.
struct MetadataField {
  std::string_view name;
  std::string BookMetadata::*value;
  std::size_t max_bytes;
};

[[nodiscard]] std::span<const MetadataField> metadata_fields();
/// Nothing when there is none of that name.
[[nodiscard]] const MetadataField* find_metadata_field(std::string_view name);
/// What is wrong with @p value for @p field, if anything: "expected …".
[[nodiscard]] std::optional<std::string> complaint_about(const MetadataField& field, std::string_view value);

/// Lets @p metadata come before what @p document says of itself.
void apply(const BookMetadata& metadata, Document& document);

/// The ISBN of a book: as given, or that in an identifier ("urn:isbn:…", "isbn:…", or nothing but an ISBN); digits
/// (and 'X') alone. Empty when there is none.
[[nodiscard]] std::string isbn_of(const BookMetadata& metadata, std::string_view identifier);

} // namespace audiobookd::jobs
