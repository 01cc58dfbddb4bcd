// A file as a listener with ffmpeg measures it, without anything of the daemon's own. Test thread only.
#pragma once

#include "tests/storage/ffmpeg.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <vector>

namespace audiobookd::daemon::testing {

struct Heard {
  std::string codec;
  int sample_rate = 0;
  int channels = 0;
  int bitrate = 0;              ///< bit/s
  std::size_t packet_sizes = 0; ///< how many there are, padding bytes apart: 1 of a constant bit rate
  std::vector<float> samples;
  double seconds = 0;
  double rms_db = 0;
  double peak_db = 0;
  double true_peak_db = 0;   ///< by ffmpeg's meter, which has one decimal
  double noise_floor_db = 0; ///< RMS of the quietest half second, from any 10 ms on
  double head_s = 0;         ///< until something is louder than -55 dB for 10 ms
  double tail_s = 0;
};

inline double rms_db(std::span<const float> samples) {
  double sum = 0;
  for (const float sample : samples) {
    sum += static_cast<double>(sample) * sample;
  }
  return 10 * std::log10(sum / static_cast<double>(samples.size()));
}

inline Heard listen_to(const std::filesystem::path& file) {
  Heard heard;
  const auto stream = nlohmann::json::parse(tests::ffprobe(file)).at("streams").at(0);
  heard.codec = stream.at("codec_name");
  heard.sample_rate = std::stoi(stream.at("sample_rate").get<std::string>());
  heard.channels = stream.at("channels");
  heard.bitrate = std::stoi(stream.at("bit_rate").get<std::string>());
  std::istringstream packets(
      tests::output_of("ffprobe -v error -show_entries packet=size -of csv=p=0 '" + file.string() + "'"));
  std::set<int> sizes;
  for (std::string line; std::getline(packets, line);) {
    if (!line.empty()) {
      sizes.insert(std::stoi(line) / 2); // 626 and 627 bytes are the same
    }
  }
  heard.packet_sizes = sizes.size();
  heard.samples = tests::ffmpeg_samples(file);
  const auto rate = static_cast<std::size_t>(heard.sample_rate);
  heard.seconds = static_cast<double>(heard.samples.size()) / heard.sample_rate;
  heard.rms_db = rms_db(heard.samples);
  float peak = 0;
  for (const float sample : heard.samples) {
    peak = std::max(peak, std::abs(sample));
  }
  heard.peak_db = 20 * std::log10(peak);
  const std::string meter =
      tests::output_of("ffmpeg -hide_banner -nostats -i '" + file.string() + "' -af ebur128=peak=true -f null - 2>&1");
  heard.true_peak_db = std::stod(meter.substr(meter.find("Peak:", meter.find("Summary:")) + 5));
  heard.noise_floor_db = 0;
  for (std::size_t begin = 0; begin + rate / 2 <= heard.samples.size(); begin += rate / 100) {
    heard.noise_floor_db = std::min(heard.noise_floor_db, rms_db(std::span(heard.samples).subspan(begin, rate / 2)));
  }
  std::vector<bool> loud;
  for (std::size_t begin = 0; begin + rate / 100 <= heard.samples.size(); begin += rate / 100) {
    loud.push_back(rms_db(std::span(heard.samples).subspan(begin, rate / 100)) > -55);
  }
  heard.head_s = static_cast<double>(std::ranges::find(loud, true) - loud.begin()) / 100;
  heard.tail_s = static_cast<double>(std::find(loud.rbegin(), loud.rend(), true) - loud.rbegin()) / 100;
  return heard;
}

/// What ACX asks for, in its own words: https://help.acx.com/s/article/what-are-the-acx-audio-submission-requirements
inline void expect_meets_acx(const Heard& heard, const std::string& name) {
  EXPECT_EQ(heard.codec, "mp3") << name;
  EXPECT_EQ(heard.sample_rate, 44'100) << name;
  EXPECT_EQ(heard.channels, 1) << name;
  EXPECT_GE(heard.bitrate, 192'000) << name;
  EXPECT_EQ(heard.packet_sizes, 1U) << name << ": the bit rate is not constant";
  EXPECT_LE(heard.seconds, 120 * 60) << name;
  EXPECT_GE(heard.rms_db, -23) << name;
  EXPECT_LE(heard.rms_db, -18) << name;
  EXPECT_LE(heard.peak_db, -3) << name;
  EXPECT_LE(heard.true_peak_db, -3 + 0.05) << name;
  EXPECT_LE(heard.noise_floor_db, -60) << name;
  EXPECT_NEAR(heard.noise_floor_db, -70, 2) << name << ": room tone, not digital silence";
  EXPECT_GE(heard.head_s, 0.5) << name;
  EXPECT_LE(heard.head_s, 1) << name;
  EXPECT_GE(heard.tail_s, 1) << name;
  EXPECT_LE(heard.tail_s, 5) << name;
}

} // namespace audiobookd::daemon::testing
