// Tags of FLAC and Ogg files: Vorbis comments, rendered by TagLib. Stateless; any thread.
#pragma once

#include "storage/tags.h"

#include <cstddef>
#include <vector>

namespace audiobookd::storage {

/// The comments, without a framing bit. Chapters are fields CHAPTER001 (a time, always 12 characters long below 100
/// hours) and CHAPTER001NAME. The same input gives the same bytes, and chapter times do not change the length.
/// @param with_cover as field METADATA_BLOCK_PICTURE, as Ogg files have it.
[[nodiscard]] std::vector<std::byte> render_vorbis_comments(const Tags& tags, const std::vector<Chapter>& chapters,
                                                            bool with_cover);

/// A picture as FLAC's metadata block of type PICTURE holds it. @param cover its media type is "image/jpeg" or
/// "image/png"
[[nodiscard]] std::vector<std::byte> render_flac_picture(const CoverPicture& cover);

} // namespace audiobookd::storage
