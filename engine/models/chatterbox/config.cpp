// Reading and writing config.json. Every field stands once, in visit_fields(). Any thread.
#include "engine/models/chatterbox/config.h"

#include "engine/mapped_file.h"
#include "engine/strict_json.h"

#include <algorithm>
#include <set>
#include <stdexcept>

namespace audiobookd::engine::chatterbox {
namespace {

using Json = nlohmann::json;

constexpr int max_value = 1 << 20; // of any dimension: keeps products of two in range
constexpr std::size_t max_list = 64;
constexpr std::size_t max_name = 64; // characters
constexpr int max_depth = 4;

// What this class of models has only one kind of.
const std::string backbone = "llama";
constexpr bool meanflow = false;

/// Calls visit(key, field) for every field in the order of the file. A constant has one legal value.
template <class C, class Visit>
void visit_fields(C& c, Visit&& visit) {
  visit("variant", c.variant);
  visit("name", c.name);
  visit("synthetic", c.synthetic);
  visit("cloning", c.cloning);
  visit("t3_backbone", backbone);
  visit("t3_hidden_size", c.t3.hidden_size);
  visit("t3_num_layers", c.t3.num_layers);
  visit("t3_num_heads", c.t3.num_heads);
  visit("t3_head_dim", c.t3.head_dim);
  visit("t3_intermediate_size", c.t3.intermediate_size);
  visit("t3_text_vocab_size", c.t3.text_vocab_size);
  visit("t3_speech_vocab_size", c.t3.speech_vocab_size);
  visit("t3_max_text_tokens", c.t3.max_text_tokens);
  visit("t3_max_speech_tokens", c.t3.max_speech_tokens);
  visit("t3_text_pos_rows", c.t3.text_pos_rows);
  visit("t3_speech_pos_rows", c.t3.speech_pos_rows);
  visit("t3_speech_cond_prompt_len", c.t3.speech_cond_prompt_len);
  visit("t3_perceiver_queries", c.t3.perceiver_queries);
  visit("t3_perceiver_heads", c.t3.perceiver_heads);
  visit("t3_speaker_embed_size", c.t3.speaker_embed_size);
  visit("t3_start_text_token", c.t3.start_text_token);
  visit("t3_stop_text_token", c.t3.stop_text_token);
  visit("t3_start_speech_token", c.t3.start_speech_token);
  visit("t3_stop_speech_token", c.t3.stop_speech_token);
  visit("t3_alignment_heads", c.t3.alignment_heads);
  visit("s3gen_meanflow", meanflow);
  visit("s3gen_speech_vocab_size", c.flow.speech_vocab_size);
  visit("s3gen_mel_channels", c.flow.mel_channels);
  visit("s3gen_speaker_embed_dim", c.flow.speaker_embed_dim);
  visit("s3gen_encoder_size", c.flow.encoder_size);
  visit("s3gen_encoder_heads", c.flow.encoder_heads);
  visit("s3gen_encoder_linear_units", c.flow.encoder_linear_units);
  visit("s3gen_encoder_blocks", c.flow.encoder_blocks);
  visit("s3gen_encoder_up_blocks", c.flow.encoder_up_blocks);
  visit("s3gen_encoder_pre_lookahead", c.flow.encoder_pre_lookahead);
  visit("s3gen_estimator_in_channels", c.flow.estimator_in_channels);
  visit("s3gen_estimator_channels", c.flow.estimator_channels);
  visit("s3gen_estimator_heads", c.flow.estimator_heads);
  visit("s3gen_estimator_head_dim", c.flow.estimator_head_dim);
  visit("s3gen_estimator_blocks_per_stage", c.flow.estimator_blocks_per_stage);
  visit("s3gen_estimator_mid_stages", c.flow.estimator_mid_stages);
  visit("hift_base_channels", c.hift.base_channels);
  visit("hift_f0_channels", c.hift.f0_channels);
  visit("hift_upsample_rates", c.hift.upsample_rates);
  visit("hift_upsample_kernels", c.hift.upsample_kernels);
  visit("hift_resblock_kernels", c.hift.resblock_kernels);
  visit("hift_resblock_dilations", c.hift.resblock_dilations);
  visit("hift_source_resblock_kernels", c.hift.source_resblock_kernels);
  visit("hift_istft_n_fft", c.hift.istft_n_fft);
  visit("hift_istft_hop", c.hift.istft_hop);
  visit("hift_harmonics", c.hift.harmonics);
  visit("speech_tokenizer_mels", c.voice.speech_tokenizer_mels);
  visit("speech_tokenizer_state", c.voice.speech_tokenizer_state);
  visit("speech_tokenizer_heads", c.voice.speech_tokenizer_heads);
  visit("speech_tokenizer_layers", c.voice.speech_tokenizer_layers);
  visit("speech_tokenizer_codebook", c.voice.speech_tokenizer_codebook);
  visit("xvector_fcm_channels", c.voice.xvector_fcm_channels);
  visit("xvector_init_channels", c.voice.xvector_init_channels);
  visit("xvector_growth_rate", c.voice.xvector_growth_rate);
  visit("xvector_bn_size", c.voice.xvector_bn_size);
  visit("xvector_blocks", c.voice.xvector_blocks);
  visit("xvector_embedding_size", c.voice.xvector_embedding_size);
  visit("voice_encoder_mels", c.voice.voice_encoder_mels);
  visit("voice_encoder_hidden_size", c.voice.voice_encoder_hidden_size);
  visit("voice_encoder_layers", c.voice.voice_encoder_layers);
  visit("voice_encoder_embed_size", c.voice.voice_encoder_embed_size);
}

/// Fields that may be absent: the published and the test checkpoints do not know them.
bool optional(std::string_view key) {
  return key == "name" || key == "synthetic" || key == "cloning" || key == "t3_alignment_heads";
}

class Reader {
public:
  Reader(const Json& json, std::string file) : json_(json), file_(std::move(file)) {}

