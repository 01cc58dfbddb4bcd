#include "engine/cuda/cuda_hift.h"

#include "engine/cuda/device_pointers.h"
#include "engine/cuda/pack_weights.h"
#include "engine/device.h"
#include "engine/models/chatterbox/hift_constants.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <utility>

namespace audiobookd::engine::cuda {
namespace {

using chatterbox::Hift;
using chatterbox::VocoderInput;

/// Zero frames between utterances: at the first stage's rate they are more rows than its widest convolution looks at.
constexpr int gap_frames = 4;
constexpr std::int64_t up_taps = 3; // input rows that an output row of an upsampling layer sees
/// Zero rows before and after the source's spectra, for the windows of the first and last rows.
constexpr std::int64_t spectrum_margin = 16;
constexpr std::int64_t f0_rows = 8192; // of the F0 predictor's windows at a time

at::TensorOptions half_like(const at::Tensor& t) { return t.options().dtype(at::kBFloat16); }

/// [out, in, taps] as the [out, taps * in] that multiplies windows of rows.
at::Tensor by_taps(const at::Tensor& weight) { return weight.permute({0, 2, 1}).reshape({weight.size(0), -1}); }

/// [out, n] fp32 as a bf16 [n, out].
at::Tensor half_transposed(const at::Tensor& weight) { return weight.to(at::kBFloat16).t().contiguous(); }

/// A transposed convolution of stride s as a product: row m of the result holds output rows s m … s m + s - 1, each of
/// which sees input rows m - 1, m and m + 1. @return [3 * in, s * out]
at::Tensor upsampling_matrix(const MaskedConvTranspose1d& layer) {
  const ConvShape& shape = layer.shape();
  at::Tensor matrix = at::zeros({up_taps, shape.in, shape.stride, shape.out}, layer.weight().options());
  for (std::int64_t input = -1; input <= 1; ++input) {
    for (std::int64_t phase = 0; phase < shape.stride; ++phase) {
      const std::int64_t tap = phase + shape.padding - shape.stride * input;
      if (tap >= 0 && tap < shape.kernel) {
        matrix.select(0, input + 1).select(1, phase).copy_(layer.weight().select(2, tap));
      }
    }
  }
  return matrix.view({up_taps * shape.in, shape.stride * shape.out}).to(at::kBFloat16);
}

} // namespace

// -------------------------------------------------------------------------------------------------- VocoderRows

VocoderRows::VocoderRows(std::vector<int> lengths, const std::vector<std::int64_t>& rates, at::Device device)
    : host_lengths_(std::move(lengths)) {
  std::vector<int> owners(gap_frames, -1);
  for (std::size_t i = 0; i < host_lengths_.size(); ++i) {
    host_starts_.push_back(static_cast<int>(owners.size()));
    owners.insert(owners.end(), static_cast<std::size_t>(host_lengths_[i]), static_cast<int>(i));
    owners.insert(owners.end(), gap_frames, -1);
  }
  starts_ = upload(at::tensor(host_starts_, at::kInt), device);
  lengths_ = upload(at::tensor(host_lengths_, at::kInt), device);
  owners_ = upload(at::tensor(owners, at::kInt), device);
  valid_frames_ = owners_.ge(0).to(at::kByte);
  for (const std::int64_t rate : rates) {
    valid_.push_back(valid_frames_.unsqueeze(1).expand({valid_frames_.size(0), rate}).flatten());
  }
  const at::Tensor before = starts_.to(at::kLong) * rates.back() - 1;
  reflected_ = at::zeros_like(valid_.back()).index_fill_(0, before, 1);
  valid_.back().index_fill_(0, before, 1);
}

FrameLayout VocoderRows::layout() const {
  return {starts_.const_data_ptr<int>(), lengths_.const_data_ptr<int>(), owners_.const_data_ptr<int>(),
          static_cast<int>(host_starts_.size()), static_cast<int>(num_frames())};
}

const std::uint8_t* VocoderRows::valid_frames() const { return valid_frames_.const_data_ptr<std::uint8_t>(); }
const std::uint8_t* VocoderRows::valid(std::size_t stage) const {
  return valid_.at(stage).const_data_ptr<std::uint8_t>();
}
const std::uint8_t* VocoderRows::reflected() const { return reflected_.const_data_ptr<std::uint8_t>(); }

// -------------------------------------------------------------------------------------------------- the weights

Snake CudaHift::Activation::pointers() const { return {fp32(alpha), fp32(inverse)}; }

bool CudaHift::suits(const Hift& reference) {
  const at::Tensor& window = reference.fourier().window();
  const auto fits = [](const Hift::Stage& stage) {
    const std::int64_t channels = stage.up.shape().out;
    return (channels == 64 || channels == 128 || channels == 256) && stage.residuals.size() == 3;
  };
  return is_hopper(window.device()) && window.size(0) == fourier_size &&
         reference.conv_post().shape().kernel == spectra_taps &&
         std::all_of(reference.stages().begin(), reference.stages().end(), fits);
}

CudaHift::Block CudaHift::convert(const Hift::ResidualBlock& block) {
  Block result;
  const auto flat = [](const Hift::ResidualBlock::Snake& snake) {
    return Activation{snake.alpha.flatten(), snake.inverse.flatten()};
  };
  for (const auto& layer : block.layers) {
    const std::int64_t channels = layer.plain.shape().out;
    result.push_back({flat(layer.snake1), pack_weights(by_taps(layer.dilated.weight()), channels),
                      pack_weights(by_taps(layer.plain.weight()), channels), layer.dilated.bias(), layer.plain.bias(),
                      flat(layer.snake2), static_cast<int>(layer.plain.shape().kernel),
                      static_cast<int>(layer.dilated.shape().dilation)});
  }
  return result;
}

/// @param spectra_per_row how many source spectra go to one row of the stage.
CudaHift::Stage CudaHift::convert(const Hift::Stage& stage, std::int64_t spectra_per_row) {
  const ConvShape& down = stage.source_down.shape();
  const at::Tensor padded = at::constant_pad_nd(stage.source_down.weight().permute({0, 2, 1}),
                                                {0, spectrum_columns - fourier_values}); // [out, taps, columns]
  return {upsampling_matrix(stage.up),
          stage.up.bias(),
          half_transposed(padded.reshape({down.out, -1})),
          stage.source_down.bias(),
          down.kernel,
          spectra_per_row,
          down.padding,
          convert(stage.source_residual),
          {convert(stage.residuals[0]), convert(stage.residuals[1]), convert(stage.residuals[2])},
          static_cast<int>(down.out)};
}

CudaHift::CudaHift(const Hift& reference)
    : reference_(reference), pre_(half_transposed(by_taps(reference.conv_pre().weight()))),
      pre_bias_(reference.conv_pre().bias()),
      post_(
          at::constant_pad_nd(reference.conv_post().weight().permute({1, 2, 0}), {0, spectra_weights - fourier_values})
              .contiguous()) {
  for (const MaskedConv1d& conv : reference.f0_convs()) {
    f0_.push_back(by_taps(conv.weight()).t().contiguous());
  }
  for (const Hift::Stage& stage : reference.stages()) {
    rates_.push_back(stage.rate);
  }
  for (const Hift::Stage& stage : reference.stages()) {
    stages_.push_back(convert(stage, rates_.back() / stage.rate));
  }
}

// --------------------------------------------------------------------------------------------------- the stages

/// @param x the block's input, fp32 [rows, channels]. @param active its first Snake, bf16; overwritten.
/// @param out fp32; may be @p x.
void CudaHift::run(const Block& block, const at::Tensor& x, const at::Tensor& active, const at::Tensor& out,
                   const std::uint8_t* valid) const {
  const auto rows = static_cast<int>(x.size(0));
  const auto channels = static_cast<int>(x.size(1));
  const at::Tensor between = at::empty_like(active);
  for (std::size_t i = 0; i < block.size(); ++i) {
    const Layer& layer = block[i];
    const bool last = i + 1 == block.size();
    convolve_rows({bf16(layer.dilated), fp32(layer.dilated_bias), channels, layer.taps, layer.dilation}, bf16(active),
                  {nullptr, nullptr, layer.between.pointers(), bf16_out(between)}, valid, rows, stream());
    convolve_rows({bf16(layer.plain), fp32(layer.plain_bias), channels, layer.taps, 1}, bf16(between),
                  {fp32(i == 0 ? x : out), fp32_out(out), last ? Snake{} : block[i + 1].before.pointers(),
                   last ? nullptr : bf16_out(active)},
                  valid, rows, stream());
  }
}

/// @return fp32 [stride * rows, channels], the bias still missing
at::Tensor CudaHift::upsample(const Stage& stage, const Parts& parts) const {
  const std::int64_t rows = parts[0].size(0);
  const std::int64_t columns = parts[0].size(1);
  const at::Tensor windows = at::empty({rows, up_taps * columns}, half_like(parts[0]));
  leaky_windows({{fp32(parts[0]), fp32(parts[1]), fp32(parts[2])}}, chatterbox::hift::stage_leaky_slope,
                bf16_out(windows), rows, static_cast<int>(columns), up_taps, stream());
  return at::mm(windows, stage.up, at::kFloat).view({-1, stage.channels});
}

/// Windows over the source's spectra for the rows of a stage. Row 0 of the first mel frame is spectrum 1: an
/// utterance's spectra begin one row before it. @param spectrum with its margins. @return bf16 [rows, taps *
/// spectrum_columns]
at::Tensor CudaHift::source_windows(const Stage& stage, const at::Tensor& spectrum, std::int64_t rows) const {
  // In the last stage rows and spectra are the same.
  const std::int64_t before = stage.source_stride == 1 ? 0 : stage.source_padding + 1;
  return spectrum
      .as_strided({rows, stage.source_taps * spectrum_columns}, {stage.source_stride * spectrum_columns, 1},
                  (spectrum_margin - before) * spectrum_columns)
      .contiguous();
}

CudaHift::Parts CudaHift::run(const Stage& stage, const at::Tensor& up, const at::Tensor& source,
                              const std::uint8_t* valid, const std::uint8_t* reflected) const {
  const std::int64_t rows = up.size(0);
  const at::Tensor down = at::mm(source_windows(stage, source, rows), stage.source_down, at::kFloat);
  const at::Tensor fused = at::empty_like(up);
  const auto make_active = [&] { return at::empty(up.sizes(), half_like(up)); };
  const at::Tensor active[3] = {make_active(), make_active(), make_active()};
  fuse_rows(fp32(down), fp32(stage.source_down_bias), nullptr, valid, nullptr, fp32_out(down),
            {{stage.source_block[0].before.pointers(), {}, {}}, {bf16_out(active[0]), nullptr, nullptr}}, rows,
            stage.channels, stream());
  run(stage.source_block, down, active[0], down, valid);
  SnakeFan fan{};
  for (std::size_t i = 0; i < stage.blocks.size(); ++i) {
    fan.snake[i] = stage.blocks[i][0].before.pointers();
    fan.active[i] = bf16_out(active[i]);
  }
  fuse_rows(fp32(up), fp32(stage.up_bias), fp32(down), valid, reflected, fp32_out(fused), fan, rows, stage.channels,
            stream());
  Parts parts;
  for (std::size_t i = 0; i < stage.blocks.size(); ++i) {
    parts[i] = at::empty_like(up);
    run(stage.blocks[i], fused, active[i], parts[i], valid);
  }
  return parts;
}

at::Tensor CudaHift::decode(const at::Tensor& mel, const at::Tensor& source, const VocoderRows& rows) const {
  const std::int64_t frames = rows.num_frames();
  const auto rate = static_cast<int>(rates_.back());
  const at::Tensor spectrum = at::zeros({frames * rate + 2 * spectrum_margin, spectrum_columns}, half_like(mel));
  analyse_rows(fp32(source), fp32(reference_.fourier().analysis_basis()), rows.layout(), rate,
               bf16_out(spectrum) + spectrum_margin * spectrum_columns, stream());

  const std::int64_t taps = pre_.size(0) / mel.size(1);
  const at::Tensor windows = at::empty({frames, pre_.size(0)}, half_like(mel));
  leaky_windows({{fp32(mel), nullptr, nullptr}}, 1, bf16_out(windows), frames, static_cast<int>(mel.size(1)),
                static_cast<int>(taps), stream());
  const at::Tensor pre = at::mm(windows, pre_, at::kFloat);
  fuse_rows(fp32(pre), fp32(pre_bias_), nullptr, rows.valid_frames(), nullptr, fp32_out(pre), {}, frames,
            static_cast<int>(pre.size(1)), stream());

  Parts parts{pre, {}, {}};
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    const bool last = i + 1 == stages_.size();
    parts = run(stages_[i], upsample(stages_[i], parts), spectrum, rows.valid(i), last ? rows.reflected() : nullptr);
  }
  const at::Tensor spectra = at::empty({frames * rate, spectrum_columns}, mel.options());
  convolve_to_spectra({{fp32(parts[0]), fp32(parts[1]), fp32(parts[2])}}, chatterbox::hift::last_leaky_slope,
                      fp32(post_), fp32_out(spectra), frames * rate, static_cast<int>(parts[0].size(1)), stream());
  at::Tensor samples = at::empty_like(source);
  synthesise_rows(fp32(spectra), fp32(reference_.conv_post().bias()), fp32(reference_.fourier().synthesis_basis()),
                  fp32(reference_.fourier().window()), rows.layout(), rate, samples.data_ptr<float>(), stream());
  return samples;
}

