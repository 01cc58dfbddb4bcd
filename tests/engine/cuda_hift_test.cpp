// The bf16 vocoder on a GPU: kernels against ATen in fp32, whole utterances against the fp32 vocoder, and utterances in
// company against the same alone.
#include "engine/cuda/cuda_hift.h"
#include "engine/cuda/device_pointers.h"
#include "engine/cuda/hift_kernels.h"
#include "engine/cuda/pack_weights.h"
#include "engine/models/chatterbox/hift.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

#include <ATen/ATen.h>
#include <memory>

namespace audiobookd::tests {
namespace {

using engine::chatterbox::Config;
using engine::chatterbox::HarmonicSource;
using engine::chatterbox::Hift;
using engine::chatterbox::ShortFourier;
using engine::chatterbox::VocoderInput;
using engine::cuda::bf16;
using engine::cuda::bf16_out;
using engine::cuda::CudaHift;
using engine::cuda::fp32;
using engine::cuda::pack_weights;
using engine::cuda::stream;
using engine::cuda::VocoderRows;

at::Tensor drawn(at::IntArrayRef shape) { return at::randn(shape).to(test_device()); }
at::Tensor drawn_short(at::IntArrayRef shape) { return drawn(shape).to(at::kBFloat16).to(at::kFloat); }

at::Tensor snake(const at::Tensor& x, const at::Tensor& alpha) { return x + at::sin(alpha * x).square() / alpha; }

void expect_convolution(std::int64_t channels, std::int64_t taps, std::int64_t dilation) {
  at::manual_seed(21);
  constexpr std::int64_t rows = 391;
  const at::Tensor x = drawn_short({rows, channels});
  const at::Tensor residual = drawn({rows, channels});
  const at::Tensor weight = drawn_short({channels, channels, taps}) / std::sqrt(static_cast<double>(channels * taps));
  const at::Tensor exact = weight.to(at::kBFloat16).to(at::kFloat);
  const at::Tensor bias = drawn({channels});
  const at::Tensor alpha = at::rand({channels}).to(test_device()) + 0.5;
  const at::Tensor inverse = 1 / alpha;
  const at::Tensor valid = at::rand({rows}).gt(0.2).to(at::kByte).to(test_device());
  const at::Tensor packed = pack_weights(exact.permute({0, 2, 1}).reshape({channels, -1}), channels);
  const at::Tensor half = x.to(at::kBFloat16);
  const at::Tensor plain = at::full({rows, channels}, 9, x.options());
  const at::Tensor active = at::full({rows, channels}, 9, half.options());
  engine::cuda::convolve_rows(
      {bf16(packed), fp32(bias), static_cast<int>(channels), static_cast<int>(taps), static_cast<int>(dilation)},
      bf16(half), {fp32(residual), plain.data_ptr<float>(), {fp32(alpha), fp32(inverse)}, bf16_out(active)},
      valid.const_data_ptr<std::uint8_t>(), static_cast<int>(rows), stream());
  const at::Tensor convolved =
      at::conv1d(x.t().unsqueeze(0), exact, bias, 1, (taps - 1) / 2 * dilation, dilation).squeeze(0).t();
  const at::Tensor expected = (convolved + residual) * valid.unsqueeze(1);
  EXPECT_LT(relative_error(plain, expected), 1e-5);
  EXPECT_LT(relative_error(active, snake(expected, alpha)), 4e-3);
}

TEST(GpuHiftKernels, RowConvolutionsMatchAten) {
  for (const std::int64_t channels : {64, 128, 256}) {
    for (const auto& [taps, dilation] : {std::pair{3, 1}, {7, 3}, {11, 5}}) {
      SCOPED_TRACE(std::to_string(channels) + " channels, " + std::to_string(taps) + " taps, dilation " +
                   std::to_string(dilation));
      expect_convolution(channels, taps, dilation);
    }
  }
}

TEST(GpuHiftKernels, SpectraMatchAten) {
  at::manual_seed(25);
  for (const std::int64_t rows : {1300, 3}) {
    SCOPED_TRACE(rows);
    const at::Tensor inputs[3] = {drawn({rows, 64}), drawn({rows, 64}), drawn({rows, 64})};
    const at::Tensor weight = drawn({18, 64, 7}) / 20;
    const at::Tensor packed = at::constant_pad_nd(weight.permute({1, 2, 0}), {0, 2}).contiguous();
    const at::Tensor out = at::empty({rows, 24}, weight.options());
    engine::cuda::convolve_to_spectra({{fp32(inputs[0]), fp32(inputs[1]), fp32(inputs[2])}}, 0.01F, fp32(packed),
                                      out.data_ptr<float>(), rows, 64, stream());
    const at::Tensor mean = at::leaky_relu((inputs[0] + inputs[1] + inputs[2]) / 3, 0.01);
    const at::Tensor expected = at::conv1d(mean.t().unsqueeze(0), weight, {}, 1, 3).squeeze(0).t();
    EXPECT_LT(relative_error(out.narrow(1, 0, 18), expected), 1e-6);
  }
}

TEST(GpuHiftKernels, SourcesMatchAten) {
  const c10::InferenceMode inference;
  at::manual_seed(22);
  const Config config;
  const HarmonicSource reference(config.hift, engine::StateDict::synthetic("source", test_device()), 480);
  const VocoderRows rows({3, 200, 57}, {8, 40, 120}, test_device());
  at::Tensor f0 = at::zeros({rows.num_frames()}, test_device());
  std::vector<at::Tensor> phases, noises, own_f0;
  std::vector<std::int64_t> addresses;
  for (std::size_t i = 0; i < 3; ++i) {
    own_f0.push_back((at::randn({rows.length(i)}) * 100 + 100).clamp_min(0).to(test_device()));
    f0.narrow(0, rows.start(i), rows.length(i)).copy_(own_f0.back());
    phases.push_back(drawn({9}));
    noises.push_back(drawn({9, std::int64_t{480} * rows.length(i)}));
  }
  for (const auto* group : {&phases, &noises}) {
    for (const at::Tensor& t : *group) {
      addresses.push_back(reinterpret_cast<std::int64_t>(t.const_data_ptr()));
    }
  }
  const at::Tensor pointers = at::tensor(addresses, at::kLong).to(test_device());
  const auto* at_device = reinterpret_cast<const float* const*>(pointers.const_data_ptr());
  const at::Tensor cycles = at::empty({9, rows.num_frames()}, f0.options().dtype(at::kDouble));
  const at::Tensor out = at::full({rows.num_frames() * 480}, 5, f0.options());
  engine::cuda::harmonic_cycles(fp32(f0), rows.layout(), 9, 480, cycles.data_ptr<double>(), stream());
  engine::cuda::harmonic_source(
      fp32(f0), cycles.const_data_ptr<double>(),
      {at_device, at_device + 3, fp32(reference.merge().weight), fp32(reference.merge().bias)}, rows.layout(), 9, 480,
      out.data_ptr<float>(), stream());
  for (std::size_t i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    EXPECT_TENSOR_NEAR(out.narrow(0, std::int64_t{480} * rows.start(i), std::int64_t{480} * rows.length(i)),
                       reference(own_f0[i], phases[i], noises[i]), 2e-5);
  }
  EXPECT_EQ(out[0].item<float>(), 0.0F);
}

TEST(GpuHiftKernels, FourierTransformsMatchAten) {
  const c10::InferenceMode inference;
  at::manual_seed(23);
  const ShortFourier reference(16, 4, test_device());
  const VocoderRows rows({2, 30, 9}, {8, 40, 120}, test_device());
  const at::Tensor signal = drawn({rows.num_frames() * 480});
  const at::Tensor spectra = at::full({rows.num_frames() * 120, 24}, 3, signal.options().dtype(at::kBFloat16));
  engine::cuda::analyse_rows(fp32(signal), fp32(reference.analysis_basis()), rows.layout(), 120, bf16_out(spectra),
                             stream());
  const at::Tensor raw = drawn({rows.num_frames() * 120, 24});
  const at::Tensor bias = drawn({18});
  const at::Tensor samples = at::zeros({rows.num_frames() * 480}, signal.options());
  engine::cuda::synthesise_rows(fp32(raw), fp32(bias), fp32(reference.synthesis_basis()), fp32(reference.window()),
                                rows.layout(), 120, samples.data_ptr<float>(), stream());
  for (std::size_t i = 0; i < 3; ++i) {
    SCOPED_TRACE(i);
    const std::int64_t start = rows.start(i);
    const std::int64_t count = std::int64_t{120} * rows.length(i) + 1;
    const at::Tensor own = spectra.narrow(0, start * 120 - 1, count);
    const at::Tensor expected =
        reference.analyse(signal.narrow(0, start * 480, std::int64_t{480} * rows.length(i))).t();
    EXPECT_LT(relative_error(own.narrow(1, 0, 18), expected), 4e-3);
    EXPECT_EQ(own.narrow(1, 18, 6).to(at::kFloat).abs().max().item<float>(), 0.0F);
    EXPECT_EQ(spectra[start * 120 - 2].to(at::kFloat).abs().max().item<float>(), 0.0F);
    const at::Tensor values = (raw.narrow(0, start * 120 - 1, count).narrow(1, 0, 18) + bias).t();
    const at::Tensor magnitude = values.narrow(0, 0, 9).exp().clamp_max(100);
    const at::Tensor phase = values.narrow(0, 9, 9).sin();
    EXPECT_TENSOR_NEAR(samples.narrow(0, start * 480, std::int64_t{480} * rows.length(i)),
                       reference.synthesise(magnitude * phase.cos(), magnitude * phase.sin()).clamp(-0.99, 0.99), 1e-4);
  }
}

/// The vocoder at published size, shared by the tests of the suite.
class GpuHift : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    const Config config;
    reference_ =
        std::make_unique<Hift>(config.hift, config.flow.mel_channels,
                               engine::StateDict::synthetic("full-size s3gen", test_device()).select("mel2wav."));
  }
  static void TearDownTestSuite() { reference_.reset(); }

