#include "engine/cuda/block_reduce.cuh"
#include "engine/cuda/sampler_kernel.h"
#include "engine/philox.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr int sample_threads = 256;
constexpr int max_per_thread = 40; // vocabularies up to 10240
constexpr int greedy_flag = 1;
constexpr int forced_flag = 2;

/// Raw pointers of PlaceState.
struct PlacePointers {
  int *active, *drawn;
  const int *max_tokens, *flags;
  const float* params;
  const int* key;
  int *seen, *history;
  std::int64_t *tokens, *speech_positions;
  int* positions;
  int seen_words, max_history;
};

/// Probability mass (times a constant) of the tokens nearer to the best one than @p distance.
__device__ float mass_within(const float* distances, float distance, float* scratch) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < max_per_thread; ++i) {
    sum += distances[i] < distance ? __expf(-distances[i]) : 0.0f;
  }
  return block_sum<sample_threads>(sum, scratch);
}

/// The nucleus is all tokens up to the returned distance: those whose better ones do not yet reach @p top_p.
/// Bisection over bit patterns, which order non-negative floats.
__device__ float top_p_distance(const float* distances, float top_p, float* scratch) {
  const float wanted = top_p * mass_within(distances, INFINITY, scratch);
  unsigned low = 0; // nothing is nearer than 0
  unsigned high = __float_as_uint(INFINITY);
  while (high - low > 1) { // mass_within(low) < wanted <= mass_within(high)
    const unsigned middle = low + (high - low) / 2;
    if (mass_within(distances, __uint_as_float(middle), scratch) < wanted) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return __uint_as_float(low);
}

__global__ void sample_kernel(const float* logits, std::int64_t stride, const int* places, const int* cond_rows,
                              const int* uncond_rows, PlacePointers state, SpeechVocabulary vocabulary) {
  __shared__ float scratch[sample_threads / warp_size];
  __shared__ float best_value[sample_threads / warp_size];
  __shared__ int best_token[sample_threads / warp_size];
  const int place = places[blockIdx.x];
  if (state.active[place] == 0) {
    return;
  }
  const float* const cond = logits + static_cast<std::size_t>(cond_rows[blockIdx.x]) * stride;
  const float* const uncond = logits + static_cast<std::size_t>(uncond_rows[blockIdx.x]) * stride;
  const float cfg_weight = state.params[place * 5];
  const float penalty = state.params[place * 5 + 1];
  const float temperature = state.params[place * 5 + 2];
  const float min_p = state.params[place * 5 + 3];
  const float top_p = state.params[place * 5 + 4];
  const int flags = state.flags[place];
  const int end = (flags & forced_flag) != 0 ? vocabulary.start : vocabulary.size;
  const int* const seen = state.seen + static_cast<std::size_t>(place) * state.seen_words;

  float distance[max_per_thread]; // of a token's logit from the largest one; infinite for removed tokens
  float largest = -INFINITY;
#pragma unroll
  for (int i = 0; i < max_per_thread; ++i) {
    const int token = threadIdx.x + i * sample_threads;
    distance[i] = -INFINITY;
    if (token < end) {
      float x = cond[token];
      if (cfg_weight != 0) {
        x += cfg_weight * (x - uncond[token]);
      }
      if ((seen[token / 32] >> (token % 32)) & 1) {
        x = x < 0 ? x * penalty : x / penalty;
      }
      distance[i] = x / temperature;
      largest = fmaxf(largest, distance[i]);
    }
  }
  largest = block_max<sample_threads>(largest, scratch);
  const float min_p_distance = -logf(min_p); // infinite for min_p 0
#pragma unroll
  for (int i = 0; i < max_per_thread; ++i) {
    distance[i] = largest - distance[i];
    if (distance[i] > min_p_distance) {
      distance[i] = INFINITY;
    }
  }
  const float farthest = top_p < 1 ? top_p_distance(distance, top_p, scratch) : 3.0e38f;

  const RandomStream stream{static_cast<std::uint32_t>(state.key[place * 3]),
                            static_cast<std::uint32_t>(state.key[place * 3 + 1]),
                            static_cast<std::uint32_t>(state.key[place * 3 + 2])};
  const int step = state.drawn[place];
  float best = -INFINITY;
  int token_of_best = 0;
#pragma unroll
  for (int i = 0; i < max_per_thread; ++i) {
    const int token = threadIdx.x + i * sample_threads;
    if (distance[i] <= farthest) {
      float x = -distance[i];
      if ((flags & greedy_flag) == 0) {
        const float u = uniform(stream, RandomPurpose::t3_draw, static_cast<std::uint32_t>(step),
                                static_cast<std::uint32_t>(token));
        x -= logf(-logf(u));
      }
      if (x > best) {
        best = x;
        token_of_best = token;
      }
    }
  }
  const auto better = [](float x, int i, float y, int j) { return x > y || (x == y && i < j); };
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    const float other = __shfl_xor_sync(full_mask, best, offset);
    const int other_token = __shfl_xor_sync(full_mask, token_of_best, offset);
    if (better(other, other_token, best, token_of_best)) {
      best = other;
      token_of_best = other_token;
    }
  }
  if (threadIdx.x % warp_size == 0) {
    best_value[threadIdx.x / warp_size] = best;
    best_token[threadIdx.x / warp_size] = token_of_best;
  }
  __syncthreads();
  if (threadIdx.x != 0) {
    return;
  }
  for (int w = 1; w < sample_threads / warp_size; ++w) {
    if (better(best_value[w], best_token[w], best, token_of_best)) {
      best = best_value[w];
      token_of_best = best_token[w];
    }
  }
  state.history[static_cast<std::size_t>(place) * state.max_history + step] = token_of_best;
  state.seen[static_cast<std::size_t>(place) * state.seen_words + token_of_best / 32] |= 1 << (token_of_best % 32);
  state.drawn[place] = step + 1;
  const bool stopped = (flags & forced_flag) == 0 && token_of_best == vocabulary.stop;
  if (stopped || step + 1 >= state.max_tokens[place]) {
    state.active[place] = 0;
    state.positions[2 * place] = -1; // parked
    state.positions[2 * place + 1] = -1;
    return;
  }
  for (int row = 2 * place; row < 2 * place + 2; ++row) {
    if (row % 2 == 1 && cfg_weight == 0) {
      break; // no second row: it stays parked
    }
    state.tokens[row] = token_of_best;
    state.speech_positions[row] = step + 1;
    state.positions[row] += 1;
  }
}

} // namespace

