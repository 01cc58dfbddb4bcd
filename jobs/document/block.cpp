// See block.h.
#include "jobs/document/block.h"

#include "jobs/document/line_shapes.h"
#include "jobs/document/text_encoding.h"
#include "jobs/utf8.h"

#include <algorithm>
#include <iterator>
#include <unicode/uchar.h>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// Soft hyphens, zero-width and directional marks, byte order marks, what stands for a damaged character.
bool is_invisible(UChar32 c) {
  const bool joins_letters = c == 0x200c || c == 0x200d; // in Persian, in the scripts of India, in emoji
  return c == 0xfffd || u_charType(c) == U_UNASSIGNED || (u_charType(c) == U_FORMAT_CHAR && !joins_letters);
}

/// White space and controls between which nothing is heard. Controls of 0x80 and above are letters of Windows-1252 that
/// were not converted ("&#151;").
UChar32 visible(UChar32 c) {
  if (c >= 0x80 && c < 0xa0 && c != 0x85) {
    c = from_windows_1252(static_cast<std::uint8_t>(c));
  }
  return u_isUWhiteSpace(c) || u_charType(c) == U_CONTROL_CHAR ? ' ' : c;
}

} // namespace

void BlockWriter::add_text(std::string_view text) {
  for_each_code_point(text, [&](UChar32 code_point, std::size_t, std::size_t) {
    if (is_invisible(code_point) && code_point > 0xa0) {
      return;
    }
    const UChar32 c = visible(code_point);
    if (c == ' ') {
      space_due_ = true;
      return;
    }
    if (std::exchange(space_due_, false) && !text_.empty()) {
      text_ += ' ';
    }
    append_code_point(text_, c);
  });
}

void BlockWriter::add_separator() {
  if (!text_.empty()) {
    text_ += u_ispunct(last_code_point(text_)) ? "" : ",";
    space_due_ = true;
  }
}

void BlockWriter::end_block(int level) {
  space_due_ = false;
  if (text_.empty()) {
    return;
  }
  if (is_scene_break(text_)) {
    text_.clear();
    blocks_.push_back({{"* * *", ParagraphKind::scene_break}, 0});
    return;
  }
  const ParagraphKind kind = level > 0 ? ParagraphKind::heading : ParagraphKind::body;
  blocks_.push_back({{std::exchange(text_, {}), kind}, level});
}

void BlockWriter::add_scene_break(int level) {
  end_block(level);
  blocks_.push_back({{"* * *", ParagraphKind::scene_break}, 0});
}

void BlockWriter::add(std::vector<Block> blocks) {
  end_block();
  std::move(blocks.begin(), blocks.end(), std::back_inserter(blocks_));
}

std::string clean_text(std::string_view text) {
  BlockWriter writer;
  writer.add_text(text);
  return writer.text();
}

} // namespace audiobookd::jobs
