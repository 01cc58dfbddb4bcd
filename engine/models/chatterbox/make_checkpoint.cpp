// Writing a synthetic checkpoint folder. See the header for threading.
#include "engine/models/chatterbox/make_checkpoint.h"

#include "engine/models/chatterbox/checkpoint_layout.h"
#include "engine/models/chatterbox/embedded_data.h"
#include "engine/models/chatterbox/synthetic_voice.h"
#include "engine/models/chatterbox/synthetic_weights.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <unistd.h>

namespace audiobookd::engine::chatterbox {
namespace {

namespace fs = std::filesystem;

Config tiny_config() {
  Config config;
  config.t3.hidden_size = 64;
  config.t3.num_layers = 2;
  config.t3.num_heads = 4;
  config.t3.head_dim = 16;
  config.t3.intermediate_size = 128;
  config.t3.max_text_tokens = 256;
  config.t3.max_speech_tokens = 512;
  config.t3.text_pos_rows = 258;
  config.t3.speech_pos_rows = 516;
  config.flow.encoder_size = 64;
  config.flow.encoder_heads = 4;
  config.flow.encoder_linear_units = 128;
  config.flow.encoder_blocks = 2;
  config.flow.encoder_up_blocks = 1;
  config.flow.estimator_channels = 32;
  config.flow.estimator_heads = 4;
  config.flow.estimator_head_dim = 16;
  config.flow.estimator_blocks_per_stage = 1;
  config.flow.estimator_mid_stages = 2;
  config.hift.base_channels = 64;
  config.hift.f0_channels = 64;
  config.voice.speech_tokenizer_state = 64;
  config.voice.speech_tokenizer_heads = 2;
  config.voice.speech_tokenizer_layers = 2;
  config.voice.xvector_fcm_channels = 8;
  config.voice.xvector_init_channels = 16;
  config.voice.xvector_growth_rate = 4;
  config.voice.voice_encoder_hidden_size = 32;
  return config;
}

/// Whether write_checkpoint() may replace what is at @p directory: nothing, an empty folder or a checkpoint of its own.
bool is_replaceable(const fs::path& directory) {
  if (!fs::exists(fs::symlink_status(directory))) {
    return true;
  }
  if (!fs::is_directory(directory) || fs::is_symlink(directory)) {
    return false;
  }
  return fs::is_empty(directory) || (fs::exists(directory / "config.json") && Config::load(directory).synthetic);
}

/// A folder beside the target that takes its place with commit() and otherwise disappears.
class StagedFolder {
public:
  explicit StagedFolder(const fs::path& target)
      : target_(target), staging_(target.string() + ".part." + std::to_string(::getpid())) {
    fs::create_directories(staging_);
  }
  ~StagedFolder() {
    std::error_code ignored;
    fs::remove_all(staging_, ignored);
  }
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  [[nodiscard]] const fs::path& path() const noexcept { return staging_; }

  void commit() {
    if (!fs::exists(target_)) {
      fs::rename(staging_, target_);
      return;
    }
    const fs::path old = staging_.string() + ".old";
    fs::rename(target_, old);
    fs::rename(staging_, target_);
    fs::remove_all(old);
  }

private:
  const fs::path target_;
  const fs::path staging_;
};

void write_file(const fs::path& file, std::string_view content) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  out.close();
  if (!out) {
    throw std::runtime_error(file.string() + ": cannot write " + std::to_string(content.size()) + " bytes");
  }
}

void fill(const TensorSpec& tensor, std::span<std::byte> out) {
  if (tensor.dtype == Dtype::i64) { // batch counters
    std::ranges::fill(out, std::byte{0});
    return;
  }
  fill_synthetic(tensor.name, tensor.shape, {reinterpret_cast<float*>(out.data()), out.size() / sizeof(float)});
}

void write_weights(const fs::path& file, const std::vector<TensorSpec>& layout) {
  std::vector<TensorSource> sources;
  for (const TensorSpec& tensor : layout) {
    sources.push_back(
        {tensor.name, tensor.dtype, tensor.shape, [&tensor](std::span<std::byte> out) { fill(tensor, out); }});
  }
  write_safetensors(file, sources, {{"format", "pt"}});
}

void write_voice(const fs::path& file, Preset preset, const Config& config) {
  if (preset == Preset::tiny) {
    write_file(file, embedded_tiny_voice());
    return;
  }
  const std::vector<char> voice = make_synthetic_voice(config);
  write_file(file, {voice.data(), voice.size()});
}

} // namespace

Preset parse_preset(std::string_view name) {
  if (name == "tiny") {
    return Preset::tiny;
  }
  if (name == "chatterbox") {
    return Preset::chatterbox;
  }
  throw std::invalid_argument("unknown preset \"" + std::string(name) + "\": expected tiny or chatterbox");
}

Config preset_config(Preset preset) {
  Config config = preset == Preset::tiny ? tiny_config() : Config();
  config.synthetic = true;
  return config;
}

void write_checkpoint(Preset preset, const fs::path& directory) {
  fs::path target = fs::absolute(directory).lexically_normal();
  if (!target.has_filename()) { // "dir/"
    target = target.parent_path();
  }
  if (!is_replaceable(target)) {
    throw std::runtime_error(target.string() +
                             ": exists and is not a synthetic checkpoint: expected a new or an empty folder");
  }
  const Config config = preset_config(preset);
  StagedFolder folder(target);
  write_file(folder.path() / "config.json", config.to_json());
  write_file(folder.path() / "tokenizer.json", embedded_tokenizer());
  write_voice(folder.path() / "conds.pt", preset, config);
  write_weights(folder.path() / voice_encoder_file_name, voice_encoder_layout(config.voice));
  write_weights(folder.path() / s3gen_file_name, s3gen_layout(config));
  write_weights(folder.path() / t3_file_name, t3_layout(config.t3));
  folder.commit();
}

} // namespace audiobookd::engine::chatterbox
