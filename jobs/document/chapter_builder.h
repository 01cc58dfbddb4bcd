// Distributes blocks over chapters: by their headings, or at places that the document names itself.
//
// Pure functions: any thread.
#pragma once

#include "jobs/document/block.h"
#include "jobs/document/document.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::jobs {

/// Where a chapter begins.
struct ChapterStart {
  std::size_t block = 0;
  std::string title;
};

/// Adds @p blocks to @p document as chapters that begin at headings.
///
/// - Chapters begin at headings of the highest level that there is, and of the next ones below it as long as the levels
///   above are mere divisions: a single heading in front of everything, which is the title of the document if it has
///   none yet (so is a heading in front that says that title), or headings that are all followed by a lower one at once
///   ("Part One", "Chapter 1").
/// - Where nothing is marked as a heading, paragraphs with the shape of a numbered one ("Chapter IX") are.
/// - Headings in a row belong to one chapter, and its title is theirs, joined by ": "; the title of the document is no
///   part of it. So is a lower heading behind a bare number ("Chapter 1", "The Storm").
void add_chapters_by_headings(Document& document, std::vector<Block> blocks);

/// Adds @p blocks to @p document as chapters that begin at @p starts, which are in order. What comes before the first
/// one is a chapter without title. Starts at the same block, and those with nothing but headings until the next one,
/// are one chapter, its title joined by ": ". Short paragraphs in the beginning of a chapter that repeat its title
/// become headings.
void add_chapters_at(Document& document, std::vector<Block> blocks, std::span<const ChapterStart> starts);

/// Drops scene breaks at the edges of chapters and next to headings or each other, and chapters with nothing left.
/// @throws DocumentError if there is nothing to read aloud. @param name the document, @param bytes its size, both for
/// the message.
void finish_chapters(Document& document, std::string_view name, std::size_t bytes);

/// The warning for blocks of source code that were left out. @p count is not 0.
[[nodiscard]] std::string code_warning(std::string_view name, std::size_t count);

} // namespace audiobookd::jobs
