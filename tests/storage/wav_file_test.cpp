// Single utterances as WAV come back bit for bit, and hostile clips are refused.
#include "storage/errors.h"
#include "storage/wav_file.h"
#include "tests/storage/files.h"
#include "tests/storage/memory_sink.h"

namespace audiobookd::storage {
namespace {

using tests::throws_with;

TEST(WavFileTest, ReturnsEverySampleBitForBitAndEqualBytes) {
  const tests::ScratchFolder folder;
  const std::vector<float> samples = tests::voice_like(10'001);
  write_wav(folder / "a.wav", 24000, samples);
  write_wav(folder / "b.wav", 24000, samples);
  const AudioClip clip = read_audio_file(folder / "a.wav", 1);
  EXPECT_EQ(clip.sample_rate, 24000);
  EXPECT_EQ(clip.channels, 1);
  EXPECT_EQ(clip.samples, samples);
  EXPECT_EQ(tests::read_file(folder / "a.wav"), tests::read_file(folder / "b.wav"));
}

TEST(WavFileTest, SaysWhyAClipIsRefused) {
  const tests::ScratchFolder folder;
  write_wav(folder / "long.wav", 24000, std::vector<float>(48'001));
  tests::write_file(folder / "text.wav", "this is no audio");
  const auto reading = [&](const char* name) { return [&folder, name] { (void)read_audio_file(folder / name, 2); }; };
  EXPECT_TRUE(throws_with<PermanentError>(reading("long.wav"), "at most 2.0"));
  EXPECT_TRUE(throws_with<PermanentError>(reading("text.wav"), "no audio file"));
  EXPECT_TRUE(throws_with<PermanentError>(reading("none.wav"), "ENOENT"));
  EXPECT_TRUE(throws_with<PermanentError>([&] { write_wav(folder / "no/a.wav", 24000, {}); }, "cannot write"));
}

} // namespace
} // namespace audiobookd::storage
