// The shared parts of the tests of voice cloning.
#include "tests/engine/voice_fixture.h"

#include "engine/models/chatterbox/clip_features.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

namespace audiobookd::tests {

void VoiceCases::SetUp() {
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir())) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".safetensors" && name.starts_with("voice_") && !name.starts_with("voice_turbo") &&
        GoldenCase(name).contains("wav16_sinc")) {
      cases_.push_back(name);
    }
  }
  std::ranges::sort(cases_);
  if (cases_.empty()) {
    GTEST_SKIP() << "golden case is absent: " << (golden_dir() / "voice_*.safetensors").string();
  }
}

void VoiceCases::for_each_case(const std::function<void(const GoldenCase&)>& check) const {
  const c10::InferenceMode inference;
  for (const std::string& name : cases_) {
    SCOPED_TRACE(name);
    check(GoldenCase(name));
  }
}

at::Tensor VoiceCases::trimmed_clip(const GoldenCase& golden) { return without_silent_ends(clip(golden, "wav16_hq")); }

at::Tensor without_silent_ends(const at::Tensor& clip) {
  const auto range = engine::chatterbox::without_silent_ends(clip);
  return clip.slice(0, range.first, range.end);
}

std::vector<float> read_clip(const GoldenCase& golden) {
  const std::string name = golden.name().substr(std::string("voice_").size());
  std::ifstream file(golden_dir() / "audio" / (name + ".wav"), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  constexpr std::size_t header = 44; // of the plainest kind of WAV file
  constexpr char plain_mono_24khz[] = "\x01\x00\x01\x00\xc0\x5d\x00\x00";
  if (bytes.size() < header || bytes.compare(20, 8, plain_mono_24khz, 8) != 0 || bytes.compare(36, 4, "data") != 0) {
    return {};
  }
  std::vector<std::int16_t> pcm((bytes.size() - header) / sizeof(std::int16_t));
  std::memcpy(pcm.data(), bytes.data() + header, pcm.size() * sizeof(std::int16_t));
  std::vector<float> samples(pcm.size());
  std::ranges::transform(pcm, samples.begin(), [](std::int16_t value) { return static_cast<float>(value) / 32768; });
  return samples;
}

double max_relative_diff(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor recorded = expected.to(at::kCPU, at::kDouble);
  const at::Tensor difference = (actual.to(at::kCPU, at::kDouble) - recorded).abs();
  const double largest = at::where(difference == 0, 0.0, difference / recorded.abs()).max().item<double>();
  return std::isnan(largest) ? std::numeric_limits<double>::infinity() : largest;
}

std::string differing_tokens(const at::Tensor& actual, const at::Tensor& expected, const at::Tensor& fsq_pre) {
  if (actual.size(0) < expected.size(0)) {
    return std::to_string(actual.size(0)) + " tokens instead of " + std::to_string(expected.size(0));
  }
  constexpr double undecided = 5e-3;
  std::string message;
  const at::Tensor found = actual.to(at::kCPU, at::kLong);
  for (std::int64_t i = 0; i < expected.size(0); ++i) {
    std::int64_t a = found[i].item<std::int64_t>();
    std::int64_t b = expected[i].item<std::int64_t>();
    for (int digit = 0; digit < 8; ++digit, a /= 3, b /= 3) {
      const double value = 0.9990000128746033 * std::tanh(fsq_pre[i][digit].item<double>());
      if (a % 3 != b % 3 && std::abs(std::abs(value) - 0.5) > undecided) {
        message +=
            "token " + std::to_string(i) + " digit " + std::to_string(digit) + " (" + std::to_string(value) + ") ";
      }
    }
    if (a != b) {
      message += "token " + std::to_string(i) + " is out of range ";
    }
  }
  return message;
}

} // namespace audiobookd::tests
