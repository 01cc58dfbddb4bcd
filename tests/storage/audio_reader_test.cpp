// The corpus that the decoder's fuzz target starts from, replayed: nothing in it may crash or pass a limit.
#include "storage/audio_reader.h"
#include "storage/errors.h"
#include "storage/file_descriptor.h"
#include "tests/storage/files.h"

#include <fcntl.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size); // NOLINT: libFuzzer's name

namespace audiobookd::storage {
namespace {

const std::filesystem::path corpus = std::filesystem::path(AUDIOBOOKD_SOURCE_DIR) / "tests/data/clips";

TEST(AudioReaderTest, ReplaysTheFuzzCorpus) {
  int replayed = 0;
  for (const std::string& name : tests::list_names(corpus)) {
    SCOPED_TRACE(name);
    const std::string bytes = tests::read_file(corpus / name);
    EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()), 0);
    ++replayed;
  }
  EXPECT_GE(replayed, 8);
}

TEST(AudioReaderTest, DecodesTheCorpusFilesThatAreAudio) {
  for (const char* name : {"tone.wav", "tone.aiff", "tone.flac", "tone.ogg", "tone.opus", "tone.mp3"}) {
    SCOPED_TRACE(name);
    const FileDescriptor file(::open((corpus / name).c_str(), O_RDONLY | O_CLOEXEC));
    AudioReader reader(file.get(), name, {});
    EXPECT_EQ(reader.channels(), 2);
    std::size_t samples = 0;
    for (std::span<const float> block = reader.read(); !block.empty(); block = reader.read()) {
      samples += block.size();
    }
    EXPECT_NEAR(static_cast<double>(samples) / 2 / reader.sample_rate(), 0.05, 0.03);
  }
}

} // namespace
} // namespace audiobookd::storage