// -------------------------------------------------------------------------------------------------- from inputs

/// @param mel fp32 [num_frames, mel_channels]. @return fp32 [num_frames] Hz, zero in the gaps
at::Tensor CudaHift::predict_f0(const at::Tensor& mel, const VocoderRows& rows) const {
  const std::int64_t frames = rows.num_frames();
  const auto doubles = [](const at::Tensor& t) { return t.const_data_ptr<double>(); };
  at::Tensor x = mel.to(at::kDouble);
  const double* bias = nullptr; // of the convolution that made x
  for (std::size_t layer = 0; layer < f0_.size(); ++layer) {
    at::Tensor y = at::empty({frames, f0_[layer].size(1)}, x.options());
    const at::Tensor windows = at::empty({std::min(frames, f0_rows), f0_[layer].size(0)}, x.options());
    for (std::int64_t first = 0; first < frames; first += f0_rows) {
      const std::int64_t count = std::min(f0_rows, frames - first);
      elu_windows(doubles(x), bias, rows.valid_frames(), windows.data_ptr<double>(), frames, first, count,
                  static_cast<int>(x.size(1)), stream());
      at::Tensor own = y.narrow(0, first, count);
      at::mm_out(own, windows.narrow(0, 0, count), f0_[layer]);
    }
    x = y;
    bias = doubles(reference_.f0_convs()[layer].bias());
  }
  at::Tensor f0 = at::empty({frames}, mel.options());
  const Linear& out = reference_.f0_out();
  absolute_outputs(doubles(x), bias, doubles(out.weight), doubles(out.bias), rows.valid_frames(), fp32_out(f0), frames,
                   static_cast<int>(x.size(1)), stream());
  return f0;
}

