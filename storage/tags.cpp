// TagLib renders the frames; the block's length is fixed here.
#include "storage/tags.h"

#include "storage/errors.h"
#include "storage/tag_text.h"

#include <algorithm>
#include <cstring>
#include <taglib/attachedpictureframe.h>
#include <taglib/chapterframe.h>
#include <taglib/commentsframe.h>
#include <taglib/id3v2.h>
#include <taglib/id3v2tag.h>
#include <taglib/tableofcontentsframe.h>
#include <taglib/textidentificationframe.h>

namespace audiobookd::storage {
namespace {

namespace id3 = TagLib::ID3v2;

constexpr std::size_t max_block_bytes = 1U << 28; // sizes in ID3v2 have 28 bits
constexpr std::uint32_t no_offset = 0xFFFFFFFF;

id3::Frame* text_frame(const char* id, const TagLib::String& text) {
  auto* frame = new id3::TextIdentificationFrame(TagLib::ByteVector(id, 4), TagLib::String::UTF8);
  frame->setText(text);
  return frame;
}

/// The tag owns every frame added to it.
void add_text(id3::Tag& tag, const char* id, const std::string& text) {
  const TagLib::String cleaned = clean_tag_text(text);
  if (!cleaned.isEmpty()) {
    tag.addFrame(text_frame(id, cleaned));
  }
}

void add_user_text(id3::Tag& tag, const std::string& description, const std::string& text) {
  if (text.empty()) {
    return;
  }
  auto* frame = new id3::UserTextIdentificationFrame(TagLib::String::UTF8);
  frame->setDescription(clean_tag_text(description));
  frame->setText(clean_tag_text(text));
  tag.addFrame(frame);
}

/// Without a description, for players show only such a comment.
void add_comment(id3::Tag& tag, const std::string& text) {
  if (text.empty()) {
    return;
  }
  auto* frame = new id3::CommentsFrame(TagLib::String::UTF8);
  frame->setLanguage("eng");
  frame->setText(clean_tag_text(text));
  tag.addFrame(frame);
}

void add_cover(id3::Tag& tag, const CoverPicture& cover) {
  auto* frame = new id3::AttachedPictureFrame;
  frame->setMimeType(cover.media_type);
  frame->setType(id3::AttachedPictureFrame::FrontCover);
  frame->setPicture(TagLib::ByteVector(cover.bytes.data(), static_cast<unsigned int>(cover.bytes.size())));
  tag.addFrame(frame);
}

void add_chapters(id3::Tag& tag, const std::vector<Chapter>& chapters) {
  if (chapters.empty()) {
    return;
  }
  TagLib::ByteVectorList children;
  for (std::size_t i = 0; i < chapters.size(); ++i) {
    const std::string id = "chp" + std::to_string(i);
    children.append(TagLib::ByteVector(id.c_str()));
    id3::FrameList title;
    title.append(text_frame("TIT2", clean_tag_text(chapters[i].title)));
    tag.addFrame(new id3::ChapterFrame(TagLib::ByteVector(id.c_str()), chapters[i].start_ms, chapters[i].end_ms,
                                       no_offset, no_offset, title));
  }
  auto* contents = new id3::TableOfContentsFrame(TagLib::ByteVector("toc"), children);
  contents->setIsTopLevel(true);
  contents->setIsOrdered(true);
  tag.addFrame(contents);
}

/// The size of a frame: 32 bits, or in ID3v2.4 28 bits in 4 bytes of 7.
std::size_t read_size(const std::byte* bytes, int version) {
  const int bits = version == 4 ? 7 : 8;
  std::size_t size = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    size = size << bits | std::to_integer<std::size_t>(bytes[i]);
  }
  return size;
}

/// The bytes of header and frames, without the zeros that TagLib pads with.
std::vector<std::byte> unpadded(const TagLib::ByteVector& rendered, int version) {
  constexpr std::size_t frame_header_bytes = 10;
  std::vector<std::byte> bytes(rendered.size());
  std::memcpy(bytes.data(), rendered.data(), bytes.size());
  std::size_t end = id3::Header::size();
  while (end + frame_header_bytes <= bytes.size() && bytes[end] != std::byte{0}) {
    end += frame_header_bytes + read_size(&bytes[end + 4], version);
  }
  bytes.resize(end);
  return bytes;
}

/// Writes the size of the whole @p block into its ID3v2 header.
void set_size(std::vector<std::byte>& block) {
  const std::size_t size = block.size() - id3::Header::size();
  for (std::size_t i = 0; i < 4; ++i) {
    block[6 + i] = static_cast<std::byte>(size >> (7 * (3 - i)) & 0x7F);
  }
}

} // namespace

std::string synthetic_narration(const std::string& model, const std::string& voice) {
  return "The narration is synthetic speech: model " + model + ", voice " + voice + ".";
}

std::vector<std::byte> render_id3v2(const Tags& tags, const std::vector<Chapter>& chapters, std::size_t block_bytes,
                                    int version) {
  id3::Tag tag;
  add_text(tag, "TIT2", tags.title);
  add_text(tag, "TPE1", tags.author);
  add_text(tag, "TALB", tags.album);
  add_text(tag, "TCOM", tags.narrator);
  add_text(tag, "TPE2", tags.album_artist);
  add_text(tag, "TRCK", tags.track);
  add_text(tag, "TCON", tags.genre);
  add_text(tag, "TPUB", tags.publisher);
  add_text(tag, "TDRC", tags.year);
  add_text(tag, "MVNM", tags.series);
  add_text(tag, "MVIN", tags.series_index);
  add_text(tag, "TLAN", language_code(tags.language));
  const bool both = !tags.comment.empty() && !tags.disclosure.empty();
  add_comment(tag, tags.comment + (both ? " / " : "") + tags.disclosure);
  add_user_text(tag, "DISCLOSURE", tags.disclosure);
  add_user_text(tag, "SERIES", tags.series);
  add_user_text(tag, "SERIES-PART", tags.series_index);
  add_user_text(tag, "DESCRIPTION", tags.description);
  for (const auto& [description, text] : tags.extra) {
    add_user_text(tag, description, text);
  }
  if (tags.cover) {
    add_cover(tag, *tags.cover);
  }
  add_chapters(tag, chapters);

  std::vector<std::byte> block = unpadded(tag.render(version == 4 ? id3::v4 : id3::v3), version);
  const std::size_t needed = block.size();
  const std::size_t wanted = block_bytes == 0 ? needed : block_bytes;
  if (needed > wanted || wanted >= max_block_bytes) {
    throw PermanentError("the tags need " + std::to_string(needed) + " bytes, there is room for " +
                         std::to_string(std::min(wanted, max_block_bytes)) + ": shorten title, comment or extra tags");
  }
  block.resize(wanted);
  set_size(block);
  return block;
}

} // namespace audiobookd::storage
