// Tokens, alignment and samples are changed together, as the engine would deliver them.
#include "bench/gate_check/faults.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace audiobookd::bench {
namespace {

constexpr std::size_t samples_per_token = 960;

double between(std::mt19937_64& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}

float rms(const std::vector<float>& samples) {
  double sum = 0;
  for (const float sample : samples) {
    sum += static_cast<double>(sample) * sample;
  }
  return static_cast<float>(std::sqrt(sum / static_cast<double>(std::max<std::size_t>(1, samples.size()))));
}

/// The model stops early: somewhere between a third and nine tenths.
void cut_off(Sample& sample, std::mt19937_64& random) {
  const auto kept = static_cast<std::size_t>(between(random, 0.33, 0.9) * static_cast<double>(sample.tokens.size()));
  sample.tokens.resize(kept);
  sample.alignment.positions.resize(kept * sample.alignment.num_heads);
  sample.samples.resize(std::min(sample.samples.size(), kept * samples_per_token));
}

void silence(Sample& sample, std::mt19937_64& random) {
  const auto gain = static_cast<float>(std::pow(10, between(random, -8, -3)));
  std::ranges::transform(sample.samples, sample.samples.begin(), [gain](float value) { return gain * value; });
}

void pause(Sample& sample, std::mt19937_64& random) {
  const auto at = sample.samples.begin() +
                  static_cast<std::ptrdiff_t>(between(random, 0.3, 0.7) * static_cast<double>(sample.samples.size()));
  const auto length = static_cast<std::size_t>(between(random, 1.3, 3) * sample.sample_rate);
  sample.samples.insert(at, length, 0.0f);
}

/// White, pink-like or brown-like, as loud as the speech.
void replace_by_noise(std::vector<float>::iterator begin, std::vector<float>::iterator end, float level,
                      std::mt19937_64& random) {
  const float pole = std::array{0.0f, 0.9f, 0.98f}.at(random() % 3);
  std::normal_distribution<float> normal(0, level * std::sqrt(1 - pole * pole));
  float state = 0;
  for (auto at = begin; at != end; ++at) {
    state = pole * state + normal(random);
    *at = std::clamp(state, -0.99f, 0.99f);
  }
}

void noise(Sample& sample, std::mt19937_64& random) {
  replace_by_noise(sample.samples.begin(), sample.samples.end(), rms(sample.samples), random);
}

void noise_inside(Sample& sample, std::mt19937_64& random) {
  const auto size = static_cast<double>(sample.samples.size());
  const double length = std::max(0.5 * size, 1.0 * sample.sample_rate);
  const auto begin = static_cast<std::ptrdiff_t>(between(random, 0, std::max(0.0, size - length)));
  const auto end = std::min(static_cast<std::ptrdiff_t>(size), begin + static_cast<std::ptrdiff_t>(length));
  replace_by_noise(sample.samples.begin() + begin, sample.samples.begin() + end, rms(sample.samples), random);
}

void clipping(Sample& sample, std::mt19937_64& random) {
  const auto gain = static_cast<float>(between(random, 6, 20));
  std::ranges::transform(sample.samples, sample.samples.begin(),
                         [gain](float value) { return std::clamp(gain * value, -0.99f, 0.99f); });
}

/// Two seconds of its own speech backwards after its end.
void babble_after_end(Sample& sample, std::mt19937_64&) {
  const std::size_t tokens = std::min<std::size_t>(50, sample.tokens.size());
  const std::vector<float> babble(sample.samples.rbegin(),
                                  sample.samples.rbegin() + static_cast<std::ptrdiff_t>(std::min(
                                                                sample.samples.size(), tokens * samples_per_token)));
  sample.samples.insert(sample.samples.end(), babble.begin(), babble.end());
  const std::vector<std::int32_t> again(sample.tokens.rbegin(),
                                        sample.tokens.rbegin() + static_cast<std::ptrdiff_t>(tokens));
  sample.tokens.insert(sample.tokens.end(), again.begin(), again.end());
  sample.alignment.positions.insert(sample.alignment.positions.end(), tokens * sample.alignment.num_heads,
                                    sample.alignment.text_length - 1);
}

void stuck(Sample& sample, std::mt19937_64& random) {
  const std::size_t at = random() % sample.tokens.size();
  sample.tokens.insert(sample.tokens.begin() + static_cast<std::ptrdiff_t>(at), 25, sample.tokens[at]);
  const auto row = sample.alignment.positions.begin() + static_cast<std::ptrdiff_t>(at * sample.alignment.num_heads);
  const std::vector<std::int32_t> positions(row, row + static_cast<std::ptrdiff_t>(sample.alignment.num_heads));
  for (int i = 0; i < 25; ++i) {
    sample.alignment.positions.insert(sample.alignment.positions.begin() +
                                          static_cast<std::ptrdiff_t>(at * sample.alignment.num_heads),
                                      positions.begin(), positions.end());
  }
}

} // namespace

const std::vector<Fault>& faults() {
  static const std::vector<Fault> all = {{"cut off", cut_off},
                                         {"silence", silence},
                                         {"pause", pause},
                                         {"noise", noise},
                                         {"half noise", noise_inside},
                                         {"clipping", clipping},
                                         {"babble after the end", babble_after_end},
                                         {"stuck token", stuck}};
  return all;
}

} // namespace audiobookd::bench
