#include "engine/cuda/bf16_vector.cuh"
#include "engine/cuda/hift_kernels.h"
#include "engine/cuda/snake.cuh"

#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr int threads_per_block = 256;
constexpr int warp_size = 32;
constexpr unsigned full_mask = 0xffffffffu;
constexpr float sample_rate = 24000.0f;
constexpr float sine_amplitude = 0.1f;
constexpr float voiced_noise = 0.003f;
constexpr float voiced_threshold_hz = 10.0f;
constexpr float two_pi = 6.28318530717958648f;
constexpr float largest_magnitude = 100.0f;
constexpr float audio_limit = 0.99f;
constexpr int bins = fourier_values / 2;
constexpr int overlap = fourier_size / fourier_hop;

unsigned blocks_for(std::int64_t count, std::int64_t per_block = threads_per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

__device__ std::int64_t global_thread() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

/// A thread makes eight columns of one tap.
template <class Out>
__global__ void leaky_windows_kernel(WindowInputs inputs, float slope, Out* out, std::int64_t rows,
                                     std::int64_t first_row, std::int64_t count, int columns, int taps) {
  const std::int64_t at = 8 * global_thread();
  const int width = taps * columns;
  if (at >= count * width) {
    return;
  }
  const int within = static_cast<int>(at % width);
  const std::int64_t row = first_row + at / width + within / columns - taps / 2;
  Float8 sum{};
  if (row >= 0 && row < rows) {
    const std::int64_t from = row * columns + within % columns;
    sum = load8(inputs.rows[0] + from);
    int number = 1;
    for (int i = 1; i < 3; ++i) {
      if (inputs.rows[i] != nullptr) {
        const Float8 x = load8(inputs.rows[i] + from);
        ++number;
#pragma unroll
        for (int k = 0; k < 8; ++k) {
          sum.at[k] += x.at[k];
        }
      }
    }
    const float share = 1.0f / static_cast<float>(number);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const float mean = sum.at[k] * share;
      sum.at[k] = mean > 0 ? mean : mean * slope;
    }
  }
  store8(out + at, sum);
}

__global__ void fuse_rows_kernel(const float* x, const float* bias, const float* other, const std::uint8_t* valid,
                                 const std::uint8_t* reflected, float* plain, SnakeFan fan, std::int64_t count,
                                 int channels) {
  const std::int64_t at = 8 * global_thread();
  if (at >= count) {
    return;
  }
  const std::int64_t row = at / channels;
  const int channel = static_cast<int>(at % channels);
  Float8 sum{};
  if (valid[row] != 0) {
    const bool reflects = reflected != nullptr && reflected[row] != 0;
    sum = load8(x + at + (reflects ? 2 * channels : 0));
    const Float8 shift = load8(bias + channel);
    Float8 more{};
    if (other != nullptr) {
      more = load8(other + at);
    }
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      sum.at[k] += shift.at[k] + more.at[k];
    }
  }
  store8(plain + at, sum);
  for (int i = 0; i < 3; ++i) {
    if (fan.active[i] != nullptr) {
      const Float8 alpha = load8(fan.snake[i].alpha + channel);
      const Float8 inverse = load8(fan.snake[i].inverse + channel);
      Float8 active;
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        active.at[k] = snake_of(sum.at[k], alpha.at[k], inverse.at[k]);
      }
      store8(fan.active[i] + at, active);
    }
  }
}

/// Cycles of one harmonic in one sample; a true division, for the last bit adds up.
__device__ float cycles_per_sample(float f0, int harmonic) {
  return __fdiv_rn(__fmul_rn(f0, static_cast<float>(harmonic + 1)), sample_rate);
}

/// One warp an utterance and harmonic: a scan of 32 frames at a time.
__global__ void harmonic_cycles_kernel(const float* f0, FrameLayout layout, int samples_per_frame, double* out) {
  const int utterance = static_cast<int>(blockIdx.x);
  const int harmonic = static_cast<int>(threadIdx.x) / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int start = layout.starts[utterance];
  double carry = 0;
  for (int first = 0; first < layout.lengths[utterance]; first += warp_size) {
    const bool inside = first + lane < layout.lengths[utterance];
    const int frame = start + first + lane;
    const double own = inside ? double{cycles_per_sample(f0[frame], harmonic)} * samples_per_frame : 0.0;
    double sum = own;
    for (int offset = 1; offset < warp_size; offset *= 2) {
      const double before = __shfl_up_sync(full_mask, sum, offset);
      sum += lane >= offset ? before : 0.0;
    }
    if (inside) {
      out[static_cast<std::int64_t>(harmonic) * layout.num_frames + frame] = carry + sum - own;
    }
    carry += __shfl_sync(full_mask, sum, warp_size - 1);
  }
}

