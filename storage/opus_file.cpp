// The stream's first pages hold OpusHead and OpusTags, whose lengths are known before their content is.
#include "storage/opus_file.h"

#include "storage/errors.h"
#include "storage/vorbis_comments.h"

#include <algorithm>
#include <ogg/ogg.h>
#include <string>
#include <string_view>
#include <utility>

namespace audiobookd::storage {
namespace {

constexpr int serial_number = 1; // of the only stream of the file: the same book gives the same bytes
constexpr std::int64_t positions_per_sample = 2;

std::vector<std::byte> text_bytes(std::string_view text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

void append_little_endian(std::vector<std::byte>& bytes, std::uint32_t value, int count) {
  for (int i = 0; i < count; ++i) {
    bytes.push_back(static_cast<std::byte>(value >> (8 * i) & 0xFF));
  }
}

/// RFC 7845, 5.1.
std::vector<std::byte> head_packet(int pre_skip) {
  std::vector<std::byte> packet = text_bytes("OpusHead");
  append_little_endian(packet, 1, 1); // version
  append_little_endian(packet, 1, 1); // channels
  append_little_endian(packet, static_cast<std::uint32_t>(pre_skip), 2);
  append_little_endian(packet, 24'000, 4); // sample rate of the input, for information
  append_little_endian(packet, 0, 2);      // gain
  append_little_endian(packet, 0, 1);      // channel mapping
  return packet;
}

/// RFC 7845, 5.2: what follows the comments is padding when its first bit is 0.
std::vector<std::byte> tags_packet(const Tags& tags, const std::vector<Chapter>& chapters) {
  std::vector<std::byte> packet = text_bytes("OpusTags");
  const std::vector<std::byte> comments = render_vorbis_comments(tags, chapters, true);
  packet.insert(packet.end(), comments.begin(), comments.end());
  return packet;
}

} // namespace

/// Packets in, pages out.
class OggWriter {
public:
  explicit OggWriter(ByteSink& sink) : sink_(sink) { ogg_stream_init(&state_, serial_number); }
  ~OggWriter() { ogg_stream_clear(&state_); }
  OggWriter(const OggWriter&) = delete;
  OggWriter& operator=(const OggWriter&) = delete;

  /// @param position behind the packet, at 48 kHz. @param ends_page its page is not filled up.
  void append(const std::vector<std::byte>& bytes, std::int64_t position, bool is_last, bool ends_page) {
    ogg_packet packet = {};
    packet.packet = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data())); // only read
    packet.bytes = static_cast<long>(bytes.size());
    packet.b_o_s = num_packets_ == 0 ? 1 : 0;
    packet.e_o_s = is_last ? 1 : 0;
    packet.granulepos = position;
    packet.packetno = num_packets_++;
    ogg_stream_packetin(&state_, &packet);
    ogg_page page;
    while ((ends_page || is_last ? ogg_stream_flush(&state_, &page) : ogg_stream_pageout(&state_, &page)) != 0) {
      sink_.append({reinterpret_cast<const std::byte*>(page.header), static_cast<std::size_t>(page.header_len)});
      sink_.append({reinterpret_cast<const std::byte*>(page.body), static_cast<std::size_t>(page.body_len)});
    }
  }

private:
  ByteSink& sink_;
  ogg_stream_state state_ = {};
  ogg_int64_t num_packets_ = 0;
};

namespace {

void append_headers(OggWriter& ogg, int pre_skip, const std::vector<std::byte>& tags) {
  ogg.append(head_packet(pre_skip), 0, false, true);
  ogg.append(tags, 0, false, true);
}

/// Bytes kept in memory.
class ByteBuffer final : public ByteSink {
public:
  void append(std::span<const std::byte> bytes) override { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override {
    std::ranges::copy(bytes, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void clear() override { bytes_.clear(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

private:
  std::vector<std::byte> bytes_;
};

} // namespace

OpusFile::OpusFile(const OpusSettings& settings, const AudioFileParts& parts)
    : sink_(parts.sink), start_(sink_.size()),
      tag_bytes_(tags_packet(parts.tags, parts.chapters).size() + spare_tag_bytes),
      ogg_(std::make_unique<OggWriter>(sink_)), stream_(
                                                    opus_cut(), parts.pool,
                                                    [settings, levels = parts.levels](PieceSamples source) {
                                                      return encode_opus_piece(settings, levels, std::move(source));
                                                    },
                                                    [this](OpusPiece piece) { append(std::move(piece)); }) {
  append_headers(*ogg_, 0, std::vector<std::byte>(tag_bytes_));
}

OpusFile::~OpusFile() = default;

void OpusFile::write(std::span<const float> samples) {
  stream_.write(samples);
  samples_ += samples.size();
}

void OpusFile::append(OpusPiece piece) {
  pre_skip_ = piece.pre_skip;
  levels_.add(piece.levels);
  cpu_seconds_ += piece.seconds;
  for (std::vector<std::byte>& packet : piece.packets) {
    if (!last_packet_.empty()) {
      append_packet(last_packet_, false);
    }
    last_packet_ = std::move(packet);
  }
}

void OpusFile::append_packet(const std::vector<std::byte>& packet, bool is_last) {
  position_ += opus_packet_positions;
  const auto end = static_cast<std::int64_t>(samples_) * positions_per_sample + pre_skip_;
  ogg_->append(packet, is_last ? std::min(position_, end) : position_, is_last, false);
}

void OpusFile::finish(const Tags& tags, const std::vector<Chapter>& chapters) {
  if (samples_ == 0) { // there are no files of nothing
    write(std::vector<float>(1));
  }
  stream_.finish();
  append_packet(last_packet_, true);
  std::vector<std::byte> packet = tags_packet(tags, chapters);
  if (packet.size() > tag_bytes_) {
    throw PermanentError("the tags need " + std::to_string(packet.size() - tag_bytes_) +
                         " bytes more than there is room for: shorten title, comment or extra tags");
  }
  packet.resize(tag_bytes_);
  ByteBuffer pages;
  OggWriter ogg(pages);
  append_headers(ogg, pre_skip_, packet);
  sink_.overwrite(start_, pages.bytes());
}

} // namespace audiobookd::storage
