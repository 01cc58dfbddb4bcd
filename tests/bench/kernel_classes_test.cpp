// Names as the profiler gives them, of kernels that T3 and S3Gen ran on an H200.
#include "bench/kernel_classes.h"

#include <gtest/gtest.h>

namespace audiobookd::bench {
namespace {

TEST(KernelClasses, TellsDecodeAttentionFromAttentionOverPrompts) {
  EXPECT_EQ(kernel_class("void audiobookd::engine::cuda::(anonymous namespace)::decode_attention_kernel<8>(…)"),
            "decode_attention");
  EXPECT_EQ(kernel_class("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4, false, false, "
                         "cutlass::bfloat16_t, …> >(…)"),
            "attention");
  EXPECT_EQ(kernel_class("fmha_cutlassF_f32_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<float, …>)"),
            "attention");
}

TEST(KernelClasses, TellsConvolutionsThatAreImplicitGemmsFromGemms) {
  EXPECT_EQ(kernel_class("sm80_xmma_fprop_implicit_gemm_f32f32_f32f32_f32_nchwkcrs_nchw_tilesize128x32x8_stage3"),
            "convolution");
  EXPECT_EQ(kernel_class("void cudnn::detail::dgrad_engine<float, 512, 6, 5, 3, 3, 3, false>(int, …)"), "convolution");
  EXPECT_EQ(kernel_class("sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize128x128x8_stage3_warpsize2x2x1_ffma"), "gemm");
  EXPECT_EQ(kernel_class("nvjet_sm90_tst_128x128_64x6_2x1_v_ssched_bz_TNT"), "gemm");
  EXPECT_EQ(kernel_class("void cublasLt::splitKreduce_kernel<32, 16, int, float, …>(…)"), "gemm");
}

TEST(KernelClasses, TellsNormsFromNormalNumbers) {
  EXPECT_EQ(kernel_class("audiobookd::engine::cuda::(anonymous namespace)::rms_norm_kernel(float const*, …)"), "norm");
  EXPECT_EQ(kernel_class("audiobookd::engine::kernels::(anonymous namespace)::fill_normal_kernel(float*, …)"),
            "random");
}

TEST(KernelClasses, TellsTheSamplerFromUpsampling) {
  EXPECT_EQ(kernel_class("audiobookd::engine::cuda::(anonymous namespace)::sample_kernel(float const*, …)"), "sampler");
  EXPECT_EQ(kernel_class("void at::native::(anonymous namespace)::upsample_nearest1d_out_frame<float, …>(…)"),
            "elementwise");
}

TEST(KernelClasses, CountsFillsCopiesAndIndexingAsCopies) {
  EXPECT_EQ(kernel_class("Memcpy DtoH (Device -> Pinned)"), "copy");
  EXPECT_EQ(kernel_class("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<int>, …>(…)"),
            "copy");
  EXPECT_EQ(kernel_class("void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl_nocast<"
                         "at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)…> >(…)"),
            "copy");
  EXPECT_EQ(kernel_class("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, …>(…)"),
            "elementwise");
}

TEST(KernelClasses, KnowsTheEnginesOwnKernels) {
  EXPECT_EQ(kernel_class("audiobookd::engine::cuda::attended_text_kernel(…)"), "alignment");
  EXPECT_EQ(kernel_class("audiobookd::engine::cuda::leaky_windows_kernel(…)"), "convolution");
  EXPECT_EQ(kernel_class("audiobookd::engine::cuda::norm_mish_shortcut_kernel(…)"), "norm");
  EXPECT_EQ(kernel_class("audiobookd::engine::cuda::add_bias_gelu_kernel(…)"), "elementwise");
  EXPECT_EQ(kernel_class("audiobookd::engine::cuda::gather_pages_kernel(…)"), "copy");
  EXPECT_EQ(kernel_class("audiobookd::engine::cuda::synthesise_rows_kernel(…)"), "fft");
}

TEST(KernelClasses, SaysOtherOfWhatItDoesNotKnow) { EXPECT_EQ(kernel_class("mystery_kernel"), "other"); }

} // namespace
} // namespace audiobookd::bench