  static std::vector<VocoderInput> drawn_inputs(const std::vector<std::int64_t>& lengths) {
    at::manual_seed(24);
    std::vector<VocoderInput> inputs;
    for (const std::int64_t length : lengths) {
      inputs.push_back({drawn({80, length}), drawn({9}), drawn({9, 480 * length})});
    }
    return inputs;
  }
  static inline std::unique_ptr<Hift> reference_;
};

TEST_F(GpuHift, WaveformsAreCloseToFp32) {
  const c10::InferenceMode inference;
  const CudaHift vocoder(*reference_);
  const std::vector<VocoderInput> inputs = drawn_inputs({12, 1, 77, 40});
  const std::vector<at::Tensor> expected = reference_->render(inputs, {});
  const std::vector<at::Tensor> found = vocoder.render(inputs, {});
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE("utterance " + std::to_string(i));
    ASSERT_EQ(found[i].sizes().vec(), expected[i].sizes().vec());
    EXPECT_GT(signal_to_noise_db(found[i], expected[i]), 27);
  }
}

TEST_F(GpuHift, FundamentalFrequenciesAreThoseOfFp32) {
  const c10::InferenceMode inference;
  const CudaHift vocoder(*reference_);
  const std::vector<VocoderInput> inputs = drawn_inputs({12, 1, 77, 5000});
  std::vector<at::Tensor> found;
  const auto keep = [&](std::string_view name, const at::Tensor& value) {
    if (name == "f0") {
      found.push_back(value.clone());
    }
  };
  (void)vocoder.render(inputs, keep);
  ASSERT_EQ(found.size(), inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    SCOPED_TRACE("utterance " + std::to_string(i));
    const std::int64_t length = inputs[i].mel.size(1);
    const at::Tensor expected = reference_->predict_f0(inputs[i].mel.unsqueeze(0), {&length, 1}).squeeze(0);
    EXPECT_LT(relative_error(found[i], expected), 1e-5);
  }
}

TEST_F(GpuHift, CompanyChangesNothing) {
  const c10::InferenceMode inference;
  const CudaHift vocoder(*reference_);
  const std::vector<VocoderInput> inputs = drawn_inputs({12, 50, 31});
  const std::vector<at::Tensor> together = vocoder.render(inputs, {});
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const at::Tensor alone = vocoder.render({&inputs[i], 1}, {}).at(0);
    EXPECT_GT(signal_to_noise_db(together[i], alone), 60) << "utterance " << i;
  }
}

} // namespace
} // namespace audiobookd::tests