  template <class Field>
  void operator()(const char* key, Field&& field) {
    known_.insert(key);
    const auto found = json_.find(key);
    if (found != json_.end()) {
      read(key, *found, field);
    } else if (!optional(key)) {
      fail(key, "the field is missing");
    }
  }

  void refuse_unknown() const {
    for (const auto& [key, value] : json_.items()) {
      if (!key.starts_with("_") && !known_.contains(key)) {
        fail(key, "unknown field");
      }
    }
  }

  [[noreturn]] void fail(const std::string& key, const std::string& why) const {
    throw std::runtime_error(file_ + ": " + key + ": " + why);
  }

private:
  [[noreturn]] void mismatch(const char* key, const std::string& expected, const Json& found) const {
    fail(key, "expected " + expected + ", found " + found.dump());
  }

  void read(const char* key, const Json& value, int& field) const {
    // Token numbers start at 0, everything else counts something that is there.
    const int least = std::string_view(key).ends_with("_token") ? 0 : 1;
    field = integer(key, value, least);
  }

  void read(const char* key, const Json& value, std::vector<int>& field) const {
    if (!value.is_array() || value.empty() || value.size() > max_list) {
      mismatch(key, "a list of 1 to " + std::to_string(max_list) + " integers", value);
    }
    field.clear();
    for (const Json& item : value) {
      field.push_back(integer(key, item, 1));
    }
  }

  void read(const char* key, const Json& value, std::vector<std::array<int, 2>>& field) const {
    if (!value.is_array() || value.size() > max_list) {
      mismatch(key, "a list of at most " + std::to_string(max_list) + " pairs of layer and head", value);
    }
    field.clear();
    for (const Json& pair : value) {
      if (!pair.is_array() || pair.size() != 2) {
        mismatch(key, "pairs of layer and head, like [[5, 2]]", value);
      }
      field.push_back({integer(key, pair[0], 0), integer(key, pair[1], 0)});
    }
  }

  void read(const char* key, const Json& value, bool& field) const {
    if (!value.is_boolean()) {
      mismatch(key, "true or false", value);
    }
    field = value.get<bool>();
  }

  void read(const char* key, const Json& value, std::string& field) const {
    if (!value.is_string()) {
      mismatch(key, "a string", value);
    }
    field = value.get<std::string>();
  }

  template <class Constant>
  void read(const char* key, const Json& value, const Constant& expected) const {
    if (value != Json(expected)) {
      mismatch(key, Json(expected).dump(), value);
    }
  }

  int integer(const char* key, const Json& value, int least) const {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() < static_cast<std::uint64_t>(least) ||
        value.get<std::uint64_t>() > max_value) {
      mismatch(key, "an integer from " + std::to_string(least) + " to " + std::to_string(max_value), value);
    }
    return value.get<int>();
  }

