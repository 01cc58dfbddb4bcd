// A document as the rest of the room sees it: chapters of paragraphs, whatever format it came in.
//
// Plain values and free functions without shared state: any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

enum class ParagraphKind {
  body,
  heading,     ///< read aloud, alone
  scene_break, ///< not read aloud: a longer pause in its place
};

/// UTF-8 without line breaks: runs of white space are one space, none at the edges. Never empty.
struct Paragraph {
  std::string text;
  ParagraphKind kind = ParagraphKind::body;
  std::string written = {}; ///< before speak() made `text` of it; empty: the same
};

struct Chapter {
  std::string title;                 ///< for listings and tags; empty where the text before the first heading has none
  std::vector<Paragraph> paragraphs; ///< in reading order; the heading that names the chapter is among them
};

/// A picture for the front of the book, checked by check_cover() in cover.h.
struct Cover {
  std::string bytes;
  std::string media_type; ///< "image/jpeg" or "image/png"
  int width = 0;          ///< pixels
  int height = 0;         ///< pixels
};

/// Texts are UTF-8 without line breaks, and empty when the document does not say.
struct Document {
  std::string title;
  std::string author;       ///< several are joined by ", "
  std::string language;     ///< BCP 47 ("en")
  std::string series;       ///< name of the series that the book is a part of
  std::string series_index; ///< its place there, a number that need not be whole ("2", "1.5")
  std::string publisher;
  std::string year;        ///< of publication, four digits
  std::string description; ///< without markup
  std::string identifier;  ///< as the document has it, for example "urn:isbn:9780000000000"
  std::optional<Cover> cover;
  std::vector<Chapter> chapters;     ///< at least one, each with something to read aloud
  std::vector<std::string> warnings; ///< what had to be assumed, in sentences for the user
};

/// A document that cannot be read, ever (a permanent failure): the message names the document, what is wrong and where.
class DocumentError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Bounds on what is read; each is inclusive, and what exceeds one is refused with a message of its own.
struct DocumentLimits {
  /// Of a text, Markdown or HTML file, and of every page of an archive once unpacked; a long novel is about 4 MB.
  std::size_t max_bytes = std::size_t{32} << 20;
  std::size_t max_archive_bytes = std::size_t{256} << 20; ///< of an EPUB or docx file, pictures included
  std::size_t max_entries = 10'000;                       ///< of an archive
  std::size_t max_entry_bytes = std::size_t{256} << 20;   ///< of one member of an archive, unpacked
  std::size_t max_unpacked_bytes = std::size_t{2} << 30;  ///< of all members of an archive together
  std::size_t max_text_bytes = std::size_t{64} << 20;     ///< of all pages of a book together, unpacked
  std::size_t max_ratio = 200;              ///< of a member's sizes, unpacked to packed; of deflated prose it is 2 to 5
  std::size_t ratio_counts_from = 1u << 20; ///< bytes unpacked: smaller members may have any ratio
  int max_depth = 250;                      ///< of elements in one another, in XML and HTML
  std::size_t max_xml_elements = 500'000;   ///< of one XML file
  std::size_t max_cover_bytes = std::size_t{6} << 20;
  int max_cover_pixels = 10'000; ///< of the cover's width and of its height
};

/// How many bytes of a file named @p name are worth reading: a longer one is over the limit of its format.
[[nodiscard]] std::size_t max_file_bytes(const std::filesystem::path& name, const DocumentLimits& limits = {});

/// Reads a document whose bytes are in memory. The extension of @p name chooses the parser: plain text (.txt, .text),
/// Markdown (.md, .markdown), HTML (.html, .htm, .xhtml), EPUB 2 and 3 (.epub), Word (.docx). The first bytes are
/// checked against it.
/// @param name file name or path of the document, for its extension and for messages; no file is opened.
/// @throws DocumentError for a format that is not supported, bytes of another format than the name says, a document
/// over the limits, one without any text, and whatever else the parser refuses (parse_text() in text_document.h,
/// parse_markdown(), parse_html(), parse_epub(), parse_docx()).
Document parse_document(std::string_view bytes, const std::filesystem::path& name, const DocumentLimits& limits = {});

} // namespace audiobookd::jobs
