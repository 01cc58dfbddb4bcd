// MP3 files that last exactly as long as what was encoded, read back by two independent decoders.
#include "storage/errors.h"
#include "storage/mp3_encoder.h"
#include "storage/wav_file.h"
#include "tests/storage/ffmpeg.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <limits>

namespace audiobookd::storage {
namespace {

using tests::throws_with;

Mp3Settings cbr(int bitrate_kbps) { return {.bitrate_kbps = bitrate_kbps}; }

std::string encode(const Mp3Settings& settings, std::span<const float> samples, std::size_t step = 5000) {
  tests::MemorySink sink;
  Mp3Encoder encoder(settings, sink);
  for (std::size_t start = 0; start < samples.size(); start += step) {
    encoder.write(samples.subspan(start, std::min(step, samples.size() - start)));
  }
  encoder.finish();
  return sink.text();
}

class Mp3EncoderTest : public testing::Test {
protected:
  std::filesystem::path written(const std::string& bytes) {
    tests::write_file(folder_ / "x.mp3", bytes);
    return folder_ / "x.mp3";
  }
  tests::ScratchFolder folder_;
};

TEST_F(Mp3EncoderTest, DecodesToExactlyTheSamplesEncodedAtEveryBitRate) {
  const std::vector<float> sound = tests::voice_like(50'001);
  for (const int bitrate : {8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160}) {
    const auto file = written(encode(cbr(bitrate), sound));
    const AudioClip clip = read_audio_file(file, 60);
    EXPECT_EQ(clip.sample_rate, 24000);
    EXPECT_EQ(clip.channels, 1);
    EXPECT_EQ(clip.samples.size(), sound.size()) << bitrate << " kbit/s, libsndfile";
    EXPECT_EQ(tests::ffmpeg_samples(file).size(), sound.size()) << bitrate << " kbit/s, ffmpeg";
    EXPECT_GT(tests::correlation(clip.samples, sound), bitrate >= 64 ? 0.999 : bitrate >= 24 ? 0.99 : 0.8) << bitrate;
  }
}

TEST_F(Mp3EncoderTest, DecodesToExactlyTheSamplesEncodedInVbr) {
  const std::vector<float> sound = tests::voice_like(50'001);
  for (const int quality : {0, 4, 9}) {
    const auto file = written(encode({.vbr_quality = quality}, sound));
    EXPECT_EQ(read_audio_file(file, 60).samples.size(), sound.size()) << quality;
    EXPECT_EQ(tests::ffmpeg_samples(file).size(), sound.size()) << quality;
    EXPECT_GT(tests::correlation(tests::ffmpeg_samples(file), sound), 0.99) << quality;
  }
}

TEST_F(Mp3EncoderTest, KeepsTheLengthWhateverItIs) {
  for (const std::size_t length : {100, 575, 576, 577, 1151, 1152, 1153, 9216, 24'000}) {
    for (const int bitrate : {32, 64}) {
      const auto file = written(encode(cbr(bitrate), tests::voice_like(length)));
      EXPECT_EQ(tests::ffmpeg_samples(file).size(), length) << bitrate;
      EXPECT_EQ(read_audio_file(file, 60).samples.size(), length) << bitrate;
    }
  }
}

TEST_F(Mp3EncoderTest, OwnHeaderFrameEqualsTheOneOfLameWhereBothExist) {
  const std::string ours = encode(cbr(56), tests::voice_like(30'000));
  const std::string lames = encode(cbr(64), tests::voice_like(30'000));
  EXPECT_EQ(ours.substr(0, 4), lames.substr(0, 4)); // frame header
  const std::size_t flags = 13 + 4;
  EXPECT_EQ(ours.substr(13, 4), "Info");
  EXPECT_EQ(ours.substr(flags, 4 + 4), lames.substr(flags, 4 + 4)); // flags and number of frames
  const std::size_t delays = 13 + 120 + 21;
  EXPECT_EQ(ours.substr(delays, 3), lames.substr(delays, 3));
  // Recompute the checksums that a strict reader verifies, on LAME's own header and on ours.
  for (const std::string& file : {ours, lames}) {
    const auto bytes = std::as_bytes(std::span(file));
    const auto stored = [&](std::size_t at) {
      return std::to_integer<int>(bytes[at]) << 8 | std::to_integer<int>(bytes[at + 1]);
    };
    EXPECT_EQ(crc16(0, bytes.first(13 + 120 + 34)), stored(13 + 120 + 34));
    EXPECT_EQ(crc16(0, bytes.subspan(192)), stored(13 + 120 + 32));
  }
}

TEST_F(Mp3EncoderTest, GivesTheSameBytesAgainAndHoweverTheStreamIsCut) {
  const std::vector<float> sound = tests::voice_like(60'000);
  for (const Mp3Settings& settings : {cbr(32), cbr(64), Mp3Settings{.vbr_quality = 4}}) {
    const std::string once = encode(settings, sound);
    EXPECT_EQ(encode(settings, sound), once);
    EXPECT_EQ(encode(settings, sound, 1), once);
    EXPECT_EQ(encode(settings, sound, 60'000), once);
  }
}

TEST_F(Mp3EncoderTest, WritesTheBitRateAskedFor) {
  const std::vector<float> sound = tests::voice_like(240'000);
  for (const int bitrate : {32, 64, 128}) {
    const double bytes = bitrate * 1000 / 8.0 * 10;
    EXPECT_NEAR(static_cast<double>(encode(cbr(bitrate), sound).size()), bytes, bytes * 0.02);
  }
}

TEST_F(Mp3EncoderTest, RefusesSettingsAndNamesTheValidOnes) {
  EXPECT_TRUE(
      throws_with<PermanentError>([] { check(cbr(192)); }, "valid: 8 16 24 32 40 48 56 64 80 96 112 128 144 160"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check(cbr(0)); }, "bitrate_kbps 0"));
  EXPECT_TRUE(
      throws_with<PermanentError>([] { check({.sample_rate = 44100}); }, "44100 is not supported; valid: 24000"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check({.quality = 10}); }, "quality 10 is not in 0 … 9"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check({.vbr_quality = -1}); }, "vbr_quality -1 is not in 0 … 9"));
}

TEST_F(Mp3EncoderTest, RefusesSamplesThatAreNotFinite) {
  tests::MemorySink sink;
  Mp3Encoder encoder({}, sink);
  encoder.write(std::vector<float>(20'000));
  std::vector<float> sound(10'000);
  sound[9'999] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(throws_with<PermanentError>([&] { encoder.write(sound); }, "sample 29999 is not finite"));
}

} // namespace
} // namespace audiobookd::storage
