// What a folder says about the book in it: metadata.json as Audiobookshelf writes and reads it, with the list of files
// besides.
//
// Plain values and pure functions: any thread.
#pragma once

#include "storage/tags.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::daemon {

/// A file that was written.
struct BookFile {
  std::string name;
  double seconds = 0; ///< of audio; 0 for other files
  std::uint64_t bytes = 0;
};

/// UTF-8; empty fields are not known.
struct BookDescription {
  std::string title;
  std::string subtitle;
  std::string authors; ///< several with ", " between
  std::string narrators;
  std::string series;
  std::string series_index;
  std::string genre;
  std::string year;
  std::string publisher;
  std::string description;
  std::string isbn;
  std::string asin;
  std::string language;
  std::string disclosure;                 ///< that the narration is synthetic
  std::vector<storage::Chapter> chapters; ///< times from the beginning of the first file
  std::vector<BookFile> files;
};

/// Names with ", " between, each for itself; "Jr." and the like stay with whom they belong to.
[[nodiscard]] std::vector<std::string> split_names(std::string_view names);

/// The content of metadata.json: Audiobookshelf's fields (server/models/Book.js, getAbsMetadataJson), those that are
/// not known null, and `files`, which it ignores: name, seconds of audio and bytes of each.
[[nodiscard]] std::string to_metadata_json(const BookDescription& book);

} // namespace audiobookd::daemon
