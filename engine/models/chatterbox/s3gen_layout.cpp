// The layout of S3Gen: speech tokenizer, speaker encoder, flow and vocoder. Any thread.
#include "engine/models/chatterbox/checkpoint_layout.h"
#include "engine/models/chatterbox/layout_builder.h"

namespace audiobookd::engine::chatterbox {
namespace {

constexpr int fsmn_kernel = 31;
constexpr int codebook_dims = 8; // 3^8 = 6561
constexpr int filter_banks = 80; // of the speaker encoder

void add_speech_tokenizer(LayoutBuilder& b, const VoiceModulesConfig& voice) {
  const std::int64_t state = voice.speech_tokenizer_state;
  b.weight_and_bias("tokenizer.encoder.conv1", state, voice.speech_tokenizer_mels, {3});
  b.weight_and_bias("tokenizer.encoder.conv2", state, state, {3});
  for (int i = 0; i < voice.speech_tokenizer_layers; ++i) {
    const std::string block = item("tokenizer.encoder.blocks", i);
    b.weight_and_bias(block + ".attn.query", state, state);
    b.weight(block + ".attn.key", state, state);
    b.weight_and_bias(block + ".attn.value", state, state);
    b.weight_and_bias(block + ".attn.out", state, state);
    b.weight(block + ".attn.fsmn_block", state, 1, {fsmn_kernel});
    b.layer_norm(block + ".attn_ln", state);
    b.weight_and_bias(block + ".mlp.0", 4 * state, state);
    b.weight_and_bias(block + ".mlp.2", state, 4 * state);
    b.layer_norm(block + ".mlp_ln", state);
  }
  b.weight_and_bias("tokenizer.quantizer._codebook.project_down", codebook_dims, state);
}

/// The two-dimensional front of CAM++: two residual layers, each of which halves the frequency axis once.
void add_speaker_encoder_head(LayoutBuilder& b, std::int64_t channels) {
  const std::string head = "speaker_encoder.head";
  b.weight(head + ".conv1", channels, 1, {3, 3});
  b.batch_norm(head + ".bn1", channels);
  for (const char* layer : {".layer1", ".layer2"}) {
    for (int i = 0; i < 2; ++i) {
      const std::string block = item(head + layer, i);
      b.weight(block + ".conv1", channels, channels, {3, 3});
      b.batch_norm(block + ".bn1", channels);
      b.weight(block + ".conv2", channels, channels, {3, 3});
      b.batch_norm(block + ".bn2", channels);
      if (i == 0) {
        b.weight(block + ".shortcut.0", channels, channels, {1, 1});
        b.batch_norm(block + ".shortcut.1", channels);
      }
    }
  }
  b.weight(head + ".conv2", channels, channels, {3, 3});
  b.batch_norm(head + ".bn2", channels);
}

/// One densely connected layer: @p in channels in, xvector_growth_rate channels added.
void add_dense_layer(LayoutBuilder& b, const std::string& name, std::int64_t in, const VoiceModulesConfig& voice) {
  const std::int64_t growth = voice.xvector_growth_rate;
  const std::int64_t bottleneck = voice.xvector_bn_size * growth;
  b.batch_norm(name + ".nonlinear1.batchnorm", in);
  b.weight(name + ".linear1", bottleneck, in, {1});
  b.batch_norm(name + ".nonlinear2.batchnorm", bottleneck);
  b.weight(name + ".cam_layer.linear_local", growth, bottleneck, {3});
  b.weight_and_bias(name + ".cam_layer.linear1", bottleneck / 2, bottleneck, {1});
  b.weight_and_bias(name + ".cam_layer.linear2", growth, bottleneck / 2, {1});
}

void add_speaker_encoder(LayoutBuilder& b, const VoiceModulesConfig& voice) {
  const std::string xvector = "speaker_encoder.xvector";
  add_speaker_encoder_head(b, voice.xvector_fcm_channels);
  std::int64_t channels = voice.xvector_init_channels;
  b.weight(xvector + ".tdnn.linear", channels, voice.xvector_fcm_channels * (filter_banks / 8), {5});
  b.batch_norm(xvector + ".tdnn.nonlinear.batchnorm", channels);
  for (std::size_t block = 0; block < voice.xvector_blocks.size(); ++block) {
    const std::string number = std::to_string(block + 1);
    for (int layer = 1; layer <= voice.xvector_blocks[block]; ++layer) {
      add_dense_layer(b, xvector + ".block" + number + ".tdnnd" + std::to_string(layer), channels, voice);
      channels += voice.xvector_growth_rate;
    }
    b.batch_norm(xvector + ".transit" + number + ".nonlinear.batchnorm", channels);
    b.weight(xvector + ".transit" + number + ".linear", channels / 2, channels, {1});
    channels /= 2;
  }
  b.batch_norm(xvector + ".out_nonlinear.batchnorm", channels);
  b.weight(xvector + ".dense.linear", voice.xvector_embedding_size, 2 * channels, {1}); // mean and deviation
  b.batch_norm_statistics(xvector + ".dense.nonlinear.batchnorm", voice.xvector_embedding_size);
}

void add_conformer_block(LayoutBuilder& b, const std::string& name, const FlowConfig& flow) {
  const std::int64_t size = flow.encoder_size;
  for (const char* bias : {"pos_bias_u", "pos_bias_v"}) {
    b.tensor(name + ".self_attn." + bias, {flow.encoder_heads, size / flow.encoder_heads});
  }
  for (const char* projection : {"linear_q", "linear_k", "linear_v", "linear_out"}) {
    b.weight_and_bias(name + ".self_attn." + projection, size, size);
  }
  b.weight(name + ".self_attn.linear_pos", size, size);
  b.weight_and_bias(name + ".feed_forward.w_1", flow.encoder_linear_units, size);
  b.weight_and_bias(name + ".feed_forward.w_2", size, flow.encoder_linear_units);
  b.layer_norm(name + ".norm_ff", size);
  b.layer_norm(name + ".norm_mha", size);
}

void add_flow_encoder(LayoutBuilder& b, const FlowConfig& flow) {
  const std::int64_t size = flow.encoder_size;
  const std::string encoder = "flow.encoder";
  b.weight_and_bias(encoder + ".embed.out.0", size, size);
  b.layer_norm(encoder + ".embed.out.1", size);
  b.layer_norm(encoder + ".after_norm", size);
  b.weight_and_bias(encoder + ".pre_lookahead_layer.conv1", size, size, {flow.encoder_pre_lookahead + 1});
  b.weight_and_bias(encoder + ".pre_lookahead_layer.conv2", size, size, {3});
  for (int i = 0; i < flow.encoder_blocks; ++i) {
    add_conformer_block(b, item(encoder + ".encoders", i), flow);
  }
  b.weight_and_bias(encoder + ".up_layer.conv", size, size, {5});
  b.weight_and_bias(encoder + ".up_embed.out.0", size, size);
  b.layer_norm(encoder + ".up_embed.out.1", size);
  for (int i = 0; i < flow.encoder_up_blocks; ++i) {
    add_conformer_block(b, item(encoder + ".up_encoders", i), flow);
  }
}

void add_transformer_block(LayoutBuilder& b, const std::string& name, const FlowConfig& flow) {
  const std::int64_t channels = flow.estimator_channels;
  const std::int64_t inner = flow.estimator_heads * flow.estimator_head_dim;
  b.layer_norm(name + ".norm1", channels);
  for (const char* projection : {"to_q", "to_k", "to_v"}) {
    b.weight(name + ".attn1." + projection, inner, channels);
  }
  b.weight_and_bias(name + ".attn1.to_out.0", channels, inner);
  b.layer_norm(name + ".norm3", channels);
  b.weight_and_bias(name + ".ff.net.0.proj", 4 * channels, channels);
  b.weight_and_bias(name + ".ff.net.2", channels, 4 * channels);
}

/// A causal convolution with its layer norm.
void add_causal_block(LayoutBuilder& b, const std::string& name, std::int64_t out, std::int64_t in) {
  b.weight_and_bias(name + ".block.0", out, in, {3});
  b.layer_norm(name + ".block.2", out);
}

/// One stage of the U-Net: a residual block, transformer blocks and, outside the middle, a convolution.
void add_stage(LayoutBuilder& b, const std::string& name, std::int64_t in, bool has_convolution,
               const FlowConfig& flow) {
  const std::int64_t channels = flow.estimator_channels;
  b.weight_and_bias(name + ".0.mlp.1", channels, 4 * channels);
  add_causal_block(b, name + ".0.block1", channels, in);
  add_causal_block(b, name + ".0.block2", channels, channels);
  b.weight_and_bias(name + ".0.res_conv", channels, in, {1});
  for (int i = 0; i < flow.estimator_blocks_per_stage; ++i) {
    add_transformer_block(b, item(name + ".1", i), flow);
  }
  if (has_convolution) {
    b.weight_and_bias(name + ".2", channels, channels, {3});
  }
}

void add_estimator(LayoutBuilder& b, const FlowConfig& flow) {
  const std::int64_t channels = flow.estimator_channels;
  const std::string estimator = "flow.decoder.estimator";
  b.weight_and_bias(estimator + ".time_mlp.linear_1", 4 * channels, flow.estimator_in_channels);
  b.weight_and_bias(estimator + ".time_mlp.linear_2", 4 * channels, 4 * channels);
  add_stage(b, estimator + ".down_blocks.0", flow.estimator_in_channels, true, flow);
  for (int i = 0; i < flow.estimator_mid_stages; ++i) {
    add_stage(b, item(estimator + ".mid_blocks", i), channels, false, flow);
  }
  add_stage(b, estimator + ".up_blocks.0", 2 * channels, true, flow);
  add_causal_block(b, estimator + ".final_block", channels, channels);
  b.weight_and_bias(estimator + ".final_proj", flow.mel_channels, channels, {1});
}

void add_flow(LayoutBuilder& b, const FlowConfig& flow) {
  b.weight("flow.input_embedding", flow.speech_vocab_size, flow.encoder_size);
  b.weight_and_bias("flow.spk_embed_affine_layer", flow.mel_channels, flow.speaker_embed_dim);
  add_flow_encoder(b, flow);
  b.weight_and_bias("flow.encoder_proj", flow.mel_channels, flow.encoder_size);
  add_estimator(b, flow);
}

void add_residual_block(LayoutBuilder& b, const std::string& name, std::int64_t channels, int kernel,
                        std::size_t num_dilations) {
  for (const char* part : {".convs1", ".convs2"}) {
    for (std::size_t i = 0; i < num_dilations; ++i) {
      b.weight_norm(item(name + part, i), channels, channels, channels, kernel);
    }
  }
  for (const char* part : {".activations1", ".activations2"}) {
    for (std::size_t i = 0; i < num_dilations; ++i) {
      b.tensor(item(name + part, i) + ".alpha", {channels});
    }
  }
}

void add_f0_predictor(LayoutBuilder& b, const HiftConfig& hift, std::int64_t mel_channels) {
  const std::string predictor = "mel2wav.f0_predictor";
  constexpr int num_convolutions = 5;
  for (int i = 0; i < num_convolutions; ++i) { // every second entry of the sequence is an activation
    b.weight_norm(item(predictor + ".condnet", 2 * i), hift.f0_channels, hift.f0_channels,
                  i == 0 ? mel_channels : hift.f0_channels, 3);
  }
  b.weight_and_bias(predictor + ".classifier", 1, hift.f0_channels);
}

void add_upsampling(LayoutBuilder& b, const HiftConfig& hift, const std::vector<std::int64_t>& channels) {
  const std::size_t stages = hift.upsample_rates.size();
  for (std::size_t i = 0; i < stages; ++i) {
    b.weight_norm(item("mel2wav.ups", i), channels[i + 1], channels[i], channels[i + 1], hift.upsample_kernels[i]);
  }
  for (std::size_t i = 0; i < stages; ++i) {
    std::int64_t stride = 1; // from the rate of the source to that of this stage
    for (std::size_t later = i + 1; later < stages; ++later) {
      stride *= hift.upsample_rates[later];
    }
    b.weight_and_bias(item("mel2wav.source_downs", i), channels[i + 1], hift.istft_n_fft + 2,
                      {stride == 1 ? 1 : 2 * stride});
  }
}

void add_vocoder(LayoutBuilder& b, const HiftConfig& hift, std::int64_t mel_channels) {
  const std::size_t stages = hift.upsample_rates.size();
  const std::size_t dilations = hift.resblock_dilations.size();
  std::vector<std::int64_t> channels; // before the first stage, after the first, …
  for (std::size_t i = 0; i <= stages; ++i) {
    channels.push_back(hift.base_channels >> i);
  }
  b.weight_and_bias("mel2wav.m_source.l_linear", 1, hift.harmonics + 1);
  b.weight_norm("mel2wav.conv_pre", channels[0], channels[0], mel_channels, 7);
  add_upsampling(b, hift, channels);
  for (std::size_t i = 0; i < stages; ++i) {
    add_residual_block(b, item("mel2wav.source_resblocks", i), channels[i + 1], hift.source_resblock_kernels[i],
                       dilations);
  }
  std::size_t number = 0;
  for (std::size_t i = 0; i < stages; ++i) {
    for (const int kernel : hift.resblock_kernels) {
      add_residual_block(b, item("mel2wav.resblocks", number++), channels[i + 1], kernel, dilations);
    }
  }
  b.weight_norm("mel2wav.conv_post", hift.istft_n_fft + 2, hift.istft_n_fft + 2, channels[stages], 7);
  add_f0_predictor(b, hift, mel_channels);
}

} // namespace

std::vector<TensorSpec> s3gen_layout(const Config& config) {
  LayoutBuilder b;
  add_speech_tokenizer(b, config.voice);
  add_speaker_encoder(b, config.voice);
  add_flow(b, config.flow);
  add_vocoder(b, config.hift, config.flow.mel_channels);
  return std::move(b).take();
}

} // namespace audiobookd::engine::chatterbox
