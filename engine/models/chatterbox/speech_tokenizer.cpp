// The S3 speech tokenizer through ATen.
#include "engine/models/chatterbox/speech_tokenizer.h"

#include "engine/models/chatterbox/clip_features.h"
#include "engine/models/chatterbox/layout_builder.h"

#include <ATen/ATen.h>
#include <cmath>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr std::int64_t n_fft = 400;
constexpr std::int64_t memory_kernel = 31;
constexpr std::int64_t num_digits = 8;
constexpr double norm_epsilon = 1e-5;
constexpr double digit_scale = 0.9990000128746033; // keeps tanh from rounding beyond the outermost digit

/// Angles of the rotary embedding (Su et al. 2021), base 10000. @return cosines and sines, [2, length, head_dim / 2]
at::Tensor rotary_table(std::int64_t length, std::int64_t head_dim, at::Device device) {
  const at::Tensor exponents = at::arange(0, head_dim, 2, at::kFloat) / static_cast<double>(head_dim);
  const at::Tensor frequencies = 1.0 / at::pow(at::Scalar(10000.0), exponents);
  const at::Tensor angles = at::outer(at::arange(length, at::kFloat), frequencies);
  return at::stack({at::cos(angles), at::sin(angles)}).to(device);
}

/// Pairs are (i, i + width / 2). @param x [length, heads, width]. @return [heads, length, width]
at::Tensor rotate(const at::Tensor& x, const at::Tensor& rotary) {
  const at::Tensor heads = x.transpose(0, 1);
  const std::vector<at::Tensor> halves = heads.chunk(2, -1);
  const at::Tensor cosines = rotary[0];
  const at::Tensor sines = rotary[1];
  return at::cat({halves[0] * cosines - halves[1] * sines, halves[1] * cosines + halves[0] * sines}, -1);
}

at::Tensor table(const StateDict& weights, const char* name, const at::Tensor& computed) {
  return weights.contains(name) ? weights.get(name, computed.sizes()) : computed;
}

ConvShape halving(std::int64_t in, std::int64_t out) {
  return {.in = in, .out = out, .kernel = 3, .stride = 2, .padding = 1};
}

} // namespace

FsmnBlock::FsmnBlock(const StateDict& weights, std::int64_t size, std::int64_t num_heads)
    : num_heads_(num_heads), attention_norm_(weights, "attn_ln", size, norm_epsilon),
      query_(weights, "attn.query", size, size), key_weight_(weights.get("attn.key.weight", {size, size})),
      value_(weights, "attn.value", size, size), out_(weights, "attn.out", size, size),
      memory_weight_(weights.get("attn.fsmn_block.weight", {size, 1, memory_kernel})),
      feed_forward_norm_(weights, "mlp_ln", size, norm_epsilon), widen_(weights, "mlp.0", size, 4 * size),
      narrow_(weights, "mlp.2", 4 * size, size) {}

at::Tensor FsmnBlock::attend(const at::Tensor& x, const at::Tensor& rotary) const {
  const std::int64_t size = x.size(1);
  const auto by_head = [&](const at::Tensor& t) { return t.view({t.size(0), num_heads_, -1}); };
  const at::Tensor value = value_(x);
  const at::Tensor channels = value.t().unsqueeze(0); // [1, size, length]
  const at::Tensor memory = at::conv1d(channels, memory_weight_, {}, 1, memory_kernel / 2, 1, size) + channels;
  const at::Tensor query = rotate(by_head(query_(x)), rotary);
  const at::Tensor key = rotate(by_head(at::linear(x, key_weight_)), rotary);
  // Written out, so that it is fp32 on every device.
  const std::int64_t head_dim = size / num_heads_;
  const double scale = 1 / std::sqrt(static_cast<double>(head_dim));
  const at::Tensor weights = at::softmax(at::matmul(query * scale, key.transpose(1, 2)), -1);
  const at::Tensor attended = at::matmul(weights, by_head(value).transpose(0, 1)).transpose(0, 1);
  return out_(attended.reshape({x.size(0), size})) + memory.squeeze(0).t();
}

at::Tensor FsmnBlock::forward(const at::Tensor& x, const at::Tensor& rotary) const {
  const at::Tensor attended = x + attend(attention_norm_(x), rotary);
  return attended + narrow_(at::gelu(widen_(feed_forward_norm_(attended))));
}

SpeechTokenizer::SpeechTokenizer(const VoiceModulesConfig& config, const StateDict& weights)
    : head_dim_(config.speech_tokenizer_state / config.speech_tokenizer_heads),
      conv1_(weights, "encoder.conv1", halving(config.speech_tokenizer_mels, config.speech_tokenizer_state),
             WeightForm::plain),
      conv2_(weights, "encoder.conv2", halving(config.speech_tokenizer_state, config.speech_tokenizer_state),
             WeightForm::plain),
      project_down_(weights, "quantizer._codebook.project_down", config.speech_tokenizer_state, num_digits) {
  const at::Device device = project_down_.weight.device();
  mel_filters_ =
      table(weights, "_mel_filters", slaney_filters(features_sample_rate, n_fft, config.speech_tokenizer_mels))
          .to(device);
  window_ = table(weights, "window", at::hann_window(n_fft, at::TensorOptions(at::kFloat))).to(device);
  for (int i = 0; i < config.speech_tokenizer_layers; ++i) {
    blocks_.emplace_back(weights.select(item("encoder.blocks", i) + "."), config.speech_tokenizer_state,
                         config.speech_tokenizer_heads);
  }
}

at::Tensor SpeechTokenizer::log_mel(const at::Tensor& samples) const {
  return speech_tokenizer_mel(samples, mel_filters_, window_);
}

at::Tensor SpeechTokenizer::tokens(const at::Tensor& log_mel, const Probe& probe) const {
  at::Tensor x = at::gelu(conv1_(log_mel.unsqueeze(0), {}));
  x = at::gelu(conv2_(x, {})).squeeze(0).t();
  const at::Tensor rotary = rotary_table(x.size(0), head_dim_, x.device());
  for (const FsmnBlock& block : blocks_) {
    x = block.forward(x, rotary);
  }
  show(probe, "hidden", x);
  const at::Tensor digits = project_down_(x);
  show(probe, "fsq_pre", digits);
  const at::Tensor powers = at::pow(at::Scalar(3), at::arange(num_digits, at::TensorOptions(at::kLong)));
  return ((at::round(at::tanh(digits) * digit_scale).to(at::kLong) + 1) * powers.to(x.device())).sum(-1);
}

} // namespace audiobookd::engine::chatterbox
