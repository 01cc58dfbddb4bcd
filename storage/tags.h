// Tags of an audiobook: ID3v2, rendered by TagLib into a block of bytes that stands before the audio. Stateless; any
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace audiobookd::storage {

/// A picture for players to show.
struct CoverPicture {
  std::string bytes;      ///< of a JPEG or PNG file
  std::string media_type; ///< "image/jpeg" or "image/png"
};

/// Empty fields are left out. UTF-8; control characters are removed, invalid bytes become U+FFFD.
struct Tags {
  std::string title;                 ///< TIT2
  std::string author;                ///< TPE1
  std::string album;                 ///< TALB
  std::string narrator;              ///< TCOM
  std::string album_artist;          ///< TPE2: of a book in several files
  std::string track;                 ///< TRCK: which of how many files, "2/12"
  std::string genre = "Audiobook";   ///< TCON
  std::string series;                ///< TXXX "SERIES", which Audiobookshelf reads, and MVNM
  std::string series_index;          ///< TXXX "SERIES-PART", and MVIN
  std::string publisher;             ///< TPUB
  std::string year;                  ///< TDRC: of publication, "1851"
  std::string description;           ///< TXXX "DESCRIPTION"
  std::optional<CoverPicture> cover; ///< APIC, front cover
  std::string language;              ///< TLAN: ISO 639-1 ("en", "pt-BR") or 639-2 ("eng"); unknown codes are left out
  std::string comment;               ///< COMM, e.g. "synthetic weights: noise"
  std::string disclosure;            ///< COMM (after the comment) and TXXX "DISCLOSURE"; see synthetic_narration()
  std::map<std::string, std::string> extra; ///< TXXX frames by description
};

/// One chapter of the file: CHAP with its title, listed in CTOC.
struct Chapter {
  std::string title;
  std::uint32_t start_ms = 0;
  std::uint32_t end_ms = 0;
};

/// "The narration is synthetic speech: model …, voice …."
[[nodiscard]] std::string synthetic_narration(const std::string& model, const std::string& voice);

/// The tag block, padded with zeros to exactly @p block_bytes (0: as long as it needs). The same input gives the same
/// bytes, and chapter times do not change the length.
/// @param version 4: ID3v2.4 in UTF-8; 3: ID3v2.3 in UTF-16, for old players (TYER instead of TDRC).
/// @throws PermanentError when it needs more than @p block_bytes, or more than 256 MiB.
[[nodiscard]] std::vector<std::byte> render_id3v2(const Tags& tags, const std::vector<Chapter>& chapters,
                                                  std::size_t block_bytes = 0, int version = 4);

} // namespace audiobookd::storage
