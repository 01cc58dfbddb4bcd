// Books whose sound is known beforehand, as the fake engine reads them. Stateless.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace audiobookd::tests {

/// Silence between paragraphs, as Workplace configures it.
constexpr double paragraph_pause_s = 0.1;

/// Paragraph @p i of the book of @p seed: a sentence that is an utterance of its own, unlike all others. Both ≥ 0.
[[nodiscard]] std::string paragraph(int seed, int i);
/// What all paragraphs of that book, and of no other, begin with.
[[nodiscard]] std::string beginning_of(int seed);
/// @p paragraphs of them.
[[nodiscard]] std::string book_text(int seed, int paragraphs);
/// How many samples the MP3 of that book must have.
[[nodiscard]] std::size_t book_samples(int seed, int paragraphs);
/// The length of an MP3 as an independent decoder finds it. Throws when it finds a mistake.
[[nodiscard]] std::size_t decoded_samples(const std::filesystem::path& mp3);

} // namespace audiobookd::tests
