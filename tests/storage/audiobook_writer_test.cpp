// A whole file: what ffprobe and a decoder see is what was written, in memory that does not grow.
#include "storage/audiobook_writer.h"
#include "storage/errors.h"
#include "storage/publisher.h"
#include "storage/wav_file.h"
#include "tests/storage/ffmpeg.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

#include <cmath>
#include <limits>

namespace audiobookd::storage {
namespace {

using tests::throws_with;

WorkerPool& pool() {
  static WorkerPool threads(2);
  return threads;
}

AudiobookOptions three_chapters() {
  AudiobookOptions options;
  options.tags.title = "Moby-Dick";
  options.tags.author = "Herman Melville";
  options.tags.disclosure = synthetic_narration("chatterbox-english", "default");
  options.chapter_titles = {"Loomings", "The Carpet-Bag", "The Spouter-Inn"};
  return options;
}

/// Three chapters of 2.0, 1.5 and 1.0 s and pauses of 0.25 s after each.
AudiobookSummary write_book(ByteSink& sink, const AudiobookOptions& options) {
  AudiobookWriter writer(sink, pool(), options);
  for (const std::size_t samples : {48'000, 36'000, 24'000}) {
    writer.begin_chapter();
    writer.write(tests::voice_like(samples));
    EXPECT_EQ(writer.pause(0.25), 6'000U);
  }
  return writer.finish(options.tags);
}

/// A field of this process in /proc/self/status, in KiB.
long status_kib(const std::string& field) {
  const std::string status = tests::read_file("/proc/self/status");
  return std::stol(status.substr(status.find(field + ":") + field.size() + 1));
}

class AudiobookWriterTest : public testing::Test {
protected:
  tests::ScratchFolder folder_;
  std::filesystem::path target_ = folder_ / "book.mp3";
};

TEST_F(AudiobookWriterTest, LastsExactlyAsLongAsUtterancesAndPauses) {
  const auto publication = FilePublication::at(target_);
  const AudiobookSummary summary = write_book(*publication, three_chapters());
  ASSERT_EQ(publication->commit(IfExists::fail, {}), PublishResult::published);
  EXPECT_EQ(summary.samples, 126'000U);
  EXPECT_DOUBLE_EQ(summary.seconds, 5.25);
  EXPECT_EQ(summary.bytes, std::filesystem::file_size(target_));
  EXPECT_EQ(read_audio_file(target_, 60).samples.size(), 126'000U);
  const std::vector<float> decoded = tests::ffmpeg_samples(target_);
  ASSERT_EQ(decoded.size(), 126'000U);
  std::vector<float> written;
  for (const std::size_t samples : {48'000, 36'000, 24'000}) {
    const std::vector<float> chapter = tests::voice_like(samples);
    written.insert(written.end(), chapter.begin(), chapter.end());
    written.resize(written.size() + 6'000);
  }
  EXPECT_GT(tests::correlation(decoded, written), 0.999);
}

TEST_F(AudiobookWriterTest, ShowsTagsAndChaptersToFfprobe) {
  tests::MemorySink sink;
  const AudiobookSummary summary = write_book(sink, three_chapters());
  tests::write_file(target_, sink.text());
  const std::string seen = tests::ffprobe(target_);
  const auto contains = [&](const std::string& part) {
    EXPECT_NE(seen.find(part), std::string::npos) << part << " is missing in " << seen;
  };
  contains(R"("title": "Moby-Dick")");
  contains(R"("artist": "Herman Melville")");
  contains(R"("genre": "Audiobook")");
  contains(R"("DISCLOSURE": "The narration is synthetic speech: model chatterbox-english, voice default.")");
  contains(R"("comment": "The narration is synthetic speech: model chatterbox-english, voice default.")");
  contains(R"("sample_rate": "24000")");
  contains(R"("channels": 1)");
  const char* times[][3] = {{"Loomings", "0.000000", "2.250000"},
                            {"The Carpet-Bag", "2.250000", "4.000000"},
                            {"The Spouter-Inn", "4.000000", "5.250000"}};
  for (const auto& [title, start, end] : times) {
    contains(std::string(R"("title": ")") + title);
    contains(std::string(R"("start_time": ")") + start);
    contains(std::string(R"("end_time": ")") + end);
  }
  ASSERT_EQ(summary.chapters.size(), 3U);
  EXPECT_EQ(summary.chapters[1].start_ms, 2'250U);
  EXPECT_EQ(summary.chapters[2].end_ms, 5'250U);
  const std::size_t duration = seen.find(R"("duration": ")");
  ASSERT_NE(duration, std::string::npos);
  EXPECT_NEAR(std::stod(seen.substr(duration + 13)), 5.25, 0.08); // ffprobe counts whole frames
}

TEST_F(AudiobookWriterTest, GivesTheSameBytesForTheSameSequence) {
  tests::MemorySink first;
  tests::MemorySink second;
  write_book(first, three_chapters());
  write_book(second, three_chapters());
  EXPECT_EQ(first.text(), second.text());
}

TEST_F(AudiobookWriterTest, TakesFinalTagsAtTheEndWithinTheRoomReserved) {
  AudiobookOptions options;
  options.tags.title = "Short";
  tests::MemorySink sink;
  AudiobookWriter writer(sink, pool(), options);
  writer.write(tests::voice_like(1000));
  const std::uint64_t before = sink.size();
  Tags tags = options.tags;
  tags.comment = "2 utterances kept as best effort";
  writer.finish(tags);
  EXPECT_GE(sink.size(), before);
  tests::write_file(target_, sink.text());
  EXPECT_NE(tests::ffprobe(target_).find("2 utterances kept as best effort"), std::string::npos);

  tests::MemorySink other;
  AudiobookWriter too_much(other, pool(), options);
  tags.comment = std::string(5000, 'x');
  EXPECT_TRUE(throws_with<PermanentError>([&] { too_much.finish(tags); }, "the tags need"));
}

TEST_F(AudiobookWriterTest, MeasuresPeakAndRms) {
  tests::MemorySink sink;
  AudiobookWriter writer(sink, pool(), {});
  std::vector<float> tone(24'000);
  for (std::size_t i = 0; i < tone.size(); ++i) {
    tone[i] = static_cast<float>(0.5 * std::sin(2 * std::numbers::pi * 1000 * static_cast<double>(i) / 24'000));
  }
  writer.write(tone);
  writer.pause(1);
  const AudiobookSummary summary = writer.finish({});
  EXPECT_NEAR(summary.levels.peak(), 0.5, 1e-6);
  EXPECT_NEAR(summary.levels.rms_dbfs(), 10 * std::log10(0.5 * 0.5 / 2 / 2), 1e-3);
  tests::MemorySink silent;
  EXPECT_EQ(AudiobookWriter(silent, pool(), {}).finish({}).levels.rms_dbfs(), -std::numeric_limits<double>::infinity());
}

TEST_F(AudiobookWriterTest, RefusesWrongCalls) {
  tests::MemorySink sink;
  AudiobookWriter writer(sink, pool(), three_chapters());
  writer.begin_chapter();
  EXPECT_TRUE(throws_with<std::logic_error>([&] { writer.finish({}); }, "only 1 of 3 chapters"));
  writer.begin_chapter();
  writer.begin_chapter();
  EXPECT_THROW(writer.begin_chapter(), std::logic_error);
  for (const double seconds : {-0.1, 3601.0, std::nan("")}) {
    EXPECT_THROW(writer.pause(seconds), std::invalid_argument) << seconds;
  }
}

TEST_F(AudiobookWriterTest, NeedsNoMoreMemoryForALongBook) {
  const std::vector<float> minute = tests::voice_like(60 * 24'000);
  const auto publication = FilePublication::at(target_);
  AudiobookOptions options;
  options.format = Mp3Settings{.quality = 9}; // the fastest: memory is measured, not sound
  AudiobookWriter writer(*publication, pool(), options);
  long after_ten_minutes = 0;
  for (int i = 0; i < 60; ++i) {
    writer.write(minute);
    writer.pause(0.6);
    if (i == 9) {
      after_ten_minutes = status_kib("VmHWM");
    }
  }
  constexpr long piece_kib = 30 * 24 * 4; // of 30 s; how many of them are alive varies
  EXPECT_LT(status_kib("VmHWM") - after_ten_minutes, 3 * piece_kib);
  EXPECT_EQ(writer.finish({}).samples, 60ULL * (60 * 24'000 + 14'400));
}

} // namespace
} // namespace audiobookd::storage
