// See html_tree.h.
#include "jobs/document/html_tree.h"

#include "jobs/document/block.h"
#include "jobs/document/text_encoding.h"

#include <algorithm>
#include <libxml/HTMLparser.h>
#include <libxml/parser.h>
#include <unicode/ucnv.h>
#include <unicode/unistr.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

constexpr std::size_t declaration_bytes = 1024; // where HTML5 looks for the encoding

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

/// What stands behind @p key and an equals sign in @p text, quoted or not.
std::string value_behind(std::string_view text, std::string_view key) {
  std::size_t at = text.find(key);
  if (at == std::string_view::npos) {
    return "";
  }
  at = text.find_first_not_of(" \t\r\n", at + key.size());
  if (at == std::string_view::npos || text[at] != '=') {
    return "";
  }
  at = std::min(text.find_first_not_of(" \t\r\n\"'", at + 1), text.size());
  return std::string(text.substr(at, text.find_first_of(" \t\r\n\"'/>;?", at) - at));
}

/// The encoding that the beginning of @p bytes declares; empty if none.
std::string declared_encoding(std::string_view bytes) {
  const std::string begin = lower_case(bytes.substr(0, declaration_bytes));
  if (begin.starts_with("<?xml")) {
    std::string encoding = value_behind(std::string_view(begin).substr(0, begin.find("?>")), "encoding");
    if (!encoding.empty()) {
      return encoding;
    }
  }
  const std::size_t meta = begin.find("<meta");
  return meta == std::string::npos ? "" : value_behind(std::string_view(begin).substr(meta), "charset");
}

bool is_utf16(std::string_view bytes) { return bytes.starts_with("\xff\xfe") || bytes.starts_with("\xfe\xff"); }

/// As the converters of ICU call @p encoding: browsers take Latin-1 and ASCII for Windows-1252.
std::string converter_name(const std::string& encoding) {
  const bool is_windows_1252 = encoding == "iso-8859-1" || encoding == "latin1" || encoding == "us-ascii";
  return is_windows_1252 ? "windows-1252" : encoding;
}

bool is_known(const std::string& encoding) {
  UErrorCode status = U_ZERO_ERROR;
  UConverter* converter = ucnv_open(encoding.c_str(), &status);
  ucnv_close(converter);
  return U_SUCCESS(status);
}

std::string convert(std::string_view bytes, const std::string& encoding) {
  std::string utf8;
  icu::UnicodeString(bytes.data(), static_cast<std::int32_t>(bytes.size()), encoding.c_str()).toUTF8String(utf8);
  return utf8;
}

std::string without_controls(std::string_view bytes, const std::string& name) {
  std::string text(bytes);
  if (const std::size_t nul = text.find('\0'); nul != std::string::npos) {
    throw DocumentError(name + ": not a text file: control character U+0000 at byte offset " + std::to_string(nul));
  }
  std::ranges::replace_if(
      text, [](char c) { return (c >= 1 && c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7f; }, ' ');
  return text;
}

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// How many spaces and slashes stand outside of quotation marks in the tag that begins behind @p at, a '<'; counts no
/// further than @p most + 1.
std::size_t count_words_of_tag(std::string_view text, std::size_t at, std::size_t most) {
  std::size_t words = 0;
  char quote = 0;
  for (std::size_t i = at + 1; i < text.size() && words <= most; ++i) {
    const char c = text[i];
    if (quote != 0) {
      quote = c == quote ? '\0' : quote;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '<' || c == '>') {
      break;
    } else {
      words += c == ' ' || c == '\n' || c == '\t' || c == '/' ? 1 : 0;
    }
  }
  return words;
}

/// libxml2 takes time that grows with the square of how many attributes one element has.
void refuse_crowded_tags(std::string_view text, const std::string& name) {
  constexpr std::size_t most_words = 1000;
  for (std::size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1)) {
    const bool is_tag = at + 1 < text.size() && is_letter(text[at + 1]);
    if (is_tag && count_words_of_tag(text, at, most_words) > most_words) {
      throw DocumentError(name + ": more than " + std::to_string(most_words) +
                          " attributes in the tag at byte offset " + std::to_string(at));
    }
  }
}

} // namespace

