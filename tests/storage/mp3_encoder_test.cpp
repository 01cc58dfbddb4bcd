// MP3 files that last exactly as long as what was encoded, read back by two independent decoders.
#include "storage/errors.h"
#include "storage/mp3_encoder.h"
#include "storage/resampler.h"
#include "storage/wav_file.h"
#include "tests/storage/ffmpeg.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <lame/lame.h>
#include <limits>
#include <memory>
#include <numbers>
#include <random>

namespace audiobookd::storage {
namespace {

using tests::throws_with;

Mp3Settings cbr(int bitrate_kbps) { return {.bitrate_kbps = bitrate_kbps}; }

std::string encode(const Mp3Settings& settings, std::span<const float> samples, std::size_t step = 5000,
                   int num_threads = 2, const LevelSettings& levels = {}) {
  WorkerPool pool(num_threads);
  tests::MemorySink sink;
  Mp3Encoder encoder(settings, levels, sink, pool);
  for (std::size_t start = 0; start < samples.size(); start += step) {
    encoder.write(samples.subspan(start, std::min(step, samples.size() - start)));
  }
  encoder.finish();
  return sink.text();
}

constexpr std::size_t piece_samples = 720'000; // 30 s, of which the encoder speaks

/// An MP3 from one encoder of LAME's own for the whole stream, with LAME's own header.
std::string encode_serially(const Mp3Settings& settings, std::span<const float> samples) {
  const std::unique_ptr<lame_global_flags, int (*)(lame_global_flags*)> lame(lame_init(), &lame_close);
  lame_set_num_channels(lame.get(), 1);
  lame_set_mode(lame.get(), MONO);
  lame_set_in_samplerate(lame.get(), 24000);
  lame_set_out_samplerate(lame.get(), 24000);
  lame_set_quality(lame.get(), settings.quality);
  lame_set_disable_reservoir(lame.get(), 1);
  lame_set_VBR(lame.get(), settings.vbr_quality ? vbr_mtrh : vbr_off);
  lame_set_VBR_q(lame.get(), settings.vbr_quality.value_or(4));
  lame_set_brate(lame.get(), settings.bitrate_kbps);
  EXPECT_GE(lame_init_params(lame.get()), 0);
  std::vector<unsigned char> bytes(samples.size() * 5 / 4 + 7200);
  const int length = lame_encode_buffer_ieee_float(lame.get(), samples.data(), samples.data(),
                                                   static_cast<int>(samples.size()), bytes.data(), 0);
  const int rest = lame_encode_flush(lame.get(), bytes.data() + length, 7200);
  EXPECT_TRUE(length >= 0 && rest >= 0);
  std::string file(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(length + rest));
  std::vector<unsigned char> header(3000);
  const std::size_t header_bytes = lame_get_lametag_frame(lame.get(), header.data(), header.size());
  return file.replace(0, header_bytes, reinterpret_cast<const char*>(header.data()), header_bytes);
}

/// Where the frames of @p mp3 begin, its header frame first; the last element is its end.
std::vector<std::size_t> frame_positions(const std::string& mp3) {
  constexpr std::size_t kbps[] = {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160};
  std::vector<std::size_t> positions{0};
  while (positions.back() < mp3.size()) {
    positions.push_back(positions.back() + 3 * kbps[static_cast<unsigned char>(mp3.at(positions.back() + 2)) >> 4]);
  }
  EXPECT_EQ(positions.back(), mp3.size());
  return positions;
}

/// Decibels between @p sound and what @p other differs from it, over [@p begin, @p end).
double snr_db(const std::vector<float>& sound, const std::vector<float>& other, std::size_t begin, std::size_t end) {
  double signal = 0;
  double noise = 1e-30; // equal sounds: 300 dB or so
  for (std::size_t i = begin; i < end; ++i) {
    signal += static_cast<double>(sound[i]) * sound[i];
    noise += std::pow(static_cast<double>(sound[i]) - other[i], 2);
  }
  return 10 * std::log10(signal / noise);
}

/// Speech-like to an encoder: tones and noises of changing loudness, bursts, and silences, from a fixed seed.
std::vector<float> restless(std::size_t num_samples) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::normal_distribution<double> normal;
  std::vector<float> samples;
  while (samples.size() < num_samples) {
    const auto length = static_cast<std::size_t>(24'000 * (0.05 + 0.25 * uniform(random)));
    const double kind = uniform(random);
    const double loudness = 0.3 * std::pow(uniform(random), 2);
    const double step = 2 * std::numbers::pi * (80 + 170 * uniform(random)) / 24'000;
    for (std::size_t i = 0; i < length; ++i) {
      const double envelope = std::sin(std::numbers::pi * static_cast<double>(i) / static_cast<double>(length));
      double sample = 0;
      if (kind < 0.6) {
        for (int harmonic = 1; harmonic < 20; ++harmonic) {
          sample += loudness * envelope * std::sin(harmonic * step * static_cast<double>(i)) / harmonic;
        }
      } else if (kind < 0.8) {
        sample = loudness * envelope * normal(random);
      } else if (kind < 0.9) {
        sample = loudness * std::exp(-static_cast<double>(i) / 40) * normal(random);
      }
      samples.push_back(static_cast<float>(sample));
    }
  }
  samples.resize(num_samples);
  return samples;
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

TEST_F(Mp3EncoderTest, JointsAddNothingToWhatASingleEncoderMakes) {
  const std::vector<float> sound = restless(3 * piece_samples + 100'001);
  for (const Mp3Settings& settings : {cbr(64), Mp3Settings{.vbr_quality = 4}}) {
    const std::string pieces = encode(settings, sound);
    const std::string serial = encode_serially(settings, sound);
    ASSERT_EQ(pieces.size(), serial.size());
    const std::vector<float> decoded = tests::ffmpeg_samples(written(pieces));
    const std::vector<float> expected = tests::ffmpeg_samples(written(serial));
    ASSERT_EQ(decoded.size(), sound.size());
    ASSERT_EQ(expected.size(), sound.size());
    EXPECT_GT(snr_db(expected, decoded, 0, sound.size()), 74);
    constexpr std::size_t half_window = 1200; // 50 ms: a click would be all of it
    for (const std::size_t joint : {piece_samples, 2 * piece_samples, 3 * piece_samples}) {
      EXPECT_GT(snr_db(expected, decoded, joint - half_window, joint + half_window), 74) << joint;
    }
  }
}

TEST_F(Mp3EncoderTest, LengthsAroundAJointAreKept) {
  for (const std::size_t length : {piece_samples - 1, piece_samples, piece_samples + 1, piece_samples + 1151,
                                   piece_samples + 1152, piece_samples + 1153, 2 * piece_samples + 577}) {
    const auto file = written(encode({.quality = 9}, tests::voice_like(length)));
    EXPECT_EQ(tests::ffmpeg_samples(file).size(), length);
    EXPECT_EQ(read_audio_file(file, 100).samples.size(), length);
  }
}

TEST_F(Mp3EncoderTest, TheHeaderFrameSaysWhatLamesOwnSays) {
  const std::vector<float> sound = restless(piece_samples + 30'000);
  for (const Mp3Settings& settings : {cbr(64), cbr(96), Mp3Settings{.vbr_quality = 2}}) {
    const std::string ours = encode(settings, sound);
    const std::string lames = encode_serially(settings, sound);
    const auto field = [&](const std::string& name, std::size_t at, std::size_t length) {
      EXPECT_EQ(ours.substr(at, length), lames.substr(at, length)) << name;
    };
    const std::size_t xing = 4 + 9;
    const std::size_t extension = xing + 120;
    field("frame header", 0, 4);
    field("Xing or Info, flags, frames, bytes", xing, 4 + 4 + 4 + 4);
    field("quality, version, method, lowpass", extension - 4, 4 + 9 + 1 + 1);
    field("delay and padding", extension + 21, 3);
    field("length of the music and its checksum", extension + 28, 4 + 2);
  }
}

TEST_F(Mp3EncoderTest, TheHeaderFrameOfLowBitRatesHasTheChecksumsThatStrictReadersVerify) {
  const std::string mp3 = encode(cbr(56), tests::voice_like(30'000));
  const auto bytes = std::as_bytes(std::span(mp3));
  const auto stored = [&](std::size_t at) {
    return std::to_integer<int>(bytes[at]) << 8 | std::to_integer<int>(bytes[at + 1]);
  };
  EXPECT_EQ(crc16(0, bytes.first(13 + 120 + 34)), stored(13 + 120 + 34));
  EXPECT_EQ(crc16(0, bytes.subspan(192)), stored(13 + 120 + 32));
}

TEST_F(Mp3EncoderTest, TheSeekTableLeadsToTheRightSecond) {
  std::vector<float> sound = restless(2 * piece_samples); // at first silence, which VBR spends few bytes on
  std::fill_n(sound.begin(), piece_samples, 0.0F);
  for (const Mp3Settings& settings : {cbr(64), Mp3Settings{.vbr_quality = 4}}) {
    const std::string mp3 = encode(settings, sound);
    const std::vector<std::size_t> positions = frame_positions(mp3);
    const std::size_t num_frames = positions.size() - 2; // without the header's and the end
    for (std::size_t percent = 0; percent < 100; ++percent) {
      const auto part = static_cast<unsigned char>(mp3[13 + 16 + percent]);
      const std::size_t frame = 1 + num_frames * percent / 100;
      EXPECT_LE(part * mp3.size() / 256, positions[frame]) << percent;
      EXPECT_GT((part + 1) * mp3.size() / 256 + 1, positions[frame]) << percent;
    }
  }
}

TEST_F(Mp3EncoderTest, ASeekTableOfMillionsOfFramesStaysSmallAndRight) {
  constexpr std::size_t num_frames = 3'000'000; // 20 hours
  SeekTable table;
  std::size_t total = 192;
  std::vector<std::size_t> positions;
  for (std::size_t i = 0; i < num_frames; ++i) {
    positions.push_back(total);
    const std::size_t bytes = i < num_frames / 2 ? 24 : 240;
    table.add_frame(bytes);
    total += bytes;
  }
  const auto parts = table.table_of_contents(192);
  for (std::size_t percent = 0; percent < 100; ++percent) {
    const double exact =
        256.0 * static_cast<double>(positions[num_frames * percent / 100]) / static_cast<double>(total);
    EXPECT_NEAR(parts[percent], exact, 1.2) << percent;
  }
}

TEST_F(Mp3EncoderTest, TheBytesDependNeitherOnThreadsNorOnHowTheStreamIsCut) {
  const std::vector<float> sound = restless(2 * piece_samples + 60'000);
  for (const Mp3Settings& settings : {cbr(32), cbr(64), Mp3Settings{.vbr_quality = 4}}) {
    const std::string once = encode(settings, sound);
    EXPECT_TRUE(encode(settings, sound, 5000, 1) == once);
    EXPECT_TRUE(encode(settings, sound, 5000, 5) == once);
    EXPECT_TRUE(encode(settings, sound, 999, 3) == once);
    EXPECT_TRUE(encode(settings, sound, sound.size(), 3) == once);
  }
}

TEST_F(Mp3EncoderTest, GainAndLimiterKnowNoJoints) {
  const LevelSettings levels{.gain_db = 9, .ceiling_dbtp = -6};
  const std::vector<float> sound = restless(2 * piece_samples + 60'000);
  const std::string once = encode(cbr(64), sound, 5000, 3, levels);
  EXPECT_TRUE(encode(cbr(64), sound, 777, 1, levels) == once);
  std::vector<float> leveled = sound;
  adjust(leveled, levels, 24'000);
  ASSERT_NE(leveled, sound);
  EXPECT_TRUE(encode(cbr(64), leveled) == once) << "as if the whole had been leveled first";
}

TEST_F(Mp3EncoderTest, MeasuresWhatItEncodesAsIfInOnePiece) {
  const std::vector<float> sound = restless(2 * piece_samples + 60'001);
  WorkerPool pool(2);
  tests::MemorySink sink;
  Mp3Encoder encoder(cbr(64), {}, sink, pool);
  encoder.write(sound);
  encoder.finish();
  const Levels whole = Levels::of(sound, 0, sound.size(), 24'000);
  EXPECT_NEAR(encoder.levels().loudness_lufs(), whole.loudness_lufs(), 0.001);
  EXPECT_NEAR(encoder.levels().rms_dbfs(), whole.rms_dbfs(), 1e-9);
  EXPECT_DOUBLE_EQ(encoder.levels().peak(), whole.peak());
  EXPECT_NEAR(encoder.levels().true_peak_dbtp(), whole.true_peak_dbtp(), 0.1); // a joint may hide half a peak
}

TEST_F(Mp3EncoderTest, BooksThatShareThePoolDoNotMix) {
  const std::vector<float> a = restless(piece_samples + 60'000);
  const std::vector<float> b = tests::voice_like(piece_samples + 90'000);
  WorkerPool pool(2);
  tests::MemorySink sink_a;
  tests::MemorySink sink_b;
  Mp3Encoder encoder_a(cbr(64), {}, sink_a, pool);
  Mp3Encoder encoder_b(cbr(32), {}, sink_b, pool);
  encoder_a.write(a);
  encoder_b.write(b);
  encoder_b.finish();
  encoder_a.finish();
  EXPECT_TRUE(sink_a.text() == encode(cbr(64), a));
  EXPECT_TRUE(sink_b.text() == encode(cbr(32), b));
  EXPECT_GT(encoder_a.cpu_seconds(), 0);
}

TEST_F(Mp3EncoderTest, AnAbandonedEncoderLeavesThePoolToOthers) {
  const std::vector<float> sound = tests::voice_like(2 * piece_samples);
  WorkerPool pool(1);
  tests::MemorySink nowhere;
  std::make_unique<Mp3Encoder>(cbr(64), LevelSettings(), nowhere, pool)->write(sound);
  tests::MemorySink sink;
  Mp3Encoder encoder(cbr(64), {}, sink, pool);
  encoder.write(sound);
  encoder.finish();
  EXPECT_TRUE(sink.text() == encode(cbr(64), sound));
}

TEST_F(Mp3EncoderTest, OtherSampleRatesLastAsLongAndSoundTheSame) {
  const std::vector<float> sound = restless(2 * piece_samples + 60'001);
  for (const int rate : {44'100, 48'000}) {
    for (const Mp3Settings& settings :
         {Mp3Settings{.sample_rate = rate, .bitrate_kbps = 128}, Mp3Settings{.sample_rate = rate, .vbr_quality = 2}}) {
      const std::string mp3 = encode(settings, sound);
      EXPECT_TRUE(encode(settings, sound, 777, 1) == mp3) << "whatever the threads";
      const auto file = written(mp3);
      const AudioClip clip = read_audio_file(file, 100);
      EXPECT_EQ(clip.sample_rate, rate);
      const auto expected = static_cast<std::size_t>(std::ceil(static_cast<double>(sound.size()) * rate / 24'000));
      EXPECT_EQ(clip.samples.size(), expected);
      const std::vector<float> decoded = tests::ffmpeg_samples(file);
      ASSERT_EQ(decoded.size(), expected);
      const std::vector<float> ideal = resample(sound, 24'000, rate);
      EXPECT_GT(snr_db(ideal, decoded, 0, expected), 15);
      // no click, no shift at any joint of pieces: as like the original there as everywhere
      for (std::size_t at = 0; at + 4800 < expected; at += 4800) {
        const std::vector<float> a(ideal.begin() + static_cast<std::ptrdiff_t>(at),
                                   ideal.begin() + static_cast<std::ptrdiff_t>(at + 4800));
        const std::vector<float> b(decoded.begin() + static_cast<std::ptrdiff_t>(at),
                                   decoded.begin() + static_cast<std::ptrdiff_t>(at + 4800));
        if (Levels::of(a, 0, a.size(), rate).rms_dbfs() > -50) {
          ASSERT_GT(tests::correlation(a, b), 0.8) << at;
        }
      }
    }
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
  EXPECT_TRUE(throws_with<PermanentError>([] { check({.sample_rate = 22050}); },
                                          "22050 is not supported; valid: 24000 44100 48000"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check({.sample_rate = 44100, .bitrate_kbps = 144}); },
                                          "144 does not exist at 44100 Hz; valid: 32 40"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check({.quality = 10}); }, "quality 10 is not in 0 … 9"));
  EXPECT_TRUE(throws_with<PermanentError>([] { check({.vbr_quality = -1}); }, "vbr_quality -1 is not in 0 … 9"));
}

TEST_F(Mp3EncoderTest, RefusesSamplesThatAreNotFinite) {
  WorkerPool pool(1);
  tests::MemorySink sink;
  Mp3Encoder encoder({}, {}, sink, pool);
  encoder.write(std::vector<float>(20'000));
  std::vector<float> sound(10'000);
  sound[9'999] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(throws_with<PermanentError>([&] { encoder.write(sound); }, "sample 29999 is not finite"));
}

} // namespace
} // namespace audiobookd::storage
