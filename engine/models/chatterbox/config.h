// Dimensions of a Chatterbox checkpoint: the published ones, or those of config.json beside the weights.
//
// Plain values; any thread.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

namespace audiobookd::engine::chatterbox {

struct T3Config {
  int hidden_size = 1024;
  int num_layers = 30;
  int num_heads = 16;
  int head_dim = 64;
  int intermediate_size = 4096;
  int text_vocab_size = 704;
  int speech_vocab_size = 8194;
  int text_pos_rows = 2050;
  int speech_pos_rows = 4100;
  int max_text_tokens = 2048;
  int max_speech_tokens = 4096;
  int speech_cond_prompt_len = 150;
  int perceiver_queries = 32;
  int perceiver_heads = 4;
  int speaker_embed_size = 256;
  int start_text_token = 255;
  int stop_text_token = 0;
  int start_speech_token = 6561;
  int stop_speech_token = 6562;
  /// Layer and head, from 0, of the heads that follow the text while it is read; empty: nobody knows.
  std::vector<std::array<int, 2>> alignment_heads;
};

struct FlowConfig {
  int speech_vocab_size = 6561;
  int mel_channels = 80;
  int speaker_embed_dim = 192;
  int encoder_size = 512;
  int encoder_heads = 8;
  int encoder_linear_units = 2048;
  int encoder_blocks = 6;
  int encoder_up_blocks = 4;
  int encoder_pre_lookahead = 3;
  int estimator_in_channels = 320;
  int estimator_channels = 256;
  int estimator_heads = 8;
  int estimator_head_dim = 64;
  int estimator_blocks_per_stage = 4;
  int estimator_mid_stages = 12;
};

struct HiftConfig {
  int base_channels = 512;
  int f0_channels = 512;
  std::vector<int> upsample_rates{8, 5, 3};
  std::vector<int> upsample_kernels{16, 11, 7};
  std::vector<int> resblock_kernels{3, 7, 11};
  std::vector<int> resblock_dilations{1, 3, 5};
  std::vector<int> source_resblock_kernels{7, 7, 11};
  int istft_n_fft = 16;
  int istft_hop = 4;
  int harmonics = 8;
};

/// Of the modules that turn a clip into a voice; the engine checks that their tensors are there.
struct VoiceModulesConfig {
  int speech_tokenizer_mels = 128;
  int speech_tokenizer_state = 1280;
  int speech_tokenizer_heads = 20;
  int speech_tokenizer_layers = 6;
  int speech_tokenizer_codebook = 6561;
  int xvector_fcm_channels = 32;
  int xvector_init_channels = 128;
  int xvector_growth_rate = 32;
  int xvector_bn_size = 4;
  std::vector<int> xvector_blocks{12, 24, 16};
  int xvector_embedding_size = 192;
  int voice_encoder_mels = 40;
  int voice_encoder_hidden_size = 256;
  int voice_encoder_layers = 3;
  int voice_encoder_embed_size = 256;
};

struct Config {
  std::string variant = "english";
  std::string name;       ///< that the model goes by; empty: the published one, see model_name()
  bool synthetic = false; ///< the weights were made by the formula (make-checkpoint says so)
  bool cloning = true;    ///< the modules that turn a clip into a voice were trained
  T3Config t3;
  FlowConfig flow;
  HiftConfig hift;
  VoiceModulesConfig voice;

  /// Reads @p checkpoint/config.json; the published full-size dimensions when there is none.
  /// @throws std::runtime_error naming file and field: not JSON, a wrong type, a value out of range, a missing or an
  /// unknown field (keys beginning with "_" are comments, "name", "synthetic", "cloning" and
  /// "t3_alignment_heads" may be missing), fields
  /// that contradict each other, a variant that is not supported.
  static Config load(const std::filesystem::path& checkpoint);

  /// What tags and results call the model: its name, or else "chatterbox-" and the variant.
  [[nodiscard]] std::string model_name() const;

  /// The text of a config.json with every field, in the reference goldens' naming.
  [[nodiscard]] std::string to_json() const;
};

} // namespace audiobookd::engine::chatterbox
