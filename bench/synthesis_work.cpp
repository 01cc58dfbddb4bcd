#include "bench/synthesis_work.h"

#include <numeric>

namespace audiobookd::bench {
namespace {

using engine::chatterbox::FlowConfig;
using engine::chatterbox::HiftConfig;

constexpr double frames_per_token = 2;
constexpr double guidance_rows = 2;
constexpr double feed_forward_factor = 4;
constexpr double estimator_kernel = 3;
constexpr double edge_kernel = 7; // of the vocoder's first and last convolution
constexpr double f0_kernel = 3;
constexpr double f0_convolutions = 5;

/// Operations a row of a linear layer, or of a convolution with so many taps.
double linear(double in, double out, double taps = 1) { return 2 * in * out * taps; }

/// Scores and weighted sum of rows that all attend to one another, @p width values each over all heads.
double attention(double rows, double width) { return 2 * linear(rows, width) * rows; }

/// Conformer blocks at one rate: attention whose scores also cover 2 rows - 1 relative positions.
double conformer(const FlowConfig& c, int blocks, double rows) {
  const double size = c.encoder_size;
  const double row = linear(size, 4 * size) + 2 * linear(size, c.encoder_linear_units);
  return blocks * (rows * row + attention(rows, size) + linear(rows, 2 * rows - 1) * size);
}

double encoder(const FlowConfig& c, double tokens) {
  const double size = c.encoder_size;
  const double frames = frames_per_token * tokens;
  const double look_ahead = linear(size, size, c.encoder_pre_lookahead + 1) + linear(size, size, 3);
  const double token_row = linear(size, size) + look_ahead;
  const double frame_row =
      linear(size, size, 2 * frames_per_token + 1) + linear(size, size) + linear(size, c.mel_channels);
  return tokens * token_row + frames * frame_row + conformer(c, c.encoder_blocks, tokens) +
         conformer(c, c.encoder_up_blocks, frames);
}

/// A stage of the estimator whose input is @p in wide, without attention's products.
double estimator_stage(const FlowConfig& c, double in) {
  const double channels = c.estimator_channels;
  const double inner = c.estimator_heads * c.estimator_head_dim;
  const double residual =
      linear(in, channels, estimator_kernel) + linear(channels, channels, estimator_kernel) + linear(in, channels);
  const double block =
      linear(channels, 3 * inner) + linear(inner, channels) + 2 * linear(channels, feed_forward_factor * channels);
  return residual + c.estimator_blocks_per_stage * block;
}

double estimator_frame(const FlowConfig& c) {
  const double channels = c.estimator_channels;
  const double convolution = linear(channels, channels, estimator_kernel);
  return estimator_stage(c, c.estimator_in_channels) + c.estimator_mid_stages * estimator_stage(c, channels) +
         estimator_stage(c, 2 * channels) + 3 * convolution + linear(channels, c.mel_channels); // down, up and final
}

/// Residual blocks of one kernel each, side by side: pairs of a dilated and a plain convolution.
double residual_blocks(double kernels, double channels, double dilations) {
  return dilations * 2 * linear(channels, channels, kernels);
}

double vocoder_frame(const HiftConfig& c, double mel_channels) {
  const double spectrum = c.istft_n_fft + 2;
  const double kernels = std::accumulate(c.resblock_kernels.begin(), c.resblock_kernels.end(), 0);
  const auto dilations = static_cast<double>(c.resblock_dilations.size());
  double flop = linear(mel_channels, c.base_channels, edge_kernel) + linear(mel_channels, c.f0_channels, f0_kernel) +
                (f0_convolutions - 1) * linear(c.f0_channels, c.f0_channels, f0_kernel) + linear(c.f0_channels, 1);
  const double spectrum_rate = std::accumulate(c.upsample_rates.begin(), c.upsample_rates.end(), 1.0,
                                               [](double product, int rate) { return product * rate; });
  double rate = 1;
  double channels = c.base_channels;
  for (std::size_t i = 0; i < c.upsample_rates.size(); ++i) {
    const double stride = c.upsample_rates[i];
    rate *= stride;
    const double down = spectrum_rate / rate;
    const double source_taps = down == 1 ? 1 : 2 * down;
    flop += rate * linear(channels, channels / 2, c.upsample_kernels[i] / stride);
    channels /= 2;
    flop += rate * (linear(spectrum, channels, source_taps) +
                    residual_blocks(c.source_resblock_kernels[i], channels, dilations) +
                    residual_blocks(kernels, channels, dilations));
  }
  return flop + spectrum_rate * linear(channels, spectrum, edge_kernel);
}

} // namespace

SynthesisWork& SynthesisWork::operator+=(const SynthesisWork& other) {
  encoder_flop += other.encoder_flop;
  cfm_gemm_flop += other.cfm_gemm_flop;
  cfm_attention_flop += other.cfm_attention_flop;
  vocoder_flop += other.vocoder_flop;
  return *this;
}

SynthesisWork synthesis_work(const FlowConfig& flow, const HiftConfig& hift, std::int64_t prompt_tokens,
                             std::int64_t tokens, int cfm_steps) {
  const auto seen = static_cast<double>(prompt_tokens + tokens);
  const double frames = frames_per_token * seen;
  const double passes = guidance_rows * cfm_steps;
  const double blocks = (flow.estimator_mid_stages + 2.0) * flow.estimator_blocks_per_stage;
  SynthesisWork work;
  work.encoder_flop = encoder(flow, seen);
  work.cfm_gemm_flop = passes * frames * estimator_frame(flow);
  work.cfm_attention_flop = passes * blocks * attention(frames, flow.estimator_heads * flow.estimator_head_dim);
  work.vocoder_flop = frames_per_token * static_cast<double>(tokens) * vocoder_frame(hift, flow.mel_channels);
  return work;
}

} // namespace audiobookd::bench
