#include "tests/faults/books.h"

#include "tests/faults/fake_audio.h"
#include "tests/storage/ffmpeg.h"

#include <cmath>

namespace audiobookd::tests {
namespace {

/// A word for a number: digits would be read aloud.
std::string word(int number) {
  std::string letters(1, 'b');
  for (; number > 0; number /= 10) {
    letters += "aeiouydlnr"[number % 10];
  }
  return letters;
}

} // namespace

std::string beginning_of(int seed) { return "In book " + word(seed) + " the keeper"; }

std::string paragraph(int seed, int i) { return beginning_of(seed) + " climbed to lamp " + word(i) + " again."; }

std::string book_text(int seed, int paragraphs) {
  std::string text;
  for (int i = 0; i < paragraphs; ++i) {
    text += paragraph(seed, i) + "\n\n";
  }
  return text;
}

std::size_t book_samples(int seed, int paragraphs) {
  const auto pause = static_cast<std::size_t>(std::lround(paragraph_pause_s * fake_sample_rate));
  std::size_t samples = static_cast<std::size_t>(paragraphs - 1) * pause;
  for (int i = 0; i < paragraphs; ++i) {
    samples += fake_samples(paragraph(seed, i));
  }
  return samples;
}

std::size_t decoded_samples(const std::filesystem::path& mp3) { return ffmpeg_samples(mp3).size(); }

} // namespace audiobookd::tests