__global__ void harmonic_source_kernel(const float* f0, const double* cycles, SourceInputs inputs, FrameLayout layout,
                                       int harmonics, int samples_per_frame, float* out) {
  const std::int64_t sample = global_thread();
  if (sample >= std::int64_t{layout.num_frames} * samples_per_frame) {
    return;
  }
  const int frame = static_cast<int>(sample / samples_per_frame);
  const int utterance = layout.owners[frame];
  if (utterance < 0) {
    out[sample] = 0;
    return;
  }
  const int within = static_cast<int>(sample % samples_per_frame);
  const std::int64_t length = std::int64_t{layout.lengths[utterance]} * samples_per_frame;
  const std::int64_t own_sample = sample - std::int64_t{layout.starts[utterance]} * samples_per_frame;
  const float hz = f0[frame];
  const bool voiced = hz > voiced_threshold_hz;
  const float noise_level = voiced ? voiced_noise : sine_amplitude / 3;
  float sum = inputs.merge_bias[0];
  for (int h = 0; h < harmonics; ++h) {
    const double turns = cycles[static_cast<std::int64_t>(h) * layout.num_frames + frame] +
                         double{cycles_per_sample(hz, h)} * (within + 1);
    const auto rounded = static_cast<float>(turns);
    const float initial = h == 0 ? 0.0f : inputs.phases[utterance][h];
    const float sine = sinf((rounded - truncf(rounded)) * two_pi + initial) * sine_amplitude;
    const float noise = inputs.noises[utterance][h * length + own_sample];
    sum += inputs.merge_weight[h] * ((voiced ? sine : 0.0f) + noise_level * noise);
  }
  out[sample] = tanhf(sum);
}

/// The utterance that spectrum row @p row belongs to, or -1. Utterances have one row before their first frame's.
__device__ int owner_of_spectrum(const FrameLayout& layout, int row, int rate) {
  const int owner = layout.owners[row / rate];
  if (owner >= 0) {
    return owner;
  }
  const int next = (row + 1) / rate;
  return next < layout.num_frames ? layout.owners[next] : -1;
}

/// A thread makes one spectrum.
__global__ void analyse_rows_kernel(const float* signal, const float* basis, FrameLayout layout, int rate,
                                    __nv_bfloat16* out) {
  __shared__ float table[fourier_values * fourier_size];
  for (int i = static_cast<int>(threadIdx.x); i < fourier_values * fourier_size; i += threads_per_block) {
    table[i] = basis[i];
  }
  __syncthreads();
  const std::int64_t row = global_thread();
  if (row >= std::int64_t{layout.num_frames} * rate) {
    return;
  }
  float values[spectrum_columns] = {};
  const int utterance = owner_of_spectrum(layout, static_cast<int>(row), rate);
  if (utterance >= 0) {
    const int place = static_cast<int>(row) - (layout.starts[utterance] * rate - 1);
    const int length = layout.lengths[utterance] * rate * fourier_hop;
    const float* const own = signal + std::int64_t{layout.starts[utterance]} * rate * fourier_hop;
    for (int n = 0; n < fourier_size; ++n) {
      int t = place * fourier_hop - fourier_size / 2 + n;
      t = t < 0 ? -t : t;
      t = t >= length ? 2 * length - 2 - t : t;
      const float x = own[t];
#pragma unroll
      for (int k = 0; k < fourier_values; ++k) {
        values[k] += table[k * fourier_size + n] * x;
      }
    }
  }
#pragma unroll
  for (int k = 0; k < spectrum_columns; k += 8) {
    Float8 part;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      part.at[i] = values[k + i];
    }
    store8(out + row * spectrum_columns + k, part);
  }
}

