// Clips from outside: every format that is promised, every limit, and decoders that crash, hang or lie.
#include "storage/errors.h"
#include "storage/isolated_decoder.h"
#include "storage/wav_file.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <random>

namespace audiobookd::storage {
namespace {

using tests::ScratchFolder;
using tests::throws_with;

AudioClip decode(const std::filesystem::path& file, const DecodeLimits& limits = {}) {
  return decode_in_child(AUDIOBOOKD_CLIP_DECODER, file, limits, std::chrono::seconds(20));
}

/// ffmpeg's answer to @p arguments; nothing on the standard error.
int ffmpeg(const std::string& arguments) { return std::system(("ffmpeg -v error -y " + arguments).c_str()); } // NOLINT

class IsolatedDecoderTest : public ::testing::Test {
protected:
  void SetUp() override { write_wav(folder_ / "clip.wav", 24'000, sound_); }

  std::filesystem::path converted(const std::string& name, const std::string& options = "") {
    const std::string from = (folder_ / "clip.wav").string();
    EXPECT_EQ(ffmpeg("-i '" + from + "' " + options + " '" + (folder_ / name).string() + "'"), 0) << name;
    return folder_ / name;
  }
  /// An executable that behaves like a decoder in which something went wrong.
  std::filesystem::path script(const std::string& body) {
    const std::filesystem::path file = folder_ / "decoder";
    tests::write_file(file, "#!/bin/sh\n" + body + "\n");
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    return file;
  }

  ScratchFolder folder_;
  std::vector<float> sound_ = tests::voice_like(48'000);
};

TEST_F(IsolatedDecoderTest, LosslessFormatsComeBackAsTheyWere) {
  for (const auto& [name, options] : {std::pair("clip.flac", "-sample_fmt s32"),
                                      std::pair("clip.aiff", "-c:a pcm_f32be"), std::pair("clip.wav", "")}) {
    const AudioClip clip = decode(std::string(name) == "clip.wav" ? folder_ / name : converted(name, options));
    EXPECT_EQ(clip.sample_rate, 24'000) << name;
    EXPECT_EQ(clip.channels, 1) << name;
    ASSERT_EQ(clip.samples.size(), sound_.size()) << name;
    for (std::size_t i = 0; i < sound_.size(); ++i) {
      ASSERT_NEAR(clip.samples[i], sound_[i], 1e-6) << name << ", sample " << i;
    }
  }
}

TEST_F(IsolatedDecoderTest, ContentInMemoryIsDecodedAsItsFileIs) {
  const auto decode_content = [](const std::string& content) {
    return decode_in_child(AUDIOBOOKD_CLIP_DECODER, content, "a clip");
  };
  EXPECT_EQ(decode_content(tests::read_file(folder_ / "clip.wav")).samples, decode(folder_ / "clip.wav").samples);
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode_content("this is no audio"); }, "'a clip'"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode_content(""); }, "'a clip'"));
}

TEST_F(IsolatedDecoderTest, LossyFormatsAndStereoAreDecoded) {
  for (const char* name : {"clip.mp3", "clip.ogg", "clip.opus"}) {
    const AudioClip clip = decode(converted(name, "-ac 2 -b:a 96k"));
    EXPECT_EQ(clip.channels, 2) << name;
    const double seconds = static_cast<double>(clip.samples.size()) / 2 / clip.sample_rate;
    EXPECT_NEAR(seconds, 2, 0.1) << name;
    const auto power = [](const std::vector<float>& samples) {
      return std::inner_product(samples.begin(), samples.end(), samples.begin(), 0.0) /
             static_cast<double>(samples.size());
    };
    EXPECT_NEAR(power(clip.samples) / power(sound_), 0.5, 0.06) << name << ": ffmpeg spreads one channel over two";
  }
}

TEST_F(IsolatedDecoderTest, FormatsThatAreNotReadNameTheCommandThatConvertsThem) {
  const std::filesystem::path m4a = converted("my clip.m4a");
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(m4a); }, "is MPEG-4 (m4a, mp4) audio, which is not read"));
  EXPECT_TRUE(
      throws_with<PermanentError>([&] { (void)decode(m4a); }, "ffmpeg -i '" + m4a.string() + "' -c:a flac clip.flac"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(converted("clip.aac")); }, "is AAC audio"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(converted("clip.mka")); }, "Matroska"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(converted("clip.au")); }, "of a kind that is not read"));
}