void sample(const at::Tensor& logits, const at::Tensor& places, const at::Tensor& cond_rows,
            const at::Tensor& uncond_rows, PlaceState& state, const SpeechVocabulary& vocabulary) {
  TORCH_CHECK(vocabulary.size <= max_per_thread * sample_threads, "sample: vocabulary of ", vocabulary.size);
  const PlacePointers pointers{state.active.data_ptr<int>(),
                               state.drawn.data_ptr<int>(),
                               state.max_tokens.const_data_ptr<int>(),
                               state.flags.const_data_ptr<int>(),
                               state.params.const_data_ptr<float>(),
                               state.key.const_data_ptr<int>(),
                               state.seen.data_ptr<int>(),
                               state.history.data_ptr<int>(),
                               state.tokens.data_ptr<std::int64_t>(),
                               state.speech_positions.data_ptr<std::int64_t>(),
                               state.positions.data_ptr<int>(),
                               static_cast<int>(state.seen.size(1)),
                               static_cast<int>(state.history.size(1))};
  sample_kernel<<<static_cast<unsigned>(places.size(0)), sample_threads, 0, at::cuda::getCurrentCUDAStream()>>>(
      logits.const_data_ptr<float>(), logits.stride(0), places.const_data_ptr<int>(), cond_rows.const_data_ptr<int>(),
      uncond_rows.const_data_ptr<int>(), pointers, vocabulary);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace audiobookd::engine::cuda