/// A block makes threads_per_block samples from the spectra that overlap them.
__global__ void synthesise_rows_kernel(const float* spectra, const float* bias, const float* basis, const float* window,
                                       FrameLayout layout, int rate, float* out) {
  constexpr int frames_per_block = threads_per_block / fourier_hop + overlap;
  __shared__ float table[fourier_values * fourier_size];
  __shared__ float parts[frames_per_block][fourier_values];
  const std::int64_t first_sample = std::int64_t{blockIdx.x} * threads_per_block;
  // Sample t overlaps the spectra of rows (t + 8) / 4 - 3 - 1 … (t + 8) / 4 - 1.
  const std::int64_t first_row = first_sample / fourier_hop + 2 - overlap;
  const std::int64_t num_rows = std::int64_t{layout.num_frames} * rate;
  for (int i = static_cast<int>(threadIdx.x); i < fourier_values * fourier_size; i += threads_per_block) {
    table[i] = basis[i];
  }
  for (int i = static_cast<int>(threadIdx.x); i < frames_per_block * bins; i += threads_per_block) {
    const std::int64_t row = first_row + i / bins;
    const int bin = i % bins;
    if (row >= 0 && row < num_rows) {
      const float* const own = spectra + row * spectrum_columns;
      const float magnitude = fminf(expf(own[bin] + bias[bin]), largest_magnitude);
      const float phase = sinf(own[bins + bin] + bias[bins + bin]);
      parts[i / bins][bin] = magnitude * cosf(phase);
      parts[i / bins][bins + bin] = magnitude * sinf(phase);
    }
  }
  __syncthreads();
  const std::int64_t sample = first_sample + threadIdx.x;
  const int samples_per_frame = rate * fourier_hop;
  if (sample >= std::int64_t{layout.num_frames} * samples_per_frame) {
    return;
  }
  const int utterance = layout.owners[sample / samples_per_frame];
  if (utterance < 0) {
    return;
  }
  const std::int64_t start = std::int64_t{layout.starts[utterance]} * samples_per_frame;
  const int last_place = layout.lengths[utterance] * rate;
  const int t = static_cast<int>(sample - start) + fourier_size / 2; // in the padded signal
  float sum = 0;
  float weight = 0;
  for (int i = 0; i < overlap; ++i) {
    const int place = t / fourier_hop - i;
    const int n = t - place * fourier_hop;
    if (place >= 0 && place <= last_place) {
      const float* const part = parts[start / fourier_hop - 1 + place - first_row];
      for (int k = 0; k < fourier_values; ++k) {
        sum += table[k * fourier_size + n] * part[k];
      }
      weight += window[n] * window[n];
    }
  }
  out[sample] = fminf(fmaxf(sum / weight, -audio_limit), audio_limit);
}

} // namespace

void leaky_windows(const WindowInputs& inputs, float slope, __nv_bfloat16* out, std::int64_t rows,
                   std::int64_t first_row, std::int64_t count, int columns, int taps, cudaStream_t stream) {
  leaky_windows_kernel<<<blocks_for(count * taps * columns / 8), threads_per_block, 0, stream>>>(
      inputs, slope, out, rows, first_row, count, columns, taps);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void leaky_windows(const WindowInputs& inputs, float slope, float* out, std::int64_t rows, std::int64_t first_row,
                   std::int64_t count, int columns, int taps, cudaStream_t stream) {
  leaky_windows_kernel<<<blocks_for(count * taps * columns / 8), threads_per_block, 0, stream>>>(
      inputs, slope, out, rows, first_row, count, columns, taps);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void fuse_rows(const float* x, const float* bias, const float* other, const std::uint8_t* valid,
               const std::uint8_t* reflected, float* plain, const SnakeFan& fan, std::int64_t rows, int channels,
               cudaStream_t stream) {
  fuse_rows_kernel<<<blocks_for(rows * channels / 8), threads_per_block, 0, stream>>>(
      x, bias, other, valid, reflected, plain, fan, rows * channels, channels);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void harmonic_cycles(const float* f0, const FrameLayout& layout, int harmonics, int samples_per_frame, double* out,
                     cudaStream_t stream) {
  harmonic_cycles_kernel<<<static_cast<unsigned>(layout.num_utterances), static_cast<unsigned>(harmonics * warp_size),
                           0, stream>>>(f0, layout, samples_per_frame, out);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void harmonic_source(const float* f0, const double* cycles, const SourceInputs& inputs, const FrameLayout& layout,
                     int harmonics, int samples_per_frame, float* out, cudaStream_t stream) {
  const std::int64_t samples = std::int64_t{layout.num_frames} * samples_per_frame;
  harmonic_source_kernel<<<blocks_for(samples), threads_per_block, 0, stream>>>(f0, cycles, inputs, layout, harmonics,
                                                                                samples_per_frame, out);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void analyse_rows(const float* signal, const float* basis, const FrameLayout& layout, int rate, __nv_bfloat16* out,
                  cudaStream_t stream) {
  analyse_rows_kernel<<<blocks_for(std::int64_t{layout.num_frames} * rate), threads_per_block, 0, stream>>>(
      signal, basis, layout, rate, out);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void synthesise_rows(const float* spectra, const float* bias, const float* basis, const float* window,
                     const FrameLayout& layout, int rate, float* out, cudaStream_t stream) {
  const std::int64_t samples = std::int64_t{layout.num_frames} * rate * fourier_hop;
  synthesise_rows_kernel<<<blocks_for(samples), threads_per_block, 0, stream>>>(spectra, bias, basis, window, layout,
                                                                                rate, out);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

} // namespace audiobookd::engine::cuda