TEST_F(IsolatedDecoderTest, LimitsHoldWhateverTheHeaderSays) {
  const auto refusal = [&](const std::string& part, const std::filesystem::path& file, const DecodeLimits& limits) {
    return throws_with<PermanentError>([&] { (void)decode(file, limits); }, part);
  };
  const std::filesystem::path wav = folder_ / "clip.wav";
  EXPECT_TRUE(refusal("lasts 2.0 s; at most 1.9 s", wav, {.max_seconds = 1.9}));
  EXPECT_TRUE(refusal("has 24000 samples a second", wav, {.max_sample_rate = 23'999}));
  EXPECT_TRUE(refusal("is longer than allowed", wav, {.max_samples = 47'999}));
  EXPECT_EQ(decode(wav, {.max_seconds = 2, .max_channels = 1, .max_sample_rate = 24'000, .max_samples = 48'000})
                .samples.size(),
            48'000U);
  EXPECT_TRUE(refusal("has 2 channels; at most 1", converted("stereo.wav", "-ac 2"), {.max_channels = 1}));
  // A stream whose length stands nowhere.
  EXPECT_TRUE(throws_with<PermanentError>(
      [&] { (void)decode(converted("stream.mp3", "-write_xing 0 -b:a 64k"), {.max_seconds = 1.9}); }, "at most 1.9 s"));
}

TEST_F(IsolatedDecoderTest, WhatIsNoAudioIsSaidToBeNone) {
  tests::write_file(folder_ / "text.wav", "this is no audio");
  tests::write_file(folder_ / "empty.wav", "");
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(folder_ / "text.wav"); }, "no audio file"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(folder_ / "empty.wav"); }, "no audio file"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(folder_ / "none.wav"); }, "ENOENT"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(folder_.path()); }, "is not a file"));
  sound_[7] = std::numeric_limits<float>::quiet_NaN();
  write_wav(folder_ / "nan.wav", 24'000, sound_);
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode(folder_ / "nan.wav"); }, "not numbers"));
}

TEST_F(IsolatedDecoderTest, DamagedFilesAreDecodedOrRefused) {
  std::mt19937 random(1);
  for (const char* name : {"clip.flac", "clip.ogg", "clip.mp3", "clip.opus", "clip.wav"}) {
    const std::string whole = tests::read_file(std::string(name) == "clip.wav" ? folder_ / name : converted(name));
    for (int attempt = 0; attempt < 8; ++attempt) {
      std::string damaged = whole.substr(0, 1 + random() % whole.size());
      for (int i = 0; i < 20; ++i) {
        damaged[random() % damaged.size()] = static_cast<char>(random());
      }
      tests::write_file(folder_ / "damaged", damaged);
      try {
        EXPECT_LE(decode(folder_ / "damaged").samples.size(), std::size_t{1} << 26);
      } catch (const PermanentError& error) {
        EXPECT_NE(std::string(error.what()).find("damaged"), std::string::npos) << error.what();
      }
    }
  }
}

TEST_F(IsolatedDecoderTest, ADecoderThatDiesTakesNothingAlong) {
  const auto decoding = [&](const std::string& body, int seconds = 20) {
    return [program = script(body), clip = folder_ / "clip.wav", seconds] {
      (void)decode_in_child(program, clip, {}, std::chrono::seconds(seconds));
    };
  };
  EXPECT_TRUE(throws_with<PermanentError>(decoding("kill -SEGV $$"), "its decoder died of SIGSEGV"));
  EXPECT_TRUE(throws_with<PermanentError>(decoding("exit 3"), "ended with status 3"));
  EXPECT_TRUE(throws_with<PermanentError>(decoding("echo 'it is broken' >&2; exit 1"), "it is broken"));
  EXPECT_TRUE(throws_with<PermanentError>(decoding("printf 123"), "in the middle of a sample"));
  EXPECT_TRUE(throws_with<PermanentError>(decoding("printf '\\001\\000\\000\\000\\377\\000\\000\\000'"), "cannot be"));
  EXPECT_TRUE(throws_with<PermanentError>(decoding("exec yes >&2"), "said more than it may"));
  EXPECT_TRUE(throws_with<TransientError>(decoding("exec sleep 60", 1), "took too long"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)decode_in_child(folder_ / "no-decoder", folder_ / "clip.wav"); },
                                          "cannot start the decoder"));
}

} // namespace
} // namespace audiobookd::storage
