#include "engine/cuda/bf16_vector.cuh"
#include "engine/cuda/hift_kernels.h"
#include "engine/cuda/snake.cuh"
#include "engine/models/chatterbox/hift_constants.h"

#include <c10/cuda/CUDAException.h>

namespace audiobookd::engine::cuda {
namespace {

constexpr int threads_per_block = 256;
constexpr int warp_size = 32;
constexpr unsigned full_mask = 0xffffffffu;
constexpr float sample_rate = chatterbox::hift::sample_rate;
constexpr float sine_amplitude = chatterbox::hift::sine_amplitude;
constexpr float voiced_noise = chatterbox::hift::voiced_noise;
constexpr float unvoiced_noise = chatterbox::hift::unvoiced_noise;
constexpr float voiced_threshold_hz = chatterbox::hift::voiced_threshold_hz;
constexpr float two_pi = 6.28318530717958648f;
constexpr float largest_magnitude = chatterbox::hift::largest_magnitude;
constexpr float audio_limit = chatterbox::hift::audio_limit;
constexpr int bins = fourier_values / 2;
constexpr int overlap = fourier_size / fourier_hop;

unsigned blocks_for(std::int64_t count, std::int64_t per_block = threads_per_block) {
  return static_cast<unsigned>((count + per_block - 1) / per_block);
}

__device__ std::int64_t global_thread() { return std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }

/// A thread makes eight columns of one tap.
__global__ void leaky_windows_kernel(WindowInputs inputs, float slope, __nv_bfloat16* out, std::int64_t rows,
                                     int columns, int taps) {
  const std::int64_t at = 8 * global_thread();
  const int width = taps * columns;
  if (at >= rows * width) {
    return;
  }
  const int within = static_cast<int>(at % width);
  const std::int64_t row = at / width + within / columns - taps / 2;
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

__device__ double elu(double x) { return x > 0 ? x : expm1(x); }

/// A thread makes two columns of one tap.
__global__ void elu_windows_kernel(const double* x, const double* bias, const std::uint8_t* valid, double* out,
                                   std::int64_t rows, std::int64_t first_row, std::int64_t count, int columns) {
  const std::int64_t at = 2 * global_thread();
  const int width = 3 * columns;
  if (at >= count * width) {
    return;
  }
  const int within = static_cast<int>(at % width);
  const int column = within % columns;
  const std::int64_t row = first_row + at / width + within / columns - 1;
  double2 value = make_double2(0, 0);
  if (row >= 0 && row < rows && valid[row] != 0) {
    value = *reinterpret_cast<const double2*>(x + row * columns + column);
    if (bias != nullptr) {
      value.x = elu(value.x + bias[column]);
      value.y = elu(value.y + bias[column + 1]);
    }
  }
  *reinterpret_cast<double2*>(out + at) = value;
}

/// One warp a row.
__global__ void absolute_outputs_kernel(const double* x, const double* bias, const double* weight,
                                        const double* out_bias, const std::uint8_t* valid, float* out,
                                        std::int64_t rows, int columns) {
  const std::int64_t row = global_thread() / warp_size;
  if (row >= rows) {
    return;
  }
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  double sum = 0;
  for (int column = lane; column < columns; column += warp_size) {
    sum += weight[column] * elu(x[row * columns + column] + bias[column]);
  }
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(full_mask, sum, offset);
  }
  if (lane == 0) {
    out[row] = valid[row] != 0 ? static_cast<float>(fabs(sum + out_bias[0])) : 0.0f;
  }
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
  const float noise_level = voiced ? voiced_noise : unvoiced_noise;
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

/// The mean of three inputs, leaky-rectified.
__device__ Float8 rectified_mean(const WindowInputs& inputs, float slope, std::int64_t at) {
  Float8 sum = load8(inputs.rows[0] + at);
  const Float8 second = load8(inputs.rows[1] + at);
  const Float8 third = load8(inputs.rows[2] + at);
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const float mean = (sum.at[k] + second.at[k] + third.at[k]) * (1.0f / 3.0f);
    sum.at[k] = mean > 0 ? mean : mean * slope;
  }
  return sum;
}

constexpr int spectra_threads = 128;
constexpr int spectra_rows = 4; // that a thread makes
constexpr int spectra_tile = spectra_threads * spectra_rows;
constexpr int spectra_chunk = 16;                // channels in shared memory at a time
constexpr int spectra_stride = spectra_tile + 8; // of a channel there: four rows more on both sides

/// Sums of spectra_rows neighbouring rows over one channel. @param x the channel from four rows before the first on.
/// @param weights of the channel.
__device__ void add_channel(float (&sums)[spectra_rows][fourier_values], const float* x, const float* weights) {
  float rows[spectra_rows + 8];
#pragma unroll
  for (int i = 0; i < spectra_rows + 8; i += 4) {
    *reinterpret_cast<float4*>(rows + i) = *reinterpret_cast<const float4*>(x + i);
  }
#pragma unroll
  for (int tap = 0; tap < spectra_taps; ++tap) {
    float weight[spectra_weights];
#pragma unroll
    for (int i = 0; i < spectra_weights; i += 4) {
      *reinterpret_cast<float4*>(weight + i) = *reinterpret_cast<const float4*>(weights + tap * spectra_weights + i);
    }
#pragma unroll
    for (int row = 0; row < spectra_rows; ++row) {
#pragma unroll
      for (int k = 0; k < fourier_values; ++k) {
        sums[row][k] = fmaf(rows[row + tap + 4 - spectra_taps / 2], weight[k], sums[row][k]);
      }
    }
  }
}

/// A block makes spectra_tile rows.
__global__ void __launch_bounds__(spectra_threads)
    convolve_to_spectra_kernel(WindowInputs inputs, float slope, const float* weights, float* out, std::int64_t rows,
                               int channels) {
  __shared__ __align__(16) float x[spectra_chunk * spectra_stride];
  __shared__ __align__(16) float table[spectra_chunk * spectra_taps * spectra_weights];
  const std::int64_t first_row = std::int64_t{blockIdx.x} * spectra_tile;
  const int thread = static_cast<int>(threadIdx.x);
  float sums[spectra_rows][fourier_values] = {};
  for (int channel = 0; channel < channels; channel += spectra_chunk) {
    for (int i = thread; i < spectra_chunk / 8 * spectra_stride; i += spectra_threads) {
      const std::int64_t row = first_row - 4 + i % spectra_stride;
      const int own = i / spectra_stride * 8;
      const Float8 value =
          row >= 0 && row < rows ? rectified_mean(inputs, slope, row * channels + channel + own) : Float8{};
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        x[(own + k) * spectra_stride + i % spectra_stride] = value.at[k];
      }
    }
    for (int i = thread; i < spectra_chunk * spectra_taps * spectra_weights; i += spectra_threads) {
      table[i] = weights[channel * spectra_taps * spectra_weights + i];
    }
    __syncthreads();
#pragma unroll 1
    for (int own = 0; own < spectra_chunk; ++own) {
      add_channel(sums, x + own * spectra_stride + thread * spectra_rows, table + own * spectra_taps * spectra_weights);
    }
    __syncthreads();
  }
#pragma unroll
  for (int row = 0; row < spectra_rows; ++row) {
    const std::int64_t to = first_row + thread * spectra_rows + row;
    if (to < rows) {
#pragma unroll
      for (int k = 0; k < fourier_values; k += 2) {
        *reinterpret_cast<float2*>(out + to * spectrum_columns + k) = make_float2(sums[row][k], sums[row][k + 1]);
      }
    }
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

void leaky_windows(const WindowInputs& inputs, float slope, __nv_bfloat16* out, std::int64_t rows, int columns,
                   int taps, cudaStream_t stream) {
  leaky_windows_kernel<<<blocks_for(rows * taps * columns / 8), threads_per_block, 0, stream>>>(inputs, slope, out,
                                                                                                rows, columns, taps);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void elu_windows(const double* x, const double* bias, const std::uint8_t* valid, double* out, std::int64_t rows,
                 std::int64_t first_row, std::int64_t count, int columns, cudaStream_t stream) {
  elu_windows_kernel<<<blocks_for(count * 3 * columns / 2), threads_per_block, 0, stream>>>(x, bias, valid, out, rows,
                                                                                            first_row, count, columns);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void absolute_outputs(const double* x, const double* bias, const double* weight, const double* out_bias,
                      const std::uint8_t* valid, float* out, std::int64_t rows, int columns, cudaStream_t stream) {
  absolute_outputs_kernel<<<blocks_for(rows * warp_size), threads_per_block, 0, stream>>>(x, bias, weight, out_bias,
                                                                                          valid, out, rows, columns);
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

void convolve_to_spectra(const WindowInputs& inputs, float slope, const float* weights, float* out, std::int64_t rows,
                         int channels, cudaStream_t stream) {
  convolve_to_spectra_kernel<<<blocks_for(rows, spectra_tile), spectra_threads, 0, stream>>>(inputs, slope, weights,
                                                                                             out, rows, channels);
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
