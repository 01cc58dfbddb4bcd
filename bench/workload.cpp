#include "bench/workload.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

namespace audiobookd::bench {
namespace {

constexpr double mean_tokens = 388;
constexpr double tokens_deviation = 90;
constexpr int text_characters = 250;          // what 388 tokens take to say
constexpr double tokens_per_character = 1.55; // Engine::predict_tokens()
constexpr int longest_book_tokens = 390;      // jobs::ChunkerOptions::max_tokens: more would be cut in two

std::string random_word(std::mt19937& random) {
  static constexpr std::array words = {"the",  "keeper", "harbour", "light",  "turned", "slowly",  "over",    "water",
                                       "and",  "nobody", "counted", "ships",  "before", "morning", "because", "rain",
                                       "fell", "on",     "windows", "facing", "north",  "with",    "little",  "sound"};
  return words[std::uniform_int_distribution<std::size_t>(0, words.size() - 1)(random)];
}

std::string random_text(std::mt19937& random) {
  std::string text;
  while (text.size() < text_characters) {
    text += random_word(random) + ' ';
  }
  text.back() = '.';
  return text;
}

/// Exactly @p characters of it.
std::string random_sentence(std::mt19937& random, std::size_t characters) {
  std::string text;
  while (text.size() < characters) {
    text += random_word(random) + ' ';
  }
  text.resize(characters);
  text.front() = static_cast<char>(text.front() - 'a' + 'A');
  text[characters - 2] = 'e'; // not a space
  text[characters - 1] = '.';
  return text;
}

} // namespace

std::vector<BenchUtterance> make_workload(int count, int max_tokens, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> length(mean_tokens, tokens_deviation);
  std::uniform_int_distribution<std::int32_t> token(0, 6560);
  std::vector<BenchUtterance> utterances;
  for (int i = 0; i < count; ++i) {
    BenchUtterance u;
    u.text = random_text(random);
    u.num_tokens = static_cast<int>(std::lround(std::clamp<double>(length(random), 100, max_tokens)));
    for (int k = 0; k < u.num_tokens; ++k) {
      u.speech_tokens.push_back(token(random));
    }
    utterances.push_back(std::move(u));
  }
  return utterances;
}

std::string book_text(int utterances, unsigned seed) {
  std::string text;
  std::mt19937 random(seed);
  for (const BenchUtterance& u : make_workload(utterances, longest_book_tokens, seed)) {
    text += random_sentence(random, static_cast<std::size_t>(u.num_tokens / tokens_per_character)) + "\n\n";
  }
  return text;
}

std::string request_text(unsigned seed) {
  std::mt19937 random(seed);
  std::string text;
  for (const std::size_t characters : {60, 120, 180}) {
    text += (text.empty() ? "" : " ") + random_sentence(random, characters);
  }
  return text;
}

int longest_tokens(const engine::chatterbox::Config& config) { return std::min(700, config.t3.max_speech_tokens); }

double audio_seconds(const std::vector<BenchUtterance>& utterances) {
  double tokens = 0;
  for (const BenchUtterance& u : utterances) {
    tokens += u.num_tokens;
  }
  return tokens / 25;
}

} // namespace audiobookd::bench