std::string decode_markup(std::string_view bytes, const std::string& name, std::vector<std::string>& warnings) {
  if (is_utf16(bytes)) {
    return decode_text(bytes, name).text;
  }
  const std::string text = without_controls(bytes, name);
  const std::string declared = converter_name(declared_encoding(bytes));
  const bool is_utf8 =
      declared.empty() || declared == "utf-8" || declared == "utf8" || bytes.starts_with("\xef\xbb\xbf");
  if (!is_utf8 && is_known(declared) && !declared.starts_with("utf-16")) {
    return convert(text, declared);
  }
  try {
    DecodedText decoded = decode_text(text, name);
    if (!decoded.warning.empty()) {
      warnings.push_back(std::move(decoded.warning));
    }
    return std::move(decoded.text);
  } catch (const DocumentError& error) {
    warnings.push_back(std::string(error.what()) + "; what is damaged was left out");
    return convert(text, "utf-8");
  }
}

void refuse_entity_declarations(std::string_view markup, const std::string& name) {
  if (markup.find("<!ENTITY") != std::string_view::npos) {
    throw DocumentError(name + ": declares XML entities of its own (<!ENTITY), which are not read");
  }
}

HtmlTree::HtmlTree(const std::string& utf8, const std::string& name, const DocumentLimits& limits) {
  if (utf8.size() > limits.max_bytes) {
    throw DocumentError(name + ": " + std::to_string(utf8.size()) + " bytes, more than the limit of " +
                        std::to_string(limits.max_bytes));
  }
  refuse_entity_declarations(utf8, name);
  refuse_crowded_tags(utf8, name);
  static const bool is_initialised = [] {
    xmlInitParser();
    return true;
  }();
  (void)is_initialised;
  const std::unique_ptr<htmlParserCtxt, void (*)(htmlParserCtxt*)> context(htmlNewParserCtxt(), htmlFreeParserCtxt);
  constexpr int options = HTML_PARSE_RECOVER | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_NONET |
                          HTML_PARSE_COMPACT | HTML_PARSE_IGNORE_ENC | HTML_PARSE_NODEFDTD;
  document_.reset(
      htmlCtxtReadMemory(context.get(), utf8.data(), static_cast<int>(utf8.size()), nullptr, "UTF-8", options));
  if (context == nullptr || document_ == nullptr) {
    throw DocumentError(name + ": cannot be read as HTML");
  }
  if (context->disableSAX != 0) { // libxml2 gave up: its own limits are a depth of 256 and 10 MB for one piece of text
    throw DocumentError(name + ": cannot be read as HTML: nested deeper than " + std::to_string(limits.max_depth) +
                        " elements, or a piece of text above 10 MB");
  }
}

const xmlNode* HtmlTree::root() const noexcept { return xmlDocGetRootElement(document_.get()); }

std::string_view element_name(const xmlNode& node) noexcept {
  return node.type == XML_ELEMENT_NODE ? reinterpret_cast<const char*>(node.name) : std::string_view();
}

std::string_view attribute(const xmlNode& element, const char* name) noexcept {
  for (const xmlAttr* a = element.type == XML_ELEMENT_NODE ? element.properties : nullptr; a != nullptr; a = a->next) {
    if (std::string_view(reinterpret_cast<const char*>(a->name)) == name && a->children != nullptr &&
        a->children->content != nullptr) {
      return reinterpret_cast<const char*>(a->children->content);
    }
  }
  return {};
}

std::string text_of(const xmlNode& node) {
  const std::unique_ptr<xmlChar, void (*)(void*)> content(xmlNodeGetContent(&node), [](void* p) { xmlFree(p); });
  return content == nullptr ? "" : clean_text(reinterpret_cast<const char*>(content.get()));
}

} // namespace audiobookd::jobs
