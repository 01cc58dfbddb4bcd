// A clip's way from its file to a voice: decoded, resampled and prepared as the reference does, through the rooms.
#include "engine/models/chatterbox/make_checkpoint.h"
#include "engine/safetensors.h"
#include "engine/voice_cloner.h"
#include "storage/isolated_decoder.h"
#include "storage/reference_clip.h"
#include "tests/storage/files.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <set>

namespace audiobookd::tests {
namespace {

using engine::SafetensorsFile;

std::filesystem::path golden_dir() {
  const char* dir = std::getenv("AUDIOBOOKD_GOLDEN_DIR");
  return dir != nullptr ? std::filesystem::path(dir)
                        : std::filesystem::path(AUDIOBOOKD_SOURCE_DIR) / "tests/data/golden";
}

template <class T>
std::vector<T> values(const SafetensorsFile& golden, const std::string& key) {
  const engine::TensorView& view = golden.at(key);
  std::vector<T> list(view.data.size() / sizeof(T));
  std::memcpy(list.data(), view.data.data(), view.data.size());
  return list;
}

/// The largest difference between what is recorded under @p key and @p samples from @p first on.
double difference(const SafetensorsFile& golden, const std::string& key, std::span<const float> samples,
                  std::size_t first = 0) {
  const std::vector<float> recorded = values<float>(golden, key);
  double largest = samples.size() < first + recorded.size() ? INFINITY : 0;
  for (std::size_t i = 0; i < recorded.size() && std::isfinite(largest); ++i) {
    largest = std::max(largest, static_cast<double>(std::abs(recorded[i] - samples[first + i])));
  }
  return largest;
}

/// "" when the tokens are those recorded. A digit may differ where 0.999 tanh(@p fsq_pre) is within 5e-3 of ±0.5.
std::string differing_tokens(std::span<const std::int32_t> found, const SafetensorsFile& golden, const std::string& key,
                             const std::string& fsq_pre) {
  const auto recorded = values<std::int64_t>(golden, key);
  const auto before = values<float>(golden, fsq_pre);
  if (found.size() != recorded.size()) {
    return std::to_string(found.size()) + " tokens instead of " + std::to_string(recorded.size());
  }
  std::string message;
  for (std::size_t i = 0; i < recorded.size(); ++i) {
    std::int64_t a = found[i];
    std::int64_t b = recorded[i];
    for (std::size_t digit = 0; digit < 8; ++digit, a /= 3, b /= 3) {
      const double value = 0.9990000128746033 * std::tanh(before[8 * i + digit]);
      if (a % 3 != b % 3 && std::abs(std::abs(value) - 0.5) > 5e-3) {
        message += "token " + std::to_string(i) + " digit " + std::to_string(digit) + "; ";
      }
    }
  }
  return message;
}

/// Every `voice_` case of the English model and the audio file that it was made from.
std::vector<std::string> voice_cases() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden_dir())) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() == ".safetensors" && name.starts_with("voice_") && !name.starts_with("voice_turbo")) {
      names.insert(name.substr(6));
    }
  }
  return {names.begin(), names.end()};
}

void check_resampling(const SafetensorsFile& golden, const storage::ReferenceAudio& audio) {
  const auto lengths = values<std::int64_t>(golden, "lengths");
  ASSERT_EQ(static_cast<std::int64_t>(audio.samples_24khz.size()), lengths.at(0));
  ASSERT_EQ(static_cast<std::int64_t>(audio.samples_16khz.size()), lengths.at(1));
  const auto check = [&](const std::string& key, const std::vector<float>& samples, std::size_t middle) {
    if (golden.contains(key)) {
      EXPECT_LE(difference(golden, key, samples), 2e-5) << key;
    }
    if (golden.contains(key + "_head")) {
      EXPECT_LE(difference(golden, key + "_head", samples), 2e-5) << key;
      EXPECT_LE(difference(golden, key + "_mid", samples, middle), 2e-5) << key;
      const std::size_t tail = values<float>(golden, key + "_tail").size();
      EXPECT_LE(difference(golden, key + "_tail", samples, samples.size() - tail), 2e-5) << key;
    }
  };
  EXPECT_TRUE(golden.contains("wav16_hq") || golden.contains("wav16_hq_head"));
  check("wav24", audio.samples_24khz, 120'000);
  check("wav16_hq", audio.samples_16khz, 80'000);
}

TEST(GoldenVoiceClip, FilesBecomeTheVoicesOfTheReference) {
  const ScratchFolder folder;
  engine::chatterbox::write_checkpoint(engine::chatterbox::Preset::tiny, folder / "tiny");
  const auto cloner = engine::VoiceCloner::load(folder / "tiny", "cpu", 1);
  int checked = 0;
  for (const std::string& name : voice_cases()) {
    SCOPED_TRACE(name);
    const std::filesystem::path file = golden_dir() / "audio" / (name + ".wav");
    if (!std::filesystem::exists(file)) {
      continue;
    }
    const SafetensorsFile golden(golden_dir() / ("voice_" + name + ".safetensors"));
    const auto audio = storage::to_reference_audio(storage::decode_in_child(AUDIOBOOKD_CLIP_DECODER, file));
    check_resampling(golden, audio);
    const auto voice = cloner->prepare({audio.samples_24khz, audio.samples_16khz});
    EXPECT_LE(difference(golden, "cond.speaker_emb", voice.speaker_embedding), 1e-4);
    EXPECT_EQ(differing_tokens(voice.t3_prompt_tokens, golden, "cond.t3_prompt_tokens", "t3.fsq_pre"), "");
    EXPECT_EQ(differing_tokens(voice.prompt_tokens, golden, "cond.prompt_token", "s3gen.fsq_pre"), "");
    EXPECT_LE(difference(golden, "cond.prompt_feat", voice.prompt_mel), 1e-3);
    EXPECT_EQ(voice.prompt_mel.size(), values<float>(golden, "cond.prompt_feat").size());
    EXPECT_LE(difference(golden, "cond.embedding", voice.xvector), 1e-4);
    ++checked;
  }
  if (checked == 0) {
    GTEST_SKIP() << "golden case is absent: " << (golden_dir() / "voice_*.safetensors").string();
  }
}

} // namespace
} // namespace audiobookd::tests
