// Chooses the parser of a document by its name and its first bytes. Pure functions: any thread.
#include "jobs/document/document.h"

#include "jobs/document/docx_document.h"
#include "jobs/document/epub_document.h"
#include "jobs/document/html_document.h"
#include "jobs/document/markdown_document.h"
#include "jobs/document/text_document.h"

#include <algorithm>
#include <array>

namespace audiobookd::jobs {
namespace {

enum class Content { text, markup, archive, other };

struct Format {
  std::string_view extension;
  Content content; ///< what the file must be
  Document (*parse)(std::string_view, std::string_view, const DocumentLimits&);
};

constexpr std::array<Format, 9> formats = {{
    {".txt", Content::text, parse_text},
    {".text", Content::text, parse_text},
    {".md", Content::text, parse_markdown},
    {".markdown", Content::text, parse_markdown},
    {".html", Content::markup, parse_html},
    {".htm", Content::markup, parse_html},
    {".xhtml", Content::markup, parse_html},
    {".epub", Content::archive, parse_epub},
    {".docx", Content::archive, parse_docx},
}};

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

struct Signature {
  std::size_t offset;     ///< behind white space and a byte order mark
  std::string_view begin; ///< lower-cased
  std::string_view name;
  Content content;
};

constexpr std::array<Signature, 13> signatures = {{
    {0, "%pdf-", "a PDF", Content::other},
    {0, "pk\x03\x04", "a ZIP archive (EPUB, docx or ODT)", Content::archive},
    {0, "{\\rtf", "an RTF document", Content::other},
    {0, "<!doctype html", "an HTML page", Content::markup},
    {0, "<html", "an HTML page", Content::markup},
    {0, "<?xml", "an XML document", Content::markup},
    {0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Office document", Content::other},
    {60, "bookmobi", "a Kindle book (MOBI)", Content::other},
    {0, "\x1f\x8b", "a gzip archive", Content::other},
    {0, "7z\xbc\xaf\x27\x1c", "a 7z archive", Content::other},
    {0, "rar!\x1a\x07", "a RAR archive", Content::other},
    {0, "\xff\xd8\xff", "a JPEG picture", Content::other},
    {0, "\x89png", "a PNG picture", Content::other},
}};

std::string_view without_margin(std::string_view bytes) {
  bytes.remove_prefix(bytes.starts_with("\xef\xbb\xbf") ? 3 : 0);
  return bytes.substr(std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size()));
}

/// What @p bytes are, if they begin like a known format; null for anything else, plain text included.
const Signature* find_signature(std::string_view bytes) {
  const std::string begin = lower_case(without_margin(bytes).substr(0, 80));
  const auto* const found = std::find_if(signatures.begin(), signatures.end(), [&](const Signature& signature) {
    return begin.size() > signature.offset && begin.substr(signature.offset).starts_with(signature.begin);
  });
  return found == signatures.end() ? nullptr : found;
}

std::string supported() {
  std::string list;
  for (const Format& format : formats) {
    list += (list.empty() ? "" : ", ") + std::string(format.extension);
  }
  return list;
}

const Format* find_format(const std::filesystem::path& name) {
  const std::string extension = lower_case(name.extension().string());
  const auto* const found =
      std::find_if(formats.begin(), formats.end(), [&](const Format& format) { return format.extension == extension; });
  return found == formats.end() ? nullptr : found;
}

/// @throws DocumentError if @p bytes are not what the name @p name promises.
void check_content(std::string_view bytes, const std::string& name, const Format& format) {
  const Signature* signature = find_signature(bytes);
  const Content content = signature == nullptr ? Content::text : signature->content;
  // A fragment of HTML may begin with anything, but somewhere in it there is a tag.
  const bool is_fragment = format.content == Content::markup && content == Content::text &&
                           (bytes.find('<') != std::string_view::npos || without_margin(bytes).empty());
  if (content == format.content || is_fragment) {
    return;
  }
  const std::string found = signature == nullptr ? "plain text or unknown" : std::string(signature->name);
  throw DocumentError(name + ": its content is " + found +
                      ", not what its name says; its extension should say what it " + "is, one of " + supported());
}

} // namespace

std::size_t max_file_bytes(const std::filesystem::path& name, const DocumentLimits& limits) {
  const Format* format = find_format(name);
  return format != nullptr && format->content == Content::archive ? limits.max_archive_bytes : limits.max_bytes;
}

Document parse_document(std::string_view bytes, const std::filesystem::path& name, const DocumentLimits& limits) {
  const Format* format = find_format(name);
  if (format == nullptr) {
    throw DocumentError(name.string() + ": documents of type \"" + name.extension().string() +
                        "\" are not supported; supported are " + supported());
  }
  check_content(bytes, name.string(), *format);
  return format->parse(bytes, name.string(), limits);
}

} // namespace audiobookd::jobs
