// See html_rules.h.
#include "jobs/document/html_rules.h"

#include "jobs/document/html_tree.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <string>
#include <unicode/uchar.h>
#include <unordered_map>
#include <unordered_set>

namespace audiobookd::jobs {
namespace {

using Names = std::unordered_set<std::string_view>;

const std::unordered_map<std::string_view, HtmlRole>& roles_by_name() {
  static const std::unordered_map<std::string_view, HtmlRole> roles = [] {
    std::unordered_map<std::string_view, HtmlRole> result;
    for (const char* name :
         {"html",  "body", "address", "article",  "blockquote", "caption", "center",  "dd",     "details",  "dir",
          "div",   "dl",   "dt",      "figure",   "figcaption", "footer",  "header",  "hgroup", "legend",   "li",
          "main",  "menu", "ol",      "p",        "pre",        "section", "summary", "table",  "tbody",    "tfoot",
          "thead", "tr",   "ul",      "fieldset", "form",       "search",  "listing", "xmp",    "plaintext"}) {
      result[name] = HtmlRole::block;
    }
    for (const char* name : {"h1", "h2", "h3", "h4", "h5", "h6"}) {
      result[name] = HtmlRole::heading;
    }
    for (const char* name : {"head",   "script",   "style", "template", "nav",    "aside",    "noscript", "iframe",
                             "object", "embed",    "audio", "video",    "canvas", "svg",      "button",   "select",
                             "input",  "textarea", "rt",    "rp",       "map",    "noframes", "datalist", "title",
                             "dialog", "applet",   "meter", "progress", "del",    "option",   "label"}) {
      result[name] = HtmlRole::left_out;
    }
    result["td"] = result["th"] = HtmlRole::cell;
    result["q"] = HtmlRole::quotation;
    result["img"] = HtmlRole::image;
    result["br"] = HtmlRole::line_break;
    result["hr"] = HtmlRole::thematic_break;
    return result;
  }();
  return roles;
}

/// Values of `epub:type` of what is not read wherever it stands.
const Names unread_parts = {
    "cover",      "toc",       "toc-brief", "landmarks",      "loi",        "lot",      "loa",
    "lov",        "page-list", "index",     "copyright-page", "colophon",   "imprint",  "halftitlepage",
    "imprimatur", "footnote",  "footnotes", "endnote",        "endnotes",   "rearnote", "rearnotes",
    "noteref",    "backlink",  "pagebreak", "annoref",        "annotation", "note"};

const Names unread_roles = {"doc-footnote",  "doc-endnote",  "doc-endnotes", "doc-noteref", "doc-backlink",
                            "doc-pagebreak", "doc-pagelist", "doc-toc",      "doc-index",   "doc-cover",
                            "doc-colophon",  "navigation",   "banner",       "search",      "complementary",
                            "contentinfo",   "dialog",       "menu",         "menubar",     "toolbar"};

const Names unread_classes = {"footnote",      "footnotes",        "endnote",  "endnotes", "footnote-ref",
                              "footnote-back", "fnanchor",         "noteref",  "pagenum",  "pageno",
                              "page-number",   "pagebreak-number", "pgheader", "pgfooter", "pg-boilerplate",
                              "sr-only",       "visually-hidden",  "toc"};

const Names unread_ids = {"pg-header", "pg-footer", "pg-machine-header"};

/// Of headings on title pages that are none of a chapter.
const Names byline_classes = {"author", "date", "subtitle", "byline"};

const Names code_classes = {"code", "sourceCode", "programlisting", "highlight", "prettyprint", "listing", "screen"};

bool has_any_word(std::string_view words, const Names& names) {
  while (!words.empty()) {
    const std::size_t begin = std::min(words.find_first_not_of(" \t\r\n"), words.size());
    words.remove_prefix(begin);
    const std::string_view word = words.substr(0, words.find_first_of(" \t\r\n"));
    if (names.contains(word)) {
      return true;
    }
    words.remove_prefix(word.size());
  }
  return false;
}

bool has_attribute(const xmlNode& element, const char* name) {
  return xmlHasProp(&element, reinterpret_cast<const xmlChar*>(name)) != nullptr;
}

bool is_hidden(const xmlNode& element) {
  std::string style(attribute(element, "style"));
  std::erase_if(style, [](char c) { return c == ' ' || c == '\t' || c == '\n'; });
  return has_attribute(element, "hidden") || attribute(element, "aria-hidden") == "true" ||
         style.find("display:none") != std::string::npos || style.find("visibility:hidden") != std::string::npos;
}

bool is_child_of(const xmlNode& element, std::string_view parent) {
  return element.parent != nullptr && element_name(*element.parent) == parent;
}

bool is_code(const xmlNode& pre) {
  const auto* first = xmlFirstElementChild(const_cast<xmlNode*>(&pre)); // libxml2 changes nothing
  return has_any_word(attribute(pre, "class"), code_classes) || (first != nullptr && element_name(*first) == "code");
}

bool is_left_out(const xmlNode& element) {
  const bool is_document = element_name(element) == "html" || element_name(element) == "body";
  return is_hidden(element) || is_unread_part(attribute(element, "epub:type")) ||
         has_any_word(attribute(element, "role"), unread_roles) ||
         (!is_document && has_any_word(attribute(element, "class"), unread_classes)) ||
         unread_ids.contains(attribute(element, "id"));
}

/// Numbers, letters of their own and the marks that printers use, perhaps in brackets: "[12]", "*", "iv", "b".
bool is_note_mark(std::string_view text) {
  if (text.empty() || count_characters(text) > 6) {
    return false;
  }
  bool is_mark = true;
  std::size_t letters = 0;
  for_each_code_point(text, [&](UChar32 c, std::size_t, std::size_t) {
    letters += u_isalpha(c) ? 1 : 0;
    is_mark = is_mark && (u_isalnum(c) || std::u32string_view(U"[](){}*†‡§¶#. ").find(static_cast<char32_t>(c)) !=
                                              std::u32string_view::npos);
  });
  return is_mark && letters <= 4;
}

bool is_raised(const xmlNode& link) {
  const auto* first = xmlFirstElementChild(const_cast<xmlNode*>(&link)); // libxml2 changes nothing
  return is_child_of(link, "sup") || (first != nullptr && element_name(*first) == "sup");
}

} // namespace

bool has_word(std::string_view words, std::string_view word) { return has_any_word(words, {word}); }

bool is_unread_part(std::string_view semantics) { return has_any_word(semantics, unread_parts); }

int heading_level(std::string_view name) {
  return name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6' ? name[1] - '0' : 0;
}

bool is_note_link(const xmlNode& element) {
  if (has_word(attribute(element, "epub:type"), "noteref") || has_word(attribute(element, "role"), "doc-noteref") ||
      has_any_word(attribute(element, "class"), {"noteref", "footnote-ref", "fnanchor"})) {
    return true;
  }
  if (attribute(element, "href").find('#') == std::string_view::npos) {
    return false;
  }
  const std::string text = text_of(element);
  return is_note_mark(text) && (is_raised(element) || text.front() == '[');
}

HtmlRole role_of(const xmlNode& element) {
  const std::string_view name = element_name(element);
  if (is_left_out(element) || (name == "a" && is_note_link(element))) {
    return HtmlRole::left_out;
  }
  if (name == "footer" && is_child_of(element, "body")) { // that of the site, not of an article or a letter
    return HtmlRole::left_out;
  }
  if (name == "pre" && is_code(element)) {
    return HtmlRole::code;
  }
  if (heading_level(name) > 0 && has_any_word(attribute(element, "class"), byline_classes)) {
    return HtmlRole::block;
  }
  const auto found = roles_by_name().find(name);
  return found == roles_by_name().end() ? HtmlRole::inline_text : found->second;
}

} // namespace audiobookd::jobs
