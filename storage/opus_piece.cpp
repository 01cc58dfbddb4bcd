// libsndfile writes a whole Ogg stream in memory, libogg takes its packets out.
#include "storage/opus_piece.h"

#include "storage/cpu_clock.h"
#include "storage/errors.h"
#include "storage/sndfile_writer.h"

#include <cstring>
#include <memory>
#include <ogg/ogg.h>
#include <sndfile.h>
#include <string>
#include <utility>

namespace audiobookd::storage {
namespace {

constexpr int sample_rate = 24'000;
constexpr std::size_t piece_samples = 720'000; // 30 s
constexpr std::size_t warm_up_samples = 24'000;
constexpr std::size_t header_packets = 2; // OpusHead and OpusTags

struct ClearSync {
  void operator()(ogg_sync_state* state) const noexcept { ogg_sync_destroy(state); }
};
struct ClearStream {
  void operator()(ogg_stream_state* state) const noexcept { ogg_stream_destroy(state); }
};

/// libsndfile's measure of size: 1 is 6 kbit/s, 0 is 256 kbit/s.
double compression_of(const OpusSettings& settings) { return 1 - (settings.bitrate_kbps - 6) / 250.0; }

std::vector<std::byte> encode(const OpusSettings& settings, std::span<const float> samples) {
  std::vector<std::byte> ogg;
  SndfileWriter writer(SF_FORMAT_OGG | SF_FORMAT_OPUS, sample_rate, compression_of(settings),
                       [&ogg](std::uint64_t, std::span<const std::byte> bytes) { // never looks back
                         ogg.insert(ogg.end(), bytes.begin(), bytes.end());
                       });
  writer.write(samples);
  writer.finish();
  return ogg;
}

/// All packets of the stream in @p ogg, its headers first.
std::vector<std::vector<std::byte>> unpack(std::span<const std::byte> ogg) {
  const auto sync = std::unique_ptr<ogg_sync_state, ClearSync>(new ogg_sync_state);
  ogg_sync_init(sync.get());
  char* buffer = ogg_sync_buffer(sync.get(), static_cast<long>(ogg.size()));
  std::memcpy(buffer, ogg.data(), ogg.size());
  ogg_sync_wrote(sync.get(), static_cast<long>(ogg.size()));
  std::unique_ptr<ogg_stream_state, ClearStream> stream;
  std::vector<std::vector<std::byte>> packets;
  for (ogg_page page; ogg_sync_pageout(sync.get(), &page) == 1;) {
    if (!stream) {
      stream.reset(new ogg_stream_state);
      ogg_stream_init(stream.get(), ogg_page_serialno(&page));
    }
    ogg_stream_pagein(stream.get(), &page);
    for (ogg_packet packet; ogg_stream_packetout(stream.get(), &packet) == 1;) {
      const auto* begin = reinterpret_cast<const std::byte*>(packet.packet);
      packets.emplace_back(begin, begin + packet.bytes);
    }
  }
  return packets;
}

/// Field "pre-skip" of the OpusHead packet (RFC 7845, 5.1).
int pre_skip_of(const std::vector<std::byte>& head) {
  constexpr std::size_t offset = 10;
  if (head.size() < offset + 2 || std::memcmp(head.data(), "OpusHead", 8) != 0) {
    throw TransientError("opus encoder: libsndfile gave no OpusHead");
  }
  return std::to_integer<int>(head[offset]) | std::to_integer<int>(head[offset + 1]) << 8;
}

} // namespace

PieceCut opus_cut() {
  return {
      .length = piece_samples, .before = warm_up_samples, .after = levels_context(sample_rate) + opus_packet_samples};
}

OpusPiece encode_opus_piece(const OpusSettings& settings, const LevelSettings& levels, PieceSamples source) {
  const double start = thread_cpu_seconds();
  adjust(source.samples, levels, sample_rate);
  const std::size_t count = source.is_last ? source.samples.size() - source.before : piece_samples;
  OpusPiece piece;
  piece.levels = Levels::of(source.samples, source.before, count, sample_rate);
  piece.packets = unpack(encode(settings, source.samples));
  const std::size_t wanted = header_packets + (source.before + count + opus_packet_samples - 1) / opus_packet_samples;
  if (piece.packets.size() < wanted) {
    throw TransientError("opus encoder: libsndfile gave " + std::to_string(piece.packets.size()) +
                         " packets instead of " + std::to_string(wanted));
  }
  piece.pre_skip = pre_skip_of(piece.packets.front());
  if (!source.is_last) {
    piece.packets.resize(wanted);
  }
  const std::size_t dropped = header_packets + source.before / opus_packet_samples;
  piece.packets.erase(piece.packets.begin(), piece.packets.begin() + static_cast<std::ptrdiff_t>(dropped));
  piece.seconds = thread_cpu_seconds() - start;
  return piece;
}

} // namespace audiobookd::storage
