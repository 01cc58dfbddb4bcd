// The header of RFC 9639: its blocks are put together here, room for the tags is reserved.
#include "storage/flac_file.h"

#include "storage/cpu_clock.h"
#include "storage/errors.h"
#include "storage/resampler.h"
#include "storage/vorbis_comments.h"

#include <algorithm>
#include <array>
#include <sndfile.h>
#include <string>
#include <utility>

namespace audiobookd::storage {
namespace {

constexpr std::size_t piece_samples = 720'000;  // 30 s: whole samples at every sample rate
constexpr std::size_t warm_up_samples = 24'000; // of limiter, loudness and resampler; whole samples as well
constexpr std::size_t resampler_context = 4800;
constexpr std::size_t mark_bytes = 4; // "fLaC"
constexpr std::size_t block_header_bytes = 4;
constexpr std::array<std::byte, 34> no_stream_info = {};
constexpr std::size_t max_block_bytes = (1U << 24) - 1;

enum class Block : unsigned char { stream_info = 0, padding = 1, vorbis_comment = 4, picture = 6 };
constexpr auto last_block = std::byte{0x80};

void append_block(std::vector<std::byte>& header, Block type, std::span<const std::byte> content) {
  if (content.size() > max_block_bytes) {
    throw PermanentError("the tags need a block of " + std::to_string(content.size()) +
                         " bytes, FLAC has room for 16 MiB: a smaller cover helps");
  }
  header.push_back(static_cast<std::byte>(type));
  for (const int shift : {16, 8, 0}) {
    header.push_back(static_cast<std::byte>(content.size() >> shift & 0xFF));
  }
  header.insert(header.end(), content.begin(), content.end());
}

/// Without padding.
std::vector<std::byte> render_header(std::span<const std::byte> stream_info, const Tags& tags,
                                     const std::vector<Chapter>& chapters) {
  std::vector<std::byte> header;
  for (const char c : {'f', 'L', 'a', 'C'}) {
    header.push_back(static_cast<std::byte>(c));
  }
  append_block(header, Block::stream_info, stream_info);
  append_block(header, Block::vorbis_comment, render_vorbis_comments(tags, chapters, false));
  if (tags.cover) {
    append_block(header, Block::picture, render_flac_picture(*tags.cover));
  }
  return header;
}

/// Where the metadata blocks that @p bytes begin with end; 0 when they are not all there yet.
std::size_t end_of_blocks(std::span<const std::byte> bytes) {
  for (std::size_t begin = mark_bytes; begin + block_header_bytes <= bytes.size();) {
    const bool is_last = (bytes[begin] & last_block) != std::byte{0};
    std::size_t size = 0;
    for (std::size_t i = 1; i < block_header_bytes; ++i) {
      size = size << 8 | std::to_integer<std::size_t>(bytes[begin + i]);
    }
    begin += block_header_bytes + size;
    if (is_last) {
      return begin <= bytes.size() ? begin : 0;
    }
  }
  return 0;
}

PieceCut cut_of(const FlacSettings& settings) {
  return {.length = piece_samples,
          .before = warm_up_samples,
          .after = levels_context(settings.source_rate) + resampler_context};
}

FlacPiece make_piece(const FlacSettings& settings, const LevelSettings& levels, PieceSamples source) {
  const double start = thread_cpu_seconds();
  adjust(source.samples, levels, settings.source_rate);
  const std::size_t count = source.is_last ? source.samples.size() - source.before : piece_samples;
  FlacPiece piece;
  piece.levels = Levels::of(source.samples, source.before, count, settings.source_rate);
  piece.samples = resample(source.samples, settings.source_rate, settings.sample_rate);
  const auto to_file = [&](std::size_t samples) {
    return static_cast<std::ptrdiff_t>(samples * static_cast<std::size_t>(settings.sample_rate) /
                                       static_cast<std::size_t>(settings.source_rate));
  };
  if (!source.is_last) {
    piece.samples.resize(static_cast<std::size_t>(to_file(source.before + count)));
  }
  piece.samples.erase(piece.samples.begin(), piece.samples.begin() + to_file(source.before));
  piece.seconds = thread_cpu_seconds() - start;
  return piece;
}

} // namespace

FlacFile::FlacFile(const FlacSettings& settings, const AudioFileParts& parts)
    : sink_(parts.sink), start_(sink_.size()),
      header_bytes_(render_header(no_stream_info, parts.tags, parts.chapters).size() + block_header_bytes +
                    spare_tag_bytes),
      encoder_(SF_FORMAT_FLAC | SF_FORMAT_PCM_16, settings.sample_rate, settings.compression / 8.0,
               [this](std::uint64_t offset, std::span<const std::byte> bytes) { output(offset, bytes); }),
      stream_(
          cut_of(settings), parts.pool,
          [settings, levels = parts.levels](PieceSamples source) {
            return make_piece(settings, levels, std::move(source));
          },
          [this](const FlacPiece& piece) { encode(piece); }) {
  sink_.append(std::vector<std::byte>(header_bytes_));
}

/// libFLAC's metadata blocks are kept, its frames go to the sink. At the end it completes its STREAMINFO.
void FlacFile::output(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (!header_is_complete_) {
    take_header(bytes);
  } else if (offset + bytes.size() <= encoder_header_.size()) {
    std::ranges::copy(bytes, encoder_header_.begin() + static_cast<std::ptrdiff_t>(offset));
  } else {
    sink_.append(bytes);
  }
}

void FlacFile::take_header(std::span<const std::byte> bytes) {
  encoder_header_.insert(encoder_header_.end(), bytes.begin(), bytes.end());
  const std::size_t end = end_of_blocks(encoder_header_);
  if (end == 0) {
    return;
  }
  header_is_complete_ = true;
  sink_.append(std::span(encoder_header_).subspan(end));
  encoder_header_.resize(end);
}

void FlacFile::encode(const FlacPiece& piece) {
  const double start = thread_cpu_seconds();
  encoder_.write(piece.samples);
  levels_.add(piece.levels);
  cpu_seconds_ += piece.seconds + thread_cpu_seconds() - start;
}

void FlacFile::finish(const Tags& tags, const std::vector<Chapter>& chapters) {
  stream_.finish();
  if (!header_is_complete_) { // libFLAC makes nothing of no samples
    encoder_.write(std::vector<float>(1));
  }
  encoder_.finish();
  const auto stream_info = std::span(encoder_header_).subspan(mark_bytes + block_header_bytes, no_stream_info.size());
  std::vector<std::byte> header = render_header(stream_info, tags, chapters);
  if (header.size() + block_header_bytes > header_bytes_) {
    throw PermanentError("the tags need " + std::to_string(header.size() + block_header_bytes - header_bytes_) +
                         " bytes more than there is room for: shorten title, comment or extra tags");
  }
  const std::size_t padding = header.size();
  append_block(header, Block::padding, std::vector<std::byte>(header_bytes_ - padding - block_header_bytes));
  header[padding] |= last_block;
  sink_.overwrite(start_, header);
}

} // namespace audiobookd::storage
