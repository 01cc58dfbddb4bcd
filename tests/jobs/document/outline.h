// What a document contains in a form that is easy to compare.
//
// Pure functions: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string>
#include <string_view>

namespace audiobookd::jobs::testing {

/// The paragraphs, one a line; headings begin with "# ", scene breaks are "~". Chapters begin with "[title]".
inline std::string outline(const Document& document) {
  std::string result;
  for (const Chapter& chapter : document.chapters) {
    result += "[" + chapter.title + "]\n";
    for (const Paragraph& paragraph : chapter.paragraphs) {
      switch (paragraph.kind) {
      case ParagraphKind::body: result += paragraph.text + "\n"; break;
      case ParagraphKind::heading: result += "# " + paragraph.text + "\n"; break;
      case ParagraphKind::scene_break: result += "~\n"; break;
      }
    }
  }
  return result;
}

/// What parse_document() says when it refuses; empty if it does not.
inline std::string refusal(std::string_view bytes, const std::string& name, const DocumentLimits& limits = {}) {
  try {
    parse_document(bytes, name, limits);
  } catch (const DocumentError& error) {
    return error.what();
  }
  return "";
}

} // namespace audiobookd::jobs::testing
