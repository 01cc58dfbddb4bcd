// A document as the rest of the room sees it: chapters of paragraphs, whatever format it came in.
//
// Plain values and free functions without shared state: any thread.
#pragma once

#include <cstddef>
#include <filesystem>
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
};

struct Chapter {
  std::string title;                 ///< for listings and tags; empty where the text before the first heading has none
  std::vector<Paragraph> paragraphs; ///< in reading order; the heading that names the chapter is among them
};

struct Document {
  std::string title;                 ///< empty when the document does not say
  std::string author;                ///< empty when the document does not say
  std::string language;              ///< BCP 47 ("en"); empty when the document does not say
  std::vector<Chapter> chapters;     ///< at least one, each with something to read aloud
  std::vector<std::string> warnings; ///< what had to be assumed, in sentences for the user
};

/// A document that cannot be read, ever (a permanent failure): the message names the document, what is wrong and where.
class DocumentError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

struct DocumentLimits {
  std::size_t max_bytes = std::size_t{32} << 20; ///< of the file; a long novel is about 4 MB of text
};

/// Reads a document whose bytes are in memory. The extension of @p name chooses the parser, the first bytes are checked
/// against it: this version reads plain text (.txt).
/// @param name file name or path of the document, for its extension and for messages; no file is opened.
/// @throws DocumentError for a format that is not supported, a document over the limits, one without any text, and
/// whatever else the parser refuses (parse_text() in text_document.h).
Document parse_document(std::string_view bytes, const std::filesystem::path& name, const DocumentLimits& limits = {});

} // namespace audiobookd::jobs
