// Archives that tests make: ZIP files, and EPUB and Word documents of parts.
//
// A ZipWriter is used by one thread; the rest are pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace audiobookd::jobs::testing {

/// Members in the order of the archive: name and bytes.
using Members = std::vector<std::pair<std::string, std::string>>;

/// A ZIP archive written by libzip: deflated where that is shorter.
/// @param password of every member; empty: none is encrypted.
[[nodiscard]] std::string zip(const Members& members, const std::string& password = "");

/// A ZIP archive written byte for byte by the test, members stored: it may contain what libzip refuses to write.
/// @param says_bytes what the directory says of the size unpacked of every member; 0: the truth.
[[nodiscard]] std::string raw_zip(const Members& members, std::uint32_t says_bytes = 0);

inline constexpr const char* container =
    R"(<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>)"
    R"(<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>)";

/// An XHTML page around @p body.
[[nodiscard]] std::string page(const std::string& body);

/// What an EPUB is made of. Paths are relative to OEBPS/.
struct EpubParts {
  std::string version = "3.0";
  std::string metadata = "<dc:title>A Tale</dc:title>";
  Members pages = {};                ///< file and what its body contains, in the order of the spine
  std::string more_manifest = {};    ///< `<item>`s besides the pages
  std::string more_spine = {};       ///< `<itemref>`s behind the pages
  std::string spine_attributes = {}; ///< for example `toc="ncx"`
  std::string guide = {};            ///< of an EPUB 2
  Members more = {};                 ///< other files, as they are
};
[[nodiscard]] Members epub_members(const EpubParts& parts);
[[nodiscard]] std::string epub(const EpubParts& parts);

/// An EPUB 3's navigation document whose table of contents contains @p items, `<li>`s. Belongs into EpubParts::more.
[[nodiscard]] std::string navigation(const std::string& items);
inline constexpr const char* navigation_item =
    R"(<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>)";

/// A Word document whose body contains @p body, with styles Heading1, Heading2 (based on it), Title and TOC1.
[[nodiscard]] std::string docx(const std::string& body);
/// A paragraph of it. @param style empty: none.
[[nodiscard]] std::string docx_paragraph(const std::string& text, const std::string& style = "");

/// A picture of one colour. @param width, height in pixels.
[[nodiscard]] std::string png(int width, int height);

/// The headers of a JPEG picture and a few bytes in place of its pixels.
[[nodiscard]] std::string jpeg(int width, int height);

} // namespace audiobookd::jobs::testing
