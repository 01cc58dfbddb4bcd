// Cuts a document into chunks and says what follows each. Pure functions: any thread.
#include "jobs/chunker.h"

#include "jobs/paragraph_cutter.h"

#include <map>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// @param paragraph its index in @p chapter.
void append_paragraph(std::vector<Chunk>& chunks, const Chapter& chapter, std::size_t paragraph,
                      std::map<std::string_view, int>& occurrences, const ChunkerOptions& options) {
  const auto& [text, kind] = chapter.paragraphs[paragraph];
  for (const std::string_view piece : cut_paragraph(text, options)) {
    Chunk& chunk = chunks.emplace_back();
    chunk.text = piece;
    chunk.paragraph = paragraph;
    chunk.follows = Follows::sentence;
    chunk.is_heading = kind == ParagraphKind::heading;
    chunk.predicted_tokens = options.predict_tokens(piece);
    chunk.occurrence = occurrences[piece]++;
  }
  if (!chunks.empty()) {
    chunks.back().follows = Follows::paragraph;
  }
}

/// The chunks of @p chapter, without their Chunk::chapter.
std::vector<Chunk> chunk_chapter(const Chapter& chapter, const ChunkerOptions& options) {
  std::vector<Chunk> chunks;
  std::map<std::string_view, int> occurrences;
  for (std::size_t i = 0; i < chapter.paragraphs.size(); ++i) {
    if (chapter.paragraphs[i].kind != ParagraphKind::scene_break) {
      append_paragraph(chunks, chapter, i, occurrences, options);
    } else if (!chunks.empty()) {
      chunks.back().follows = Follows::scene;
    }
  }
  if (!chunks.empty()) {
    chunks.back().follows = Follows::chapter;
  }
  return chunks;
}

} // namespace

double Pauses::before(Follows what) const noexcept {
  switch (what) {
  case Follows::sentence: return sentence_s;
  case Follows::paragraph: return paragraph_s;
  case Follows::scene: return scene_s;
  case Follows::chapter: return chapter_s;
  case Follows::end: break;
  }
  return 0.0;
}

std::vector<Chunk> chunk_document(const Document& document, const ChunkerOptions& options) {
  if (!options.predict_tokens) {
    throw std::invalid_argument("ChunkerOptions::predict_tokens is missing");
  }
  std::vector<Chunk> chunks;
  for (std::size_t i = 0; i < document.chapters.size(); ++i) {
    for (Chunk& chunk : chunk_chapter(document.chapters[i], options)) {
      chunk.chapter = i;
      chunks.push_back(std::move(chunk));
    }
  }
  if (!chunks.empty()) {
    chunks.back().follows = Follows::end;
  }
  return chunks;
}

} // namespace audiobookd::jobs
