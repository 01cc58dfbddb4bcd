// Kernels of the vocoder in bf16: convolutions over rows with Snake around them, and the element-wise work between.
//
// Channels are last: a matrix [rows, channels] holds utterances one after another with gaps of zero rows between them,
// wide enough for every convolution to look into. `valid` [rows] is 1 for rows of utterances and 0 in the gaps, where
// every result is zero again. Every function launches on @p stream and returns at once; pointers are device memory,
// matrices contiguous; null pointers mean "absent" where the comment says so. Throws c10::Error when a launch fails.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

namespace audiobookd::engine::cuda {

/// x + sin^2(alpha x) / alpha; fp32 [channels] each.
struct Snake {
  const float* alpha;
  const float* inverse; ///< 1 / (alpha + 1e-9)
};

/// A convolution with stride 1 that keeps the length; as many channels out as in.
struct RowConvolution {
  const __nv_bfloat16*
      weights;       ///< pack_weights([channels, taps * channels], channels), taps in the order of their rows
  const float* bias; ///< [channels]
  int channels;      ///< 64, 128 or 256
  int taps;          ///< odd
  int dilation;      ///< (taps - 1) * dilation is at most max_convolution_reach
};
inline constexpr int max_convolution_reach = 56;

/// What becomes of a convolution's result.
struct RowResult {
  const float* residual; ///< [rows, channels], is added first; or null
  float* plain;          ///< where the sum goes; may be @p residual; or null
  Snake snake;           ///< of the sum, where @p active is given
  __nv_bfloat16* active; ///< where snake(sum) goes; or null
};

/// @param x bf16 [rows, channels]. Hopper only (sm_90a).
void convolve_rows(const RowConvolution& layer, const __nv_bfloat16* x, const RowResult& result,
                   const std::uint8_t* valid, int rows, cudaStream_t stream);

/// Three matrices fp32 [rows, columns]; the second and third may be null.
struct WindowInputs {
  const float* rows[3];
};

/// Row n of out is rows n - taps / 2 … n + taps / 2 of the mean of up to three inputs, leaky-rectified, side by side;
/// zeros beyond the first and the last row. @param slope of negative values; 1 leaves them.
/// @param columns a multiple of 8. @param out bf16 [rows, taps * columns]
void leaky_windows(const WindowInputs& inputs, float slope, __nv_bfloat16* out, std::int64_t rows, int columns,
                   int taps, cudaStream_t stream);

/// Row n of out is rows n - 1, n, n + 1 of ELU(x + bias) side by side, in double, with zeros where a row is not valid.
/// Rows @p first_row … first_row + count - 1 are made, also beyond @p rows.
/// @param x [rows, columns], columns even. @param bias [columns], or null for the rows of x as they are.
/// @param out [count, 3 * columns]
void elu_windows(const double* x, const double* bias, const std::uint8_t* valid, double* out, std::int64_t rows,
                 std::int64_t first_row, std::int64_t count, int columns, cudaStream_t stream);

/// |ELU(x + bias) weight + out_bias| in valid rows, 0 in the others, summed in double. @param x [rows, columns].
/// @param bias, weight [columns]. @param out_bias [1]. @param out [rows]
void absolute_outputs(const double* x, const double* bias, const double* weight, const double* out_bias,
                      const std::uint8_t* valid, float* out, std::int64_t rows, int columns, cudaStream_t stream);

/// Where snake(x) goes for up to three different Snakes; null: not wanted.
struct SnakeFan {
  Snake snake[3];
  __nv_bfloat16* active[3];
};

/// x + bias (+ other) in valid rows, 0 in the others, plain and through Snakes.
/// @param x, other fp32 [rows, channels]; other may be null.
/// @param reflected [rows]: a row n with a 1 takes row n + 2 of x instead; or null.
/// @param plain fp32 [rows, channels]; may be @p x where nothing is reflected.
void fuse_rows(const float* x, const float* bias, const float* other, const std::uint8_t* valid,
               const std::uint8_t* reflected, float* plain, const SnakeFan& fan, std::int64_t rows, int channels,
               cudaStream_t stream);

/// Where utterances lie along time, in frames of the mel spectrogram: utterance u has frames starts[u] …
/// starts[u] + lengths[u] - 1 of num_frames; owners[frame] is its utterance, or -1 in the gaps. At a rate of r a frame,
/// frame f is rows r f … r f + r - 1.
struct FrameLayout {
  const int* starts;
  const int* lengths;
  const int* owners;
  int num_utterances;
  int num_frames;
};

/// Cycles of every harmonic at the beginning of each frame, increments f0 h / 24000 rounded to fp32, summed in double.
/// @param f0 [num_frames] Hz. @param out [harmonics, num_frames]
void harmonic_cycles(const float* f0, const FrameLayout& layout, int harmonics, int samples_per_frame, double* out,
                     cudaStream_t stream);

/// Of every utterance.
struct SourceInputs {
  const float* const* phases; ///< [utterances] of [harmonics] initial phases; the first counts as 0
  const float* const* noises; ///< [utterances] of [harmonics, lengths * samples_per_frame]
  const float* merge_weight;  ///< [harmonics]
  const float* merge_bias;    ///< [1]
};

/// The excitation as HarmonicSource makes it. @param cycles of harmonic_cycles().
/// @param out [num_frames * samples_per_frame], zero in the gaps
void harmonic_source(const float* f0, const double* cycles, const SourceInputs& inputs, const FrameLayout& layout,
                     int harmonics, int samples_per_frame, float* out, cudaStream_t stream);

/// Sizes of the vocoder's short-time Fourier transform; window and basis as in ShortFourier.
inline constexpr int fourier_size = 16;
inline constexpr int fourier_hop = 4;
inline constexpr int fourier_values = fourier_size + 2; ///< of a spectrum: real parts, then imaginary parts
inline constexpr int spectrum_columns = 24;             ///< of a row that holds one, the rest zero

/// Centred analysis with reflected borders. Frame p of an utterance, 0 … rate * lengths, goes to row
/// rate * starts - 1 + p. @param basis [fourier_values, fourier_size]. @param rate of spectra a mel frame.
/// @param out bf16 [rate * num_frames, spectrum_columns], zero in all other rows
void analyse_rows(const float* signal, const float* basis, const FrameLayout& layout, int rate, __nv_bfloat16* out,
                  cudaStream_t stream);

inline constexpr int spectra_taps = 7;
/// Values that convolve_to_spectra()'s weights hold for a spectrum, the last ones zero.
inline constexpr int spectra_weights = 20;

/// The convolution of spectra_taps that makes spectra from the mean of three inputs, leaky-rectified; in fp32
/// throughout, for they are logarithms and phases. The bias is left to synthesise_rows().
/// @param inputs fp32 [rows, channels] each, channels a multiple of 16.
/// @param weights [channels, spectra_taps, spectra_weights]. @param out [rows, spectrum_columns], the last columns
/// undefined
void convolve_to_spectra(const WindowInputs& inputs, float slope, const float* weights, float* out, std::int64_t rows,
                         int channels, cudaStream_t stream);

/// From log magnitudes and raw phases to samples: magnitudes exp(·) up to 100, phases sin(·), inverse transform,
/// clamped to +-0.99. @param spectra fp32 [rate * num_frames, spectrum_columns], rows as in analyse_rows(), without the
/// bias. @param bias [fourier_values]. @param basis [fourier_values, fourier_size] of synthesis. @param window [16].
/// @param out [rate * fourier_hop * num_frames], undefined in the gaps
void synthesise_rows(const float* spectra, const float* bias, const float* basis, const float* window,
                     const FrameLayout& layout, int rate, float* out, cudaStream_t stream);

} // namespace audiobookd::engine::cuda
