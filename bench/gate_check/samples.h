// Utterances that gates are measured on: what the engine made of a text, kept in files so that it is rendered once and
// judged as often as bounds are tried.
//
// Of a sample there are NAME.json and NAME.f32 (samples, little-endian); see read_sample(). One thread at a time.
#pragma once

#include "engine/alignment.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace audiobookd::bench {

/// What the model was given in place of the text that it should have read.
enum class Planted { nothing, skipped_words, doubled_words };

struct Sample {
  std::string name;
  Planted planted = Planted::nothing;
  std::string text;         ///< that should be heard
  std::string rendered;     ///< that the model read
  int words = 0;            ///< skipped or doubled
  int begin = 0;            ///< of these in the text's characters
  int length = 0;           ///< of these, in characters, with the space that goes with them
  int predicted_tokens = 0; ///< of the text that should be heard
  bool hit_token_limit = false;
  std::vector<std::int32_t> tokens;
  engine::Alignment alignment; ///< with the rendered text, of all heads of the model
  int sample_rate = 24000;
  std::vector<float> samples;
};

/// @throws std::runtime_error naming the file.
void write_sample(const std::filesystem::path& folder, const Sample& sample);
[[nodiscard]] Sample read_sample(const std::filesystem::path& folder, const std::string& name);
/// Names of the samples in @p folder, sorted.
[[nodiscard]] std::vector<std::string> sample_names(const std::filesystem::path& folder);

/// What the heads would have attended to, had the model read @p sample.text and skipped or doubled the words by itself:
/// positions are those in the text that should be heard. Suits models whose text tokens are characters.
[[nodiscard]] engine::Alignment alignment_with_text(const Sample& sample);

} // namespace audiobookd::bench