/// @return fp32 [num_frames * samples_per_frame]
at::Tensor CudaHift::make_source(std::span<const VocoderInput> inputs, const at::Tensor& f0,
                                 const VocoderRows& rows) const {
  const auto harmonics = static_cast<int>(reference_.source().num_harmonics());
  const auto samples_per_frame = static_cast<int>(reference_.samples_per_frame());
  std::vector<std::int64_t> addresses;
  std::vector<at::Tensor> kept; // until the kernels have been launched: the allocator serves this stream in order
  for (const bool phases : {true, false}) {
    for (const VocoderInput& input : inputs) {
      kept.push_back((phases ? input.phase : input.noise).contiguous());
      addresses.push_back(reinterpret_cast<std::int64_t>(kept.back().const_data_ptr<float>()));
    }
  }
  const at::Tensor on_device = upload(at::tensor(addresses, at::kLong), f0.device());
  const auto* pointers = reinterpret_cast<const float* const*>(on_device.const_data_ptr<std::int64_t>());
  const at::Tensor cycles = at::empty({harmonics, rows.num_frames()}, f0.options().dtype(at::kDouble));
  at::Tensor source = at::empty({rows.num_frames() * samples_per_frame}, f0.options());
  harmonic_cycles(fp32(f0), rows.layout(), harmonics, samples_per_frame, cycles.data_ptr<double>(), stream());
  const Linear& merge = reference_.source().merge();
  harmonic_source(fp32(f0), cycles.const_data_ptr<double>(),
                  {pointers, pointers + inputs.size(), fp32(merge.weight), fp32(merge.bias)}, rows.layout(), harmonics,
                  samples_per_frame, source.data_ptr<float>(), stream());
  return source;
}

