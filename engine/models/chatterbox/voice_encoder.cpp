// The voice encoder: three LSTM layers over windows of a clip.
#include "engine/models/chatterbox/voice_encoder.h"

#include "engine/models/chatterbox/clip_features.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <string>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr std::int64_t window_frames = 160;
constexpr std::int64_t window_step = 77;   // 16000 Hz / 1.3 windows a second / 160 samples a frame, rounded
constexpr std::int64_t least_frames = 128; // of the last window: 80 %
constexpr std::int64_t cudnn_lstm = 2;     // cudnnRNNMode_t

/// Rows of length 1.
at::Tensor unit_rows(const at::Tensor& x) { return x / at::linalg_vector_norm(x, 2, {-1}, true); }

} // namespace

VoiceEncoder::VoiceEncoder(const VoiceModulesConfig& config, const StateDict& weights)
    : config_(config), projection_(weights, "proj", config.voice_encoder_hidden_size, config.voice_encoder_embed_size) {
  weights.ignore("similarity_"); // of training
  const std::int64_t hidden = config.voice_encoder_hidden_size;
  const std::int64_t gates = 4 * hidden;
  for (int i = 0; i < config.voice_encoder_layers; ++i) {
    const std::string layer = "_l" + std::to_string(i);
    lstm_.push_back(weights.get("lstm.weight_ih" + layer, {gates, i == 0 ? config.voice_encoder_mels : hidden}));
    lstm_.push_back(weights.get("lstm.weight_hh" + layer, {gates, hidden}));
    lstm_.push_back(weights.get("lstm.bias_ih" + layer, {gates}));
    lstm_.push_back(weights.get("lstm.bias_hh" + layer, {gates}));
  }
  if (at::cudnn_is_acceptable(lstm_.front())) { // whose kernels read all weights from one buffer, or warn and copy
    at::_cudnn_rnn_flatten_weight(lstm_, 4, config.voice_encoder_mels, cudnn_lstm, hidden, 0,
                                  config.voice_encoder_layers, true, false);
  }
}

at::Tensor VoiceEncoder::windows_of(const at::Tensor& mel) {
  const std::int64_t steps = std::max<std::int64_t>(mel.size(0) - window_frames + window_step, 0);
  std::int64_t count = steps / window_step;
  if (count == 0 || steps % window_step + window_frames - window_step >= least_frames) {
    ++count;
  }
  const std::int64_t needed = window_frames + window_step * (count - 1);
  const at::Tensor padded = at::constant_pad_nd(mel, {0, 0, 0, std::max<std::int64_t>(needed - mel.size(0), 0)});
  return padded.narrow(0, 0, needed).unfold(0, window_frames, window_step).transpose(1, 2).contiguous();
}

at::Tensor VoiceEncoder::embed_windows(const at::Tensor& windows) const {
  const at::Tensor start =
      at::zeros({config_.voice_encoder_layers, windows.size(0), config_.voice_encoder_hidden_size}, windows.options());
  const at::Tensor last_hidden =
      std::get<1>(at::lstm(windows, {start, start}, lstm_, true, config_.voice_encoder_layers, 0.0, false, false, true))
          .select(0, -1);
  return unit_rows(at::relu(projection_(last_hidden)));
}

at::Tensor VoiceEncoder::embed(const at::Tensor& samples) const {
  return unit_rows(embed_windows(windows_of(voice_encoder_mel(samples, config_.voice_encoder_mels))).mean(0));
}

} // namespace audiobookd::engine::chatterbox
