// The layout of T3 and of the voice encoder. Any thread.
#include "engine/models/chatterbox/checkpoint_layout.h"

#include "engine/models/chatterbox/layout_builder.h"

namespace audiobookd::engine::chatterbox {
namespace {

constexpr int backbone_vocabulary = 8; // of the Llama's own embedding table, which T3 never reads

void add_llama_layer(LayoutBuilder& b, const std::string& name, const T3Config& t3) {
  for (const char* projection : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
    b.weight(name + ".self_attn." + projection, t3.hidden_size, t3.hidden_size);
  }
  b.weight(name + ".mlp.gate_proj", t3.intermediate_size, t3.hidden_size);
  b.weight(name + ".mlp.up_proj", t3.intermediate_size, t3.hidden_size);
  b.weight(name + ".mlp.down_proj", t3.hidden_size, t3.intermediate_size);
  b.tensor(name + ".input_layernorm.weight", {t3.hidden_size});
  b.tensor(name + ".post_attention_layernorm.weight", {t3.hidden_size});
}

void add_conditioning(LayoutBuilder& b, const T3Config& t3) {
  b.weight_and_bias("cond_enc.spkr_enc", t3.hidden_size, t3.speaker_embed_size);
  b.weight("cond_enc.emotion_adv_fc", t3.hidden_size, 1);
  b.tensor("cond_enc.perceiver.pre_attention_query", {1, t3.perceiver_queries, t3.hidden_size});
  b.layer_norm("cond_enc.perceiver.attn.norm", t3.hidden_size);
  for (const char* projection : {"to_q", "to_k", "to_v", "proj_out"}) {
    b.weight_and_bias(std::string("cond_enc.perceiver.attn.") + projection, t3.hidden_size, t3.hidden_size);
  }
}

} // namespace

std::vector<TensorSpec> t3_layout(const T3Config& t3) {
  LayoutBuilder b;
  b.weight("tfmr.embed_tokens", backbone_vocabulary, t3.hidden_size);
  for (int i = 0; i < t3.num_layers; ++i) {
    add_llama_layer(b, item("tfmr.layers", i), t3);
  }
  b.tensor("tfmr.norm.weight", {t3.hidden_size});
  add_conditioning(b, t3);
  b.weight("text_emb", t3.text_vocab_size, t3.hidden_size);
  b.weight("speech_emb", t3.speech_vocab_size, t3.hidden_size);
  b.weight("text_pos_emb.emb", t3.text_pos_rows, t3.hidden_size);
  b.weight("speech_pos_emb.emb", t3.speech_pos_rows, t3.hidden_size);
  b.weight("text_head", t3.text_vocab_size, t3.hidden_size);
  b.weight("speech_head", t3.speech_vocab_size, t3.hidden_size);
  return std::move(b).take();
}

std::vector<TensorSpec> voice_encoder_layout(const VoiceModulesConfig& voice) {
  LayoutBuilder b;
  const std::int64_t hidden = voice.voice_encoder_hidden_size;
  const std::int64_t gates = 4 * hidden;
  b.tensor("similarity_weight", {1});
  b.tensor("similarity_bias", {1});
  for (int i = 0; i < voice.voice_encoder_layers; ++i) {
    const std::string layer = "_l" + std::to_string(i);
    b.tensor("lstm.weight_ih" + layer, {gates, i == 0 ? voice.voice_encoder_mels : hidden});
    b.tensor("lstm.weight_hh" + layer, {gates, hidden});
    b.tensor("lstm.bias_ih" + layer, {gates});
    b.tensor("lstm.bias_hh" + layer, {gates});
  }
  b.weight_and_bias("proj", voice.voice_encoder_embed_size, hidden);
  return std::move(b).take();
}

} // namespace audiobookd::engine::chatterbox
