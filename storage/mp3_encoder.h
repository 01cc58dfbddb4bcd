// MP3 through LAME, streaming: memory does not grow with the length. One thread at a time per encoder.
//
// The stream starts with a Xing/LAME header frame that is rewritten by finish() with frame count, encoder delay and
// padding, so that a gapless decoder gives back exactly the samples written. No time stamps: equal input gives equal
// bytes.
#pragma once

#include "storage/byte_sink.h"
#include "storage/encoder.h"
#include "storage/xing_frame.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

struct lame_global_struct;

namespace audiobookd::storage {

struct Mp3Settings {
  int sample_rate = 24000;             ///< of the samples and of the file; 24000 is the only one supported
  int bitrate_kbps = 64;               ///< CBR: 8 16 24 32 40 48 56 64 80 96 112 128 144 160 (MPEG-2 layer III)
  std::optional<int> vbr_quality = {}; ///< VBR instead of CBR: 0 (best, largest) … 9
  int quality = 5;                     ///< LAME's search effort: 0 (best, slowest) … 9
};

/// @throws PermanentError naming the field, the value and the valid values.
void check(const Mp3Settings& settings);

class Mp3Encoder final : public Encoder {
public:
  /// The stream begins at the present end of @p sink, which must outlive the encoder.
  /// @throws PermanentError as check().
  Mp3Encoder(const Mp3Settings& settings, ByteSink& sink);
  ~Mp3Encoder() override;

  void write(std::span<const float> samples) override;
  void finish() override;

private:
  struct CloseLame {
    void operator()(lame_global_struct* lame) const noexcept;
  };
  void configure(const Mp3Settings& settings);
  void append(int num_bytes);

  std::unique_ptr<lame_global_struct, CloseLame> lame_;
  ByteSink& sink_;
  std::uint64_t start_;
  std::uint64_t samples_written_ = 0;
  std::optional<XingInfo> own_header_; // at bit rates where LAME makes none
  std::vector<unsigned char> buffer_;
};

} // namespace audiobookd::storage
