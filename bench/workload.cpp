#include "bench/workload.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

namespace audiobookd::bench {
namespace {

constexpr double mean_tokens = 388;
constexpr double tokens_deviation = 90;
constexpr int text_characters = 250; // what 388 tokens take to say

std::string random_text(std::mt19937& random) {
  static constexpr std::array words = {"the",  "keeper", "harbour", "light",  "turned", "slowly",  "over",    "water",
                                       "and",  "nobody", "counted", "ships",  "before", "morning", "because", "rain",
                                       "fell", "on",     "windows", "facing", "north",  "with",    "little",  "sound"};
  std::string text;
  while (text.size() < text_characters) {
    text += words[std::uniform_int_distribution<std::size_t>(0, words.size() - 1)(random)];
    text += ' ';
  }
  text.back() = '.';
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

double audio_seconds(const std::vector<BenchUtterance>& utterances) {
  double tokens = 0;
  for (const BenchUtterance& u : utterances) {
    tokens += u.num_tokens;
  }
  return tokens / 25;
}

} // namespace audiobookd::bench
