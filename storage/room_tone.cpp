// White noise by SplitMix64 (Steele, Lea and Flood, 2014), through a one-pole low pass.
#include "storage/room_tone.h"

#include "storage/errors.h"

#include <cmath>
#include <numbers>
#include <string>

namespace audiobookd::storage {
namespace {

constexpr double corner_hz = 4'000;

std::uint64_t split_mix(std::uint64_t& state) {
  state += 0x9E3779B97F4A7C15U;
  std::uint64_t z = state;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
  z = (z ^ z >> 27) * 0x94D049BB133111EBU;
  return z ^ z >> 31;
}

/// Near enough to Gaussian: the sum of four uniform numbers, of mean 0 and variance 1.
float normal(std::uint64_t bits) {
  std::int64_t sum = 0;
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<std::int64_t>(bits >> (16 * i) & 0xFFFF);
  }
  constexpr double range = 65'536;
  const double deviation = range * std::sqrt(4 / 12.0);
  return static_cast<float>((static_cast<double>(sum) - 2 * (range - 1)) / deviation);
}

} // namespace

void check(const RoomToneSettings& settings) {
  if (!(settings.level_dbfs >= -120 && settings.level_dbfs <= -40)) {
    throw PermanentError("room tone: level_dbfs " + std::to_string(settings.level_dbfs) + " is not in -120 … -40");
  }
}

RoomTone::RoomTone(const RoomToneSettings& settings, int sample_rate) : state_((check(settings), settings.seed)) {
  const double feedback = std::exp(-2 * std::numbers::pi * corner_hz / sample_rate);
  // y = feedback · y + gain · x has the variance gain² / (1 - feedback²)
  const double amplitude = std::pow(10, settings.level_dbfs / 20);
  feedback_ = static_cast<float>(feedback);
  gain_ = static_cast<float>(amplitude * std::sqrt(1 - feedback * feedback));
}

float RoomTone::next() {
  last_ = feedback_ * last_ + gain_ * normal(split_mix(state_));
  return last_;
}

void RoomTone::add_to(std::span<float> samples) {
  for (float& sample : samples) {
    sample += next();
  }
}

} // namespace audiobookd::storage
