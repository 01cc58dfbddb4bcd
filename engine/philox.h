// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
//
// A number depends on its key and counter alone, never on what was drawn before: an utterance gets the same numbers in
// any batch, on any thread and on any device. Pure functions; callable from any thread, and from CUDA kernels.
#pragma once

#include "engine/hash128.h"

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define AUDIOBOOKD_HOST_DEVICE __host__ __device__
#else
#define AUDIOBOOKD_HOST_DEVICE
#endif

namespace audiobookd::engine {

/// What a random number is for: the first word of the counter, so that purposes never share numbers.
enum class RandomPurpose : std::uint32_t { t3_draw = 0, flow_noise = 1, source_phase = 2, source_noise = 3 };

/// All random numbers of one attempt at one utterance.
struct RandomStream {
  std::uint32_t key0 = 0;
  std::uint32_t key1 = 0;
  std::uint32_t attempt = 0;
  bool operator==(const RandomStream&) const = default;
};

/// The stream of (@p seed, @p utterance_key, @p attempt); the three are mixed so that close values share nothing.
[[nodiscard]] RandomStream random_stream(std::uint64_t seed, const Hash128& utterance_key,
                                         std::uint32_t attempt) noexcept;

/// Four independent 32-bit words.
struct PhiloxWords {
  std::uint32_t word[4];
};

/// The Philox4x32-10 bijection of @p counter under (@p key0, @p key1).
AUDIOBOOKD_HOST_DEVICE inline PhiloxWords philox4x32(PhiloxWords counter, std::uint32_t key0,
                                                     std::uint32_t key1) noexcept {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter.word[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {
        {static_cast<std::uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<std::uint32_t>(product1),
         static_cast<std::uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<std::uint32_t>(product0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// The four words at counter (purpose, attempt, step, lane) of @p stream.
AUDIOBOOKD_HOST_DEVICE inline PhiloxWords random_words(const RandomStream& stream, RandomPurpose purpose,
                                                       std::uint32_t step, std::uint32_t lane) noexcept {
  return philox4x32({{static_cast<std::uint32_t>(purpose), stream.attempt, step, lane}}, stream.key0, stream.key1);
}

/// Maps a word to the open interval (0, 1): multiples of 2^-23, shifted by half a step; exact in fp32.
AUDIOBOOKD_HOST_DEVICE inline float open_unit(std::uint32_t word) noexcept {
  return (static_cast<float>(word >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

/// Uniform in (0, 1): element @p index of step @p step. Four consecutive indices share one Philox call
/// (lane = index / 4, word = index % 4).
AUDIOBOOKD_HOST_DEVICE inline float uniform(const RandomStream& stream, RandomPurpose purpose, std::uint32_t step,
                                            std::uint32_t index) noexcept {
  return open_unit(random_words(stream, purpose, step, index / 4).word[index % 4]);
}

/// Two independent standard normals from two words (Box and Muller 1958).
AUDIOBOOKD_HOST_DEVICE inline void normal_pair(std::uint32_t word0, std::uint32_t word1, float* normals) noexcept {
  const float radius = std::sqrt(-2.0f * std::log(open_unit(word0)));
  const float angle = 6.28318530717958648f * open_unit(word1);
  normals[0] = radius * std::cos(angle);
  normals[1] = radius * std::sin(angle);
}

/// Four independent standard normals at (step, lane): elements 4 lane .. 4 lane + 3 of row @p step of a block.
AUDIOBOOKD_HOST_DEVICE inline void normal_quad(const RandomStream& stream, RandomPurpose purpose, std::uint32_t step,
                                               std::uint32_t lane, float* normals) noexcept {
  const PhiloxWords words = random_words(stream, purpose, step, lane);
  normal_pair(words.word[0], words.word[1], normals);
  normal_pair(words.word[2], words.word[3], normals + 2);
}

} // namespace audiobookd::engine
