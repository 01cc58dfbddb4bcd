// Independent readers of what was written: ffprobe and ffmpeg as programs. Test thread only.
#pragma once

#include "tests/storage/files.h"

#include <cstdio>
#include <memory>

namespace audiobookd::tests {

/// What @p command prints; throws when it cannot run or fails.
inline std::string output_of(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) {
    throw std::runtime_error("cannot run " + command);
  }
  std::string output;
  char block[65536];
  for (std::size_t got = 0; (got = std::fread(block, 1, sizeof block, pipe)) > 0;) {
    output.append(block, got);
  }
  const int status = ::pclose(pipe);
  if (status != 0) {
    throw std::runtime_error("status " + std::to_string(status) + " from " + command);
  }
  return output;
}

/// ffprobe's JSON on @p file: format with tags, streams and chapters.
inline std::string ffprobe(const std::filesystem::path& file) {
  return output_of("ffprobe -v error -of json -show_format -show_streams -show_chapters '" + file.string() + "'");
}

/// All samples of @p file as ffmpeg decodes it, gapless.
inline std::vector<float> ffmpeg_samples(const std::filesystem::path& file) {
  const std::string bytes = output_of("ffmpeg -v error -i '" + file.string() + "' -f f32le -");
  std::vector<float> samples(bytes.size() / sizeof(float));
  std::copy_n(bytes.data(), samples.size() * sizeof(float), reinterpret_cast<char*>(samples.data()));
  return samples;
}

} // namespace audiobookd::tests
