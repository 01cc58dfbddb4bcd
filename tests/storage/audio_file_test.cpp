// FLAC and Opus files, and what all formats have in common, read back by ffmpeg and libsndfile.
#include "storage/audiobook_writer.h"
#include "storage/errors.h"
#include "storage/resampler.h"
#include "tests/storage/ffmpeg.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <cmath>
#include <limits>
#include <sndfile.h>

namespace audiobookd::storage {
namespace {

using tests::throws_with;

std::string name_of(const AudioFormat& format) {
  std::string name(extension(format));
  if (const auto* flac = std::get_if<FlacSettings>(&format)) {
    name += std::to_string(flac->sample_rate);
  }
  return name;
}

std::string write(const AudioFormat& format, std::span<const float> samples, std::size_t step = 5000,
                  int num_threads = 2, const LevelSettings& levels = {}) {
  WorkerPool pool(num_threads);
  tests::MemorySink sink;
  AudiobookWriter writer(sink, pool, {.format = format, .levels = levels, .tags = {}, .chapter_titles = {}});
  for (std::size_t start = 0; start < samples.size(); start += step) {
    writer.write(samples.subspan(start, std::min(step, samples.size() - start)));
  }
  (void)writer.finish({});
  return sink.text();
}

/// What libsndfile, the second reader, counts, in samples of the source. It reads Opus at the rate of the encoder's
/// input.
double source_samples_of(const std::filesystem::path& file) {
  SF_INFO info = {};
  SNDFILE* sound = sf_open(file.c_str(), SFM_READ, &info);
  EXPECT_NE(sound, nullptr) << file << ": " << sf_strerror(nullptr);
  sf_close(sound);
  return static_cast<double>(info.frames) * 24'000 / info.samplerate;
}

double snr_db(std::span<const float> sound, std::span<const float> other) {
  double signal = 1e-30;
  double noise = 1e-30;
  for (std::size_t i = 0; i < sound.size(); ++i) {
    signal += static_cast<double>(sound[i]) * sound[i];
    noise += std::pow(static_cast<double>(sound[i]) - other[i], 2);
  }
  return 10 * std::log10(signal / noise);
}

class AudioFileTest : public testing::TestWithParam<AudioFormat> {
protected:
  [[nodiscard]] std::filesystem::path save(const std::string& bytes) const {
    const auto file = folder_ / ("x." + std::string(extension(GetParam())));
    tests::write_file(file, bytes);
    return file;
  }
  [[nodiscard]] int rate() const {
    const auto* flac = std::get_if<FlacSettings>(&GetParam());
    return flac != nullptr ? flac->sample_rate : std::holds_alternative<OpusSettings>(GetParam()) ? 48'000 : 24'000;
  }

