#include "storage/audio_format.h"

#include "storage/setting_checks.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

namespace audiobookd::storage {
namespace {

void check_settings(const Mp3Settings& settings) { check(settings); }

void check_settings(const FlacSettings& settings) {
  check_choice("flac source_rate", settings.source_rate, {24'000});
  check_choice("flac sample_rate", settings.sample_rate, {24'000, 44'100, 48'000});
  check_range("flac compression", settings.compression, 0, 8);
}

void check_settings(const OpusSettings& settings) {
  check_choice("opus source_rate", settings.source_rate, {24'000});
  check_range("opus bitrate_kbps", settings.bitrate_kbps, 6, 256);
}

constexpr std::string_view codec_names[] = {"mp3", "flac", "opus"};

/// Options that a codec does not have.
void reject(const FormatOptions& options,
            std::initializer_list<std::pair<const char*, const std::optional<int>*>> all) {
  for (const auto& [name, value] : all) {
    if (*value) {
      throw PermanentError(std::string(name) + " " + std::to_string(**value) + ": " +
                           std::string(codec_names[static_cast<std::size_t>(options.codec)]) + " has no such option");
    }
  }
}

Mp3Settings mp3_settings(const FormatOptions& options) {
  Mp3Settings settings;
  settings.sample_rate = options.sample_rate.value_or(settings.sample_rate);
  settings.bitrate_kbps = options.bitrate_kbps.value_or(settings.bitrate_kbps);
  settings.vbr_quality = options.vbr_quality;
  settings.quality = options.quality.value_or(settings.quality);
  settings.id3v2_version = options.id3v2_version.value_or(settings.id3v2_version);
  return settings;
}

FlacSettings flac_settings(const FormatOptions& options) {
  reject(options, {{"bitrate_kbps", &options.bitrate_kbps},
                   {"vbr_quality", &options.vbr_quality},
                   {"quality", &options.quality},
                   {"id3v2_version", &options.id3v2_version}});
  FlacSettings settings;
  settings.sample_rate = options.sample_rate.value_or(settings.sample_rate);
  return settings;
}

OpusSettings opus_settings(const FormatOptions& options) {
  reject(options, {{"sample_rate", &options.sample_rate},
                   {"vbr_quality", &options.vbr_quality},
                   {"quality", &options.quality},
                   {"id3v2_version", &options.id3v2_version}});
  OpusSettings settings;
  settings.bitrate_kbps = options.bitrate_kbps.value_or(settings.bitrate_kbps);
  return settings;
}

AudioFormat settings_of(const FormatOptions& options) {
  switch (options.codec) {
  case Codec::flac: return flac_settings(options);
  case Codec::opus: return opus_settings(options);
  case Codec::mp3: break;
  }
  return mp3_settings(options);
}

} // namespace

AudioFormat make_format(const FormatOptions& options) {
  AudioFormat format = settings_of(options);
  check(format);
  return format;
}

std::optional<Codec> codec_named(std::string_view name) {
  const auto* found = std::ranges::find(codec_names, name);
  return found == std::end(codec_names) ? std::nullopt : std::optional(static_cast<Codec>(found - codec_names));
}

void check(const AudioFormat& format) {
  std::visit([](const auto& settings) { check_settings(settings); }, format);
}

int source_rate(const AudioFormat& format) {
  return std::visit([](const auto& settings) { return settings.source_rate; }, format);
}

std::string_view extension(const AudioFormat& format) { return codec_names[format.index()]; }

} // namespace audiobookd::storage