std::vector<at::Tensor> CudaHift::render(std::span<const VocoderInput> inputs, const Probe& probe) const {
  std::vector<int> lengths;
  for (const VocoderInput& input : inputs) {
    lengths.push_back(static_cast<int>(input.mel.size(1)));
  }
  const VocoderRows rows(std::move(lengths), rates_, inputs[0].mel.device());
  at::Tensor mel = at::zeros({rows.num_frames(), inputs[0].mel.size(0)}, inputs[0].mel.options());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    mel.narrow(0, rows.start(i), rows.length(i)).copy_(inputs[i].mel.t());
  }
  const at::Tensor f0 = predict_f0(mel, rows);
  const at::Tensor source = make_source(inputs, f0, rows);
  const at::Tensor samples = decode(mel, source, rows);
  const std::int64_t samples_per_frame = reference_.samples_per_frame();
  std::vector<at::Tensor> waves;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const auto own = [&](const at::Tensor& signal) {
      return signal.narrow(0, rows.start(i) * samples_per_frame, rows.length(i) * samples_per_frame);
    };
    show(probe, "f0", f0.narrow(0, rows.start(i), rows.length(i)));
    show(probe, "source", own(source));
    waves.push_back(own(samples));
  }
  return waves;
}

} // namespace audiobookd::engine::cuda
