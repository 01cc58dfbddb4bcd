#include "engine/cuda/block_reduce.cuh"
#include "engine/cuda/sampler_kernel.h"
#include "engine/philox.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr int sample_threads = 512;
constexpr int quads = 5;              // runs of four neighbouring tokens of one thread
constexpr int per_thread = 4 * quads; // tokens of one thread: vocabularies up to 10240
constexpr int num_params = 5;         // columns of PlaceState::params
constexpr int greedy_flag = 1;
constexpr int forced_flag = 2;
constexpr float farthest_finite = 3.0e38f; // removed tokens are farther

/// Raw pointers of PlaceState.
struct PlacePointers {
  int *active, *drawn;
  const int *max_tokens, *flags;
  const float* params;
  const int *top_k, *key;
  int *seen, *history;
  const int* attended;
  std::int16_t* attended_history;
  std::int64_t *tokens, *speech_positions;
  int* positions;
  int seen_words, max_history, num_heads;
};

/// The first of the four tokens of this thread's run @p quad.
__device__ int first_token(int quad) { return 4 * static_cast<int>(threadIdx.x + quad * sample_threads); }

/// Reads the logits of this thread's tokens below @p end; -inf beyond. @param row aligned to 16 bytes, as are its ends
__device__ void load_logits(const float* row, int end, float* x) {
#pragma unroll
  for (int q = 0; q < quads; ++q) {
    const int first = first_token(q);
    const float4 run = first < end ? *reinterpret_cast<const float4*>(row + first) : float4{};
    const float values[4] = {run.x, run.y, run.z, run.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      x[4 * q + k] = first + k < end ? values[k] : -INFINITY;
    }
  }
}

/// cond + weight (cond - uncond). @param x the conditional logits, changed in place
__device__ void guide(const float* uncond_row, int end, float weight, float* x) {
  float uncond[per_thread];
  load_logits(uncond_row, end, uncond);
#pragma unroll
  for (int i = 0; i < per_thread; ++i) {
    x[i] = uncond[i] == -INFINITY ? x[i] : x[i] + weight * (x[i] - uncond[i]);
  }
}

/// Repetition penalty and temperature. @param seen bit mask of the tokens so far. @return the largest of this thread's
__device__ float penalise(const int* seen, int end, float penalty, float temperature, float* x) {
  float largest = -INFINITY;
#pragma unroll
  for (int q = 0; q < quads; ++q) {
    const int first = first_token(q);
    const int bits = first < end ? seen[first / 32] >> (first % 32) : 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      float& value = x[4 * q + k];
      if ((bits >> k) & 1) {
        value = value < 0 ? value * penalty : value / penalty;
      }
      value /= temperature;
      largest = fmaxf(largest, value);
    }
  }
  return largest;
}

/// The smallest non-negative float for which @p holds is true, or infinity; it stays true for all larger ones.
/// Bisection over bit patterns, which order non-negative floats.
template <typename Predicate>
__device__ float smallest_distance(Predicate holds) {
  unsigned low = 0;
  unsigned high = __float_as_uint(INFINITY);
  while (low < high) {
    const unsigned middle = low + (high - low) / 2;
    if (holds(__uint_as_float(middle))) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return __uint_as_float(low);
}

/// The @p top_k most probable tokens, and those as probable as the last of them, reach up to the returned distance.
__device__ float top_k_distance(const float* distances, int top_k, float* scratch) {
  return smallest_distance([&](float distance) {
    float count = 0; // exact: far below 2^24
#pragma unroll
    for (int i = 0; i < per_thread; ++i) {
      count += distances[i] <= distance ? 1.0f : 0.0f;
    }
    return block_sum<sample_threads>(count, scratch) >= static_cast<float>(top_k);
  });
}

/// Probability mass (times a constant) of the tokens up to @p distance from the best one.
__device__ float mass_within(const float* distances, float distance, float* scratch) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < per_thread; ++i) {
    sum += distances[i] <= distance ? __expf(-distances[i]) : 0.0f;
  }
  return block_sum<sample_threads>(sum, scratch);
}

/// The nucleus: the fewest most probable tokens that have @p top_p of the mass within @p farthest reach up to the
/// returned distance.
__device__ float top_p_distance(const float* distances, float top_p, float farthest, float* scratch) {
  const float wanted = top_p * mass_within(distances, farthest, scratch);
  return smallest_distance([&](float distance) { return mass_within(distances, distance, scratch) >= wanted; });
}

/// Gumbel-max over this thread's tokens up to @p farthest; without noise if @p greedy.
__device__ Candidate draw(const float* distances, float farthest, bool greedy, const RandomStream& stream, int step) {
  Candidate best{-INFINITY, 0};
#pragma unroll
  for (int q = 0; q < quads; ++q) {
    const float* const run = distances + 4 * q;
    if (fminf(fminf(run[0], run[1]), fminf(run[2], run[3])) > farthest) {
      continue;
    }
    const int first = first_token(q);
    const PhiloxWords words =
        greedy ? PhiloxWords{}
               : random_words(stream, RandomPurpose::t3_draw, static_cast<std::uint32_t>(step), first / 4);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const float noise = greedy ? 0.0f : -logf(-logf(open_unit(words.word[k])));
      if (run[k] <= farthest && noise - run[k] > best.value) {
        best = {noise - run[k], first + k};
      }
    }
  }
  return best;
}

