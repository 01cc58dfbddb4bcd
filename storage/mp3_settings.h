// How an MP3 is encoded. Plain values; any thread.
#pragma once

#include <optional>

namespace audiobookd::storage {

struct Mp3Settings {
  int source_rate = 24'000;            ///< Hz, of the samples; 24000 is the only one supported
  int sample_rate = 24'000;            ///< Hz, of the file: 24000, 44100 or 48000
  int bitrate_kbps = 64;               ///< CBR; which ones there are depends on sample_rate, see Mp3Format
  std::optional<int> vbr_quality = {}; ///< VBR instead of CBR: 0 (best, largest) … 9
  int quality = 5;                     ///< LAME's search effort: 0 (best, slowest) … 9
  int id3v2_version = 4;               ///< of its tags: 4 (ID3v2.4, UTF-8) or 3 (ID3v2.3, UTF-16)
};

/// @throws PermanentError naming the field, the value and the valid values.
void check(const Mp3Settings& settings);

} // namespace audiobookd::storage
