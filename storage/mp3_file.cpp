// The tag block is reserved first, and filled when the chapter times are known.
#include "storage/mp3_file.h"

namespace audiobookd::storage {
namespace {

/// Makes the meter, if one is wanted.
Mp3Meter* begin(std::optional<Mp3Meter>& meter, const Mp3Settings& settings, const AudioFileParts& parts) {
  return parts.measures_decoded ? &meter.emplace(settings.sample_rate, parts.pool) : nullptr;
}

/// Appends @p bytes zeros and returns where they begin.
std::uint64_t reserve(ByteSink& sink, std::size_t bytes) {
  const std::uint64_t offset = sink.size();
  sink.append(std::vector<std::byte>(bytes));
  return offset;
}

} // namespace

Mp3File::Mp3File(const Mp3Settings& settings, const AudioFileParts& parts)
    : sink_(parts.sink), id3v2_version_(settings.id3v2_version),
      tag_bytes_(render_id3v2(parts.tags, parts.chapters, 0, id3v2_version_).size() + spare_tag_bytes),
      tag_offset_(reserve(sink_, tag_bytes_)),
      encoder_(settings, parts.levels, sink_, parts.pool, begin(meter_, settings, parts)) {}

void Mp3File::finish(const Tags& tags, const std::vector<Chapter>& chapters) {
  encoder_.finish();
  sink_.overwrite(tag_offset_, render_id3v2(tags, chapters, tag_bytes_, id3v2_version_));
}

} // namespace audiobookd::storage