/// Appends @p token to place @p place and prepares its next step, or ends it. One thread.
__device__ void append(const PlacePointers& state, int place, int token, const SpeechVocabulary& vocabulary) {
  const int step = state.drawn[place];
  const std::size_t at = static_cast<std::size_t>(place) * state.max_history + step;
  state.history[at] = token;
  for (int head = 0; head < state.num_heads; ++head) { // of the conditional row
    state.attended_history[at * state.num_heads + head] =
        static_cast<std::int16_t>(state.attended[2 * place * state.num_heads + head]);
  }
  state.seen[static_cast<std::size_t>(place) * state.seen_words + token / 32] |= 1 << (token % 32);
  state.drawn[place] = step + 1;
  const bool stopped = (state.flags[place] & forced_flag) == 0 && token == vocabulary.stop;
  if (stopped || step + 1 >= state.max_tokens[place]) {
    state.active[place] = 0;
    state.positions[2 * place] = -1; // parked
    state.positions[2 * place + 1] = -1;
    return;
  }
  const int rows = state.params[place * num_params] == 0 ? 1 : 2; // without guidance the second stays parked
  for (int row = 2 * place; row < 2 * place + rows; ++row) {
    state.tokens[row] = token;
    state.speech_positions[row] = step + 1;
    state.positions[row] += 1;
  }
}

__global__ void __launch_bounds__(sample_threads, 2)
    sample_kernel(const float* logits, std::int64_t stride, const int* places, const int* cond_rows,
                  const int* uncond_rows, PlacePointers state, SpeechVocabulary vocabulary) {
  __shared__ float scratch[sample_threads / warp_size];
  __shared__ Candidate candidates[sample_threads / warp_size];
  const int place = places[blockIdx.x];
  if (state.active[place] == 0) {
    return;
  }
  const float* const params = state.params + place * num_params;
  const float cfg_weight = params[0];
  const float penalty = params[1];
  const float temperature = params[2];
  const float min_p = params[3];
  const float top_p = params[4];
  const int flags = state.flags[place];
  const int end = (flags & forced_flag) != 0 ? vocabulary.start : vocabulary.size;

  float distances[per_thread]; // of a token's logit from the largest one; infinite for removed tokens
  load_logits(logits + cond_rows[blockIdx.x] * stride, end, distances);
  if (cfg_weight != 0) {
    guide(logits + uncond_rows[blockIdx.x] * stride, end, cfg_weight, distances);
  }
  const int* const seen = state.seen + static_cast<std::size_t>(place) * state.seen_words;
  const float largest = block_max<sample_threads>(penalise(seen, end, penalty, temperature, distances), scratch);
#pragma unroll
  for (int i = 0; i < per_thread; ++i) {
    distances[i] = largest - distances[i];
  }
  float farthest = fminf(-logf(min_p), farthest_finite); // min-p
  const int top_k = state.top_k[place];
  if (top_k > 0 && top_k < end) {
    farthest = fminf(farthest, top_k_distance(distances, top_k, scratch));
  }
  if (top_p < 1) {
    farthest = fminf(farthest, top_p_distance(distances, top_p, farthest, scratch));
  }
  const RandomStream stream{static_cast<std::uint32_t>(state.key[place * 3]),
                            static_cast<std::uint32_t>(state.key[place * 3 + 1]),
                            static_cast<std::uint32_t>(state.key[place * 3 + 2])};
  const Candidate drawn = block_best<sample_threads>(
      draw(distances, farthest, (flags & greedy_flag) != 0, stream, state.drawn[place]), candidates);
  if (threadIdx.x == 0) {
    append(state, place, drawn.index, vocabulary);
  }
}

} // namespace

void sample(const at::Tensor& logits, const at::Tensor& places, const at::Tensor& cond_rows,
            const at::Tensor& uncond_rows, PlaceState& state, const SpeechVocabulary& vocabulary) {
  TORCH_CHECK(vocabulary.size <= per_thread * sample_threads, "sample: vocabulary of ", vocabulary.size);
  TORCH_CHECK(logits.stride(0) % 4 == 0 && logits.stride(0) >= (vocabulary.size + 3) / 4 * 4 && logits.stride(1) == 1,
              "sample: rows of logits must be padded to multiples of 4, not ", logits.stride(0));
  const bool watched = state.attended.defined();
  const PlacePointers pointers{state.active.data_ptr<int>(),
                               state.drawn.data_ptr<int>(),
                               state.max_tokens.const_data_ptr<int>(),
                               state.flags.const_data_ptr<int>(),
                               state.params.const_data_ptr<float>(),
                               state.top_k.const_data_ptr<int>(),
                               state.key.const_data_ptr<int>(),
                               state.seen.data_ptr<int>(),
                               state.history.data_ptr<int>(),
                               watched ? state.attended.const_data_ptr<int>() : nullptr,
                               watched ? state.attended_history.data_ptr<std::int16_t>() : nullptr,
                               state.tokens.data_ptr<std::int64_t>(),
                               state.speech_positions.data_ptr<std::int64_t>(),
                               state.positions.data_ptr<int>(),
                               static_cast<int>(state.seen.size(1)),
                               static_cast<int>(state.history.size(1)),
                               watched ? static_cast<int>(state.attended.size(1)) : 0};
  sample_kernel<<<static_cast<unsigned>(places.size(0)), sample_threads, 0, at::cuda::getCurrentCUDAStream()>>>(
      logits.const_data_ptr<float>(), logits.stride(0), places.const_data_ptr<int>(), cond_rows.const_data_ptr<int>(),
      uncond_rows.const_data_ptr<int>(), pointers, vocabulary);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace audiobookd::engine::cuda
