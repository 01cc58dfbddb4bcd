// What every format with markup is read into before there are chapters: blocks in reading order, and the writer that
// makes them of pieces of text.
//
// A BlockWriter is used by one thread; the rest are plain values and pure functions.
#pragma once

#include "jobs/document/document.h"

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace audiobookd::jobs {

/// A paragraph on its way into a chapter.
struct Block {
  Paragraph paragraph;
  int level = 0; ///< of a heading, 1 (the highest) to 6; else 0
};

/// @p text with runs of white space as one space and none at the edges, without soft hyphens, invisible and control
/// characters; damaged UTF-8 is dropped.
[[nodiscard]] std::string clean_text(std::string_view text);

/// Puts blocks together. Text is cleaned as by clean_text(), also where it comes in pieces.
class BlockWriter {
public:
  void add_text(std::string_view text);
  void add_space() { space_due_ = true; }
  /// Sets what comes apart from what is there, if anything is: by a comma, but for a mark that stands there already.
  void add_separator();
  /// Ends the block that is being written, if there is something in it. What has only marks like "* * *" in it becomes
  /// a scene break. @param level of a heading, 1 to 6; 0: body.
  void end_block(int level = 0);
  /// Ends the block with @p level and adds a scene break.
  void add_scene_break(int level = 0);
  void add(std::vector<Block> blocks);
  /// Names the block that is being written, or the next one if there is nothing in it yet. The first use of a name
  /// counts.
  void mark(const std::string& anchor) { anchors_.try_emplace(anchor, blocks_.size()); }

  [[nodiscard]] bool has_text() const noexcept { return !text_.empty(); }
  /// Of the block that is being written.
  [[nodiscard]] const std::string& text() const noexcept { return text_; }
  [[nodiscard]] std::vector<Block>& blocks() noexcept { return blocks_; }
  /// Anchor → index into blocks(), which may be one behind the end.
  [[nodiscard]] std::unordered_map<std::string, std::size_t>& anchors() noexcept { return anchors_; }

private:
  std::string text_;
  bool space_due_ = false;
  std::vector<Block> blocks_;
  std::unordered_map<std::string, std::size_t> anchors_;
};

} // namespace audiobookd::jobs
