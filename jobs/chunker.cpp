// Cuts a document into chunks and says what follows each. Pure functions: any thread.
#include "jobs/chunker.h"

#include "jobs/paragraph_cutter.h"

#include <map>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace audiobookd::jobs {
namespace {

/// The parts of @p text that become chunks. @param comes_first nothing is heard before it.
std::vector<std::string_view> cut(std::string_view text, bool comes_first, const ChunkerOptions& options) {
  if (!comes_first || !options.first_sentence_alone) {
    return cut_paragraph(text, options);
  }
  const std::string_view beginning = first_sentence(text, options);
  std::vector<std::string_view> pieces = cut_paragraph(beginning, options);
  const std::vector<std::string_view> rest = cut_paragraph(text.substr(beginning.size()), options);
  pieces.insert(pieces.end(), rest.begin(), rest.end());
  return pieces;
}

/// @param paragraph its index in @p chapter. @param comes_first nothing is heard before it.
void append_paragraph(std::vector<Chunk>& chunks, const Chapter& chapter, std::size_t paragraph,
                      std::map<std::string_view, int>& occurrences, bool comes_first, const ChunkerOptions& options) {
  const ParagraphKind kind = chapter.paragraphs[paragraph].kind;
  for (const std::string_view piece : cut(chapter.paragraphs[paragraph].text, comes_first, options)) {
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

/// The chunks of @p chapter, without their Chunk::chapter. @param comes_first nothing is heard before it.
std::vector<Chunk> chunk_chapter(const Chapter& chapter, bool comes_first, const ChunkerOptions& options) {
  std::vector<Chunk> chunks;
  std::map<std::string_view, int> occurrences;
  for (std::size_t i = 0; i < chapter.paragraphs.size(); ++i) {
    if (chapter.paragraphs[i].kind != ParagraphKind::scene_break) {
      append_paragraph(chunks, chapter, i, occurrences, comes_first && chunks.empty(), options);
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
    for (Chunk& chunk : chunk_chapter(document.chapters[i], chunks.empty(), options)) {
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