  tests::ScratchFolder folder_;
};

TEST_P(AudioFileTest, LastsExactlyAsLongAsWhatWasWritten) {
  // Around the edges of packets and of pieces of 30 s, and of what the next piece wants to see of the one before.
  for (const std::size_t count : {479, 480, 481, 720'000, 744'481}) {
    const auto file = save(write(GetParam(), tests::voice_like(count)));
    const auto expected =
        static_cast<std::size_t>(std::ceil(static_cast<double>(count) * static_cast<double>(rate()) / 24'000));
    EXPECT_EQ(tests::ffmpeg_samples(file).size(), expected) << count;
    EXPECT_NEAR(source_samples_of(file), static_cast<double>(count), 0.6) << count;
  }
}

TEST_P(AudioFileTest, SoundsLikeWhatWasWrittenAlsoWherePiecesMeet) {
  const std::vector<float> sound = tests::voice_like(1'500'000);
  const auto file = save(write(GetParam(), sound));
  const std::vector<float> decoded = tests::ffmpeg_samples(file);
  const std::vector<float> wanted = resample(sound, 24'000, rate());
  ASSERT_EQ(decoded.size(), wanted.size());
  const double whole = snr_db(wanted, decoded);
  EXPECT_GT(whole, std::holds_alternative<FlacSettings>(GetParam()) ? 70 : 8);
  const auto second = static_cast<std::size_t>(rate());
  for (const std::size_t joint : {30 * second, 60 * second}) {
    const auto around = [&](const std::vector<float>& samples) {
      return std::span(samples).subspan(joint - second / 10, second / 5);
    };
    EXPECT_GT(snr_db(around(wanted), around(decoded)), whole - 3) << "at " << joint;
  }
}

TEST_P(AudioFileTest, BytesDependOnNeitherThreadsNorCalls) {
  const std::vector<float> sound = tests::voice_like(2'000'000);
  const LevelSettings levels{.gain_db = 6, .ceiling_dbtp = -3};
  const std::string once = write(GetParam(), sound, 5000, 2, levels);
  EXPECT_TRUE(write(GetParam(), sound, 5000, 2, levels) == once);
  EXPECT_TRUE(write(GetParam(), sound, 1'999'999, 1, levels) == once);
  EXPECT_TRUE(write(GetParam(), sound, 777, 5, levels) == once);
}

TEST_P(AudioFileTest, LevelsAreThoseOfTheWhole) {
  WorkerPool pool(2);
  tests::MemorySink sink;
  AudiobookWriter writer(
      sink, pool,
      {.format = GetParam(), .levels = {.gain_db = 12, .ceiling_dbtp = -3}, .tags = {}, .chapter_titles = {}});
  std::vector<float> sound = tests::voice_like(1'500'000);
  writer.write(sound);
  const AudiobookSummary summary = writer.finish({});
  adjust(sound, {.gain_db = 12, .ceiling_dbtp = -3}, 24'000);
  const Levels whole = Levels::of(sound, 0, sound.size(), 24'000);
  EXPECT_NEAR(summary.levels.loudness_lufs(), whole.loudness_lufs(), 1e-6);
  EXPECT_NEAR(summary.levels.rms_dbfs(), whole.rms_dbfs(), 1e-6);
  EXPECT_LE(summary.levels.true_peak_dbtp(), -2.9);
  EXPECT_GT(summary.encode_seconds, 0);
}

TEST_P(AudioFileTest, ShowsTagsChaptersAndCoverToOtherPrograms) {
  tests::output_of("ffmpeg -v error -f lavfi -i color=c=teal:s=64x96 -frames:v 1 '" + (folder_ / "cover.png").string() +
                   "'");
  Tags tags;
  tags.title = "Moby-Dick; или Белый кит";
  tags.author = "Herman Melville";
  tags.album = "Moby-Dick";
  tags.narrator = "Ann";
  tags.track = "2/12";
  tags.series = "Sea Stories";
  tags.year = "1851";
  tags.disclosure = synthetic_narration("chatterbox-english", "Ann");
  tags.cover = CoverPicture{tests::read_file(folder_ / "cover.png"), "image/png"};
  WorkerPool pool(2);
  tests::MemorySink sink;
  AudiobookWriter writer(
      sink, pool, {.format = GetParam(), .levels = {}, .tags = tags, .chapter_titles = {"Loomings", "The Carpet-Bag"}});
  for (const std::size_t samples : {48'000, 36'012}) {
    writer.begin_chapter();
    writer.write(tests::voice_like(samples));
  }
  const AudiobookSummary summary = writer.finish(tags);
  EXPECT_EQ(summary.bytes, sink.size());
  const auto file = save(sink.text());
  const std::string seen = tests::ffprobe(file);
  for (const std::string part :
       {R"("Moby-Dick; или Белый кит")", R"("Herman Melville")", R"("Ann")", R"("Sea Stories")", R"("1851")",
        "The narration is synthetic speech", R"("track": "2)", R"("Loomings")", R"("The Carpet-Bag")",
        R"("start_time": "2.000000")", R"("codec_name": "png")", R"("width": 64)", R"("attached_pic": 1)"}) {
    EXPECT_NE(seen.find(part), std::string::npos) << part << " is missing in " << seen;
  }
  tests::output_of("ffmpeg -v error -i '" + file.string() + "' -map 0:v -c copy '" + (folder_ / "back.png").string() +
                   "'");
  EXPECT_TRUE(tests::read_file(folder_ / "back.png") == tags.cover->bytes);
}

TEST_P(AudioFileTest, ASampleThatIsNoNumberIsAnError) {
  WorkerPool pool(1);
  tests::MemorySink sink;
  AudiobookWriter writer(sink, pool, {.format = GetParam(), .levels = {}, .tags = {}, .chapter_titles = {}});
  std::vector<float> sound(30'000);
  sound[29'999] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(throws_with<PermanentError>([&] { writer.write(sound); }, "sample 29999 is not finite"));
}

TEST_P(AudioFileTest, TagsThatGrowTooMuchAreAnErrorThatSaysSo) {
  WorkerPool pool(1);
  tests::MemorySink sink;
  AudiobookWriter writer(sink, pool, {.format = GetParam(), .levels = {}, .tags = {}, .chapter_titles = {}});
  Tags tags;
  tags.comment = std::string(4000, 'x');
  EXPECT_NO_THROW((void)writer.finish(tags));
  tests::MemorySink other;
  AudiobookWriter too_much(other, pool, {.format = GetParam(), .levels = {}, .tags = {}, .chapter_titles = {}});
  tags.comment = std::string(5000, 'x');
  EXPECT_TRUE(throws_with<PermanentError>([&] { (void)too_much.finish(tags); }, "shorten title, comment"));
}

INSTANTIATE_TEST_SUITE_P(Formats, AudioFileTest,
                         testing::Values(AudioFormat(Mp3Settings()), AudioFormat(FlacSettings()),
                                         AudioFormat(FlacSettings{.sample_rate = 44'100}),
                                         AudioFormat(FlacSettings{.sample_rate = 48'000}), AudioFormat(OpusSettings())),
                         [](const auto& info) { return name_of(info.param); });

TEST(AudioFormatTest, BadSettingsNameFieldValueAndWhatIsValid) {
  const auto says = [](const AudioFormat& format, const std::string& what) {
    return throws_with<PermanentError>([&] { check(format); }, what);
  };
  EXPECT_TRUE(says(FlacSettings{.sample_rate = 22'050}, "flac sample_rate 22050 is not supported; valid: 24000 44100"));
  EXPECT_TRUE(says(FlacSettings{.compression = 9}, "flac compression 9 is not in 0 … 8"));
  EXPECT_TRUE(says(OpusSettings{.bitrate_kbps = 5}, "opus bitrate_kbps 5 is not in 6 … 256"));
  EXPECT_TRUE(says(Mp3Settings{.id3v2_version = 2}, "mp3 id3v2_version 2 is not supported; valid: 3 4"));
}

TEST(AudioFormatTest, FilesOfNothingAndOfASingleSampleAreWhole) {
  const tests::ScratchFolder folder;
  for (const AudioFormat& format : {AudioFormat(FlacSettings()), AudioFormat(OpusSettings())}) {
    for (const std::size_t count : {0, 1}) {
      const auto file = folder / ("x." + std::string(extension(format)));
      tests::write_file(file, write(format, tests::voice_like(count)));
      EXPECT_NEAR(source_samples_of(file), static_cast<double>(count), 1) << extension(format);
    }
  }
}

TEST(AudioFormatTest, OpusHasAboutTheBitRateThatWasAskedFor) {
  const std::vector<float> sound = tests::voice_like(2'000'000);
  for (const int kbps : {16, 32, 64}) {
    const double bits = 8.0 * static_cast<double>(write(OpusSettings{.bitrate_kbps = kbps}, sound).size() - 4096);
    EXPECT_NEAR(bits / (2'000'000.0 / 24'000) / 1000, kbps, 0.25 * kbps);
  }
}

} // namespace
} // namespace audiobookd::storage
