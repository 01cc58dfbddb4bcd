#include "storage/vorbis_comments.h"

#include "storage/tag_text.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <taglib/flacpicture.h>
#include <taglib/xiphcomment.h>

namespace audiobookd::storage {
namespace {

std::vector<std::byte> bytes_of(const TagLib::ByteVector& rendered) {
  std::vector<std::byte> bytes(rendered.size());
  std::memcpy(bytes.data(), rendered.data(), bytes.size());
  return bytes;
}

void add(TagLib::Ogg::XiphComment& comment, const std::string& field, const std::string& text) {
  const TagLib::String cleaned = clean_tag_text(text);
  if (!cleaned.isEmpty()) {
    comment.addField(TagLib::String(field), cleaned);
  }
}

/// "01:02:03.456"
std::string time_of_day(std::uint32_t ms) {
  char text[24];
  std::snprintf(text, sizeof text, "%02u:%02u:%02u.%03u", ms / 3'600'000, ms / 60'000 % 60, ms / 1000 % 60, ms % 1000);
  return text;
}

void add_chapters(TagLib::Ogg::XiphComment& comment, const std::vector<Chapter>& chapters) {
  for (std::size_t i = 0; i < chapters.size(); ++i) {
    char field[32];
    std::snprintf(field, sizeof field, "CHAPTER%03zu", i + 1);
    add(comment, field, time_of_day(chapters[i].start_ms));
    add(comment, std::string(field) + "NAME", chapters[i].title);
  }
}

void fill(TagLib::FLAC::Picture& picture, const CoverPicture& cover) {
  picture.setType(TagLib::FLAC::Picture::FrontCover);
  picture.setMimeType(cover.media_type);
  picture.setData(TagLib::ByteVector(cover.bytes.data(), static_cast<unsigned int>(cover.bytes.size())));
}

/// @param track "2/12"
void add_track(TagLib::Ogg::XiphComment& comment, const std::string& track) {
  const std::size_t slash = std::min(track.find('/'), track.size());
  add(comment, "TRACKNUMBER", track.substr(0, slash));
  add(comment, "TRACKTOTAL", track.substr(std::min(slash + 1, track.size())));
}

} // namespace

std::vector<std::byte> render_vorbis_comments(const Tags& tags, const std::vector<Chapter>& chapters, bool with_cover) {
  TagLib::Ogg::XiphComment comment;
  add(comment, "TITLE", tags.title);
  add(comment, "ARTIST", tags.author);
  add(comment, "ALBUM", tags.album);
  add(comment, "ALBUMARTIST", tags.album_artist);
  add_track(comment, tags.track);
  add(comment, "COMPOSER", tags.narrator);
  add(comment, "GENRE", tags.genre);
  add(comment, "SERIES", tags.series);
  add(comment, "SERIES-PART", tags.series_index);
  add(comment, "PUBLISHER", tags.publisher);
  add(comment, "DATE", tags.year);
  add(comment, "DESCRIPTION", tags.description);
  add(comment, "LANGUAGE", language_code(tags.language));
  add(comment, "COMMENT", tags.comment);
  add(comment, "DISCLOSURE", tags.disclosure);
  for (const auto& [field, text] : tags.extra) {
    add(comment, field, text);
  }
  add_chapters(comment, chapters);
  if (with_cover && tags.cover) {
    auto picture = std::make_unique<TagLib::FLAC::Picture>();
    fill(*picture, *tags.cover);
    comment.addPicture(picture.release()); // which owns it
  }
  return bytes_of(comment.render(false));
}

std::vector<std::byte> render_flac_picture(const CoverPicture& cover) {
  TagLib::FLAC::Picture picture;
  fill(picture, cover);
  return bytes_of(picture.render());
}

} // namespace audiobookd::storage
