// What an audio file is made of: a codec and its settings. Plain values; any thread.
#pragma once

#include "storage/mp3_settings.h"

#include <optional>
#include <string_view>
#include <variant>

namespace audiobookd::storage {

/// FLAC, 16 bits a sample.
struct FlacSettings {
  int source_rate = 24'000; ///< Hz, of the samples; 24000 is the only one supported
  int sample_rate = 24'000; ///< Hz, of the file: 24000, 44100 or 48000
  int compression = 5;      ///< 0 (fastest) … 8 (smallest)
};

/// Opus in Ogg, at a variable bit rate. Players hear it at 48 kHz, whatever the rate of the samples.
struct OpusSettings {
  int source_rate = 24'000; ///< Hz, of the samples; 24000 is the only one supported
  int bitrate_kbps = 32;    ///< aimed at: 6 … 256
};

enum class Codec { mp3, flac, opus }; ///< in the order of AudioFormat
using AudioFormat = std::variant<Mp3Settings, FlacSettings, OpusSettings>;

/// What people say of a format; what they leave open is the codec's default.
struct FormatOptions {
  Codec codec = Codec::mp3;
  std::optional<int> sample_rate = {};   ///< Hz; not of Opus
  std::optional<int> bitrate_kbps = {};  ///< of MP3, constant, and of Opus
  std::optional<int> vbr_quality = {};   ///< of MP3, instead of bitrate_kbps
  std::optional<int> quality = {};       ///< of MP3: LAME's search effort
  std::optional<int> id3v2_version = {}; ///< of MP3
};

/// @throws PermanentError naming an option that the codec does not have, or as check().
[[nodiscard]] AudioFormat make_format(const FormatOptions& options);

/// "mp3", "flac", "opus" as a codec, also as the extension of a file's name; nothing for other names.
[[nodiscard]] std::optional<Codec> codec_named(std::string_view name);

/// @throws PermanentError naming the field, the value and the valid values.
void check(const AudioFormat& format);
[[nodiscard]] int source_rate(const AudioFormat& format);
/// Of a file's name, without a dot: "mp3", "flac", "opus".
[[nodiscard]] std::string_view extension(const AudioFormat& format);

} // namespace audiobookd::storage
