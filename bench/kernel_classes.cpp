#include "bench/kernel_classes.h"

#include <algorithm>
#include <array>

namespace audiobookd::bench {
namespace {

struct Pattern {
  std::string_view part; // of the kernel's name, as it is written there
  std::string_view kernel_class;
};

/// The first pattern that occurs in a name decides, so the narrow ones stand before the wide ones: an attention kernel
/// may be full of cutlass types, a convolution is often called an implicit GEMM, and "normal" is not a norm.
constexpr std::array patterns = {
    Pattern{"decode_attention", "decode_attention"},
    Pattern{"attended_text", "alignment"}, // which text position T3 attends to
    Pattern{"flash_fwd", "attention"},     // of whole sequences: prompts, S3Gen
    Pattern{"fmha", "attention"},
    Pattern{"sdpa", "attention"},
    Pattern{"attention", "attention"},
    Pattern{"rope", "rope"},
    Pattern{"upsample", "elementwise"},
    Pattern{"sample_", "sampler"},
    Pattern{"normal_kernel", "random"},
    Pattern{"distribution", "random"},
    Pattern{"philox", "random"},
    Pattern{"fprop", "convolution"},
    Pattern{"dgrad", "convolution"}, // how cuDNN runs a transposed convolution
    Pattern{"implicit_gemm", "convolution"},
    Pattern{"convol", "convolution"},
    Pattern{"conv_", "convolution"},
    Pattern{"conv1d", "convolution"},
    Pattern{"conv2d", "convolution"},
    Pattern{"_windows", "convolution"}, // gathers what a convolution multiplies as a GEMM
    Pattern{"winograd", "convolution"},
    Pattern{"im2col", "convolution"},
    Pattern{"col2im", "convolution"},
    Pattern{"cudnn", "convolution"}, // its layout changes too
    Pattern{"nvjet", "gemm"},        // cuBLAS on Hopper
    Pattern{"gemm", "gemm"},
    Pattern{"gemv", "gemm"},
    Pattern{"splitK", "gemm"},
    Pattern{"cutlass", "gemm"},
    Pattern{"cublas", "gemm"},
    Pattern{"norm", "norm"},
    Pattern{"Norm", "norm"},
    Pattern{"Moments", "norm"}, // first half of ATen's layer and group norm
    Pattern{"silu", "elementwise"},
    Pattern{"gelu", "elementwise"},
    Pattern{"snake", "elementwise"},
    Pattern{"add_and_round", "elementwise"},
    Pattern{"euler_step", "elementwise"},
    Pattern{"fuse_rows", "elementwise"},
    Pattern{"harmonic", "harmonic_source"}, // of HiFT
    Pattern{"analyse_rows", "fft"},         // HiFT's own STFT, and its inverse
    Pattern{"synthesise_rows", "fft"},
    Pattern{"fft", "fft"},
    Pattern{"embed_step", "copy"},
    Pattern{"Memcpy", "copy"},
    Pattern{"Memset", "copy"},
    Pattern{"copy", "copy"},
    Pattern{"CatArray", "copy"},
    Pattern{"FillFunctor", "copy"},
    Pattern{"index", "copy"}, // index_select, index_copy, index_fill
    Pattern{"gather", "copy"},
    Pattern{"scatter", "copy"},
    Pattern{"constant_pad", "copy"},
    Pattern{"softmax", "reduction"},
    Pattern{"SoftMax", "reduction"},
    Pattern{"reduce", "reduction"},
    Pattern{"scan", "reduction"},
    Pattern{"elementwise", "elementwise"},
    Pattern{"vectorized", "elementwise"},
};

} // namespace

std::string_view kernel_class(std::string_view name) {
  const auto* const found = std::find_if(patterns.begin(), patterns.end(), [&](const Pattern& pattern) {
    return name.find(pattern.part) != std::string_view::npos;
  });
  return found == patterns.end() ? "other" : found->kernel_class;
}

} // namespace audiobookd::bench