  const Json& json_;
  const std::string file_;
  std::set<std::string, std::less<>> known_;
};

void require(bool condition, const Reader& reader, const char* key, const std::string& why) {
  if (!condition) {
    reader.fail(key, why);
  }
}

/// Names end in file tags and log lines.
bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

void check_identity(const Config& config, const Reader& reader) {
  require(config.variant == "english", reader, "variant",
          "expected \"english\", the only supported variant, found " + Json(config.variant).dump());
  require(config.name.size() <= max_name && std::ranges::all_of(config.name, is_name_character), reader, "name",
          std::string("expected at most ").append(std::to_string(max_name)) +
              " letters, digits, '-', '_' and '.', found " + Json(config.name).dump());
}

void check_t3(const T3Config& t3, const Reader& reader) {
  require(t3.hidden_size == t3.num_heads * t3.head_dim, reader, "t3_hidden_size",
          "expected t3_num_heads x t3_head_dim = " + std::to_string(t3.num_heads * t3.head_dim) + ", found " +
              std::to_string(t3.hidden_size));
  require(t3.head_dim % 2 == 0, reader, "t3_head_dim", "expected an even number (rotary embedding)");
  require(t3.hidden_size % t3.perceiver_heads == 0, reader, "t3_perceiver_heads", "does not divide t3_hidden_size");
  require(t3.text_pos_rows == t3.max_text_tokens + 2, reader, "t3_text_pos_rows", "expected t3_max_text_tokens + 2");
  require(t3.speech_pos_rows == t3.max_speech_tokens + 4, reader, "t3_speech_pos_rows",
          "expected t3_max_speech_tokens + 4");
  require(t3.start_text_token < t3.text_vocab_size, reader, "t3_start_text_token", "is not below t3_text_vocab_size");
  require(t3.stop_text_token < t3.text_vocab_size, reader, "t3_stop_text_token", "is not below t3_text_vocab_size");
  require(t3.start_speech_token < t3.speech_vocab_size, reader, "t3_start_speech_token",
          "is not below t3_speech_vocab_size");
  require(t3.stop_speech_token < t3.speech_vocab_size, reader, "t3_stop_speech_token",
          "is not below t3_speech_vocab_size");
  for (const auto& [layer, head] : t3.alignment_heads) {
    require(layer < t3.num_layers && head < t3.num_heads, reader, "t3_alignment_heads",
            Json({layer, head}).dump() + " does not exist: the model has " + std::to_string(t3.num_layers) +
                " layers of " + std::to_string(t3.num_heads) + " heads");
  }
}

void check_flow(const FlowConfig& flow, const Reader& reader) {
  require(flow.encoder_size % flow.encoder_heads == 0, reader, "s3gen_encoder_heads",
          "does not divide s3gen_encoder_size");
  require(flow.encoder_size % 2 == 0, reader, "s3gen_encoder_size", "expected an even number (sinusoidal positions)");
  require(flow.estimator_in_channels == 4 * flow.mel_channels, reader, "s3gen_estimator_in_channels",
          "expected 4 x s3gen_mel_channels (state, mu, speaker, prompt)");
}

void check_hift(const HiftConfig& hift, const Reader& reader) {
  const std::size_t stages = hift.upsample_rates.size();
  require(hift.upsample_kernels.size() == stages, reader, "hift_upsample_kernels",
          "expected as many values as hift_upsample_rates has");
  require(hift.source_resblock_kernels.size() == stages, reader, "hift_source_resblock_kernels",
          "expected as many values as hift_upsample_rates has");
  require(stages < 16 && hift.base_channels % (1 << stages) == 0, reader, "hift_base_channels",
          "cannot be halved once for each of hift_upsample_rates");
  require(hift.istft_n_fft % 2 == 0 && hift.istft_hop <= hift.istft_n_fft, reader, "hift_istft_n_fft",
          "expected an even number not below hift_istft_hop");
}

void check_voice(const VoiceModulesConfig& voice, const Reader& reader) {
  require(voice.speech_tokenizer_state % voice.speech_tokenizer_heads == 0, reader, "speech_tokenizer_heads",
          "does not divide speech_tokenizer_state");
  require(voice.xvector_blocks.size() == 3, reader, "xvector_blocks", "expected 3 values");
}

} // namespace

Config Config::load(const std::filesystem::path& checkpoint) {
  Config config;
  const std::filesystem::path file = checkpoint / "config.json";
  if (!std::filesystem::exists(file)) {
    return config;
  }
  const MappedFile mapping(file);
  const Json json = parse_strict_json(mapping.text(), file.string(), max_depth);
  if (!json.is_object()) {
    throw std::runtime_error(file.string() + ": expected a JSON object");
  }
  Reader reader(json, file.string());
  visit_fields(config, reader);
  reader.refuse_unknown();
  check_identity(config, reader);
  check_t3(config.t3, reader);
  check_flow(config.flow, reader);
  check_hift(config.hift, reader);
  check_voice(config.voice, reader);
  return config;
}

std::string Config::model_name() const { return name.empty() ? "chatterbox-" + variant : name; }

std::string Config::to_json() const {
  nlohmann::ordered_json json;
  visit_fields(*this, [&](const char* key, const auto& field) { json[key] = field; });
  if (name.empty()) {
    json.erase("name");
  }
  if (t3.alignment_heads.empty()) {
    json.erase("t3_alignment_heads");
  }
  return json.dump(1) + "\n";
}

} // namespace audiobookd::engine::chatterbox
