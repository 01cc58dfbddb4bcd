#include "engine/models/chatterbox/voice.h"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <algorithm>
#include <c10/util/StringUtil.h>
#include <cmath>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>
#include <torch/csrc/jit/serialization/pickle.h>

namespace audiobookd::engine::chatterbox {
namespace {

/// The nested dictionary of a conds.pt with errors that name what is wrong.
class CondsReader {
public:
  explicit CondsReader(const std::filesystem::path& file) : file_(file) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) {
      throw std::runtime_error(file.string() + ": cannot be opened");
    }
    const std::vector<char> bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    try {
      root_ = torch::jit::pickle_load(bytes);
    } catch (const std::exception&) {
      throw std::runtime_error(file.string() + ": not a PyTorch archive with a dictionary of tensors");
    }
  }

  /// The tensor `section.field` flattened to @p dims dimensions by dropping leading ones of size 1.
  [[nodiscard]] at::Tensor tensor(const char* section, const char* field, std::int64_t dims,
                                  at::ScalarType dtype) const {
    const c10::IValue value = lookup(lookup(root_, section, section), field, std::string(section) + "." + field);
    if (!value.isTensor()) {
      fail(std::string(section) + "." + field, "is not a tensor");
    }
    at::Tensor result = value.toTensor().to(at::kCPU, dtype);
    while (result.dim() > dims && result.size(0) == 1) {
      result = result.squeeze(0);
    }
    if (result.dim() != dims || result.numel() == 0) {
      fail(std::string(section) + "." + field, "has the shape " + c10::str(value.toTensor().sizes()));
    }
    return result.contiguous();
  }

  [[noreturn]] void fail(const std::string& field, const std::string& why) const {
    throw std::runtime_error(file_.string() + ": " + field + " " + why);
  }

private:
  [[nodiscard]] c10::IValue lookup(const c10::IValue& dict, const std::string& key, const std::string& name) const {
    if (!dict.isGenericDict() || !dict.toGenericDict().contains(key)) {
      fail(name, "is missing");
    }
    return dict.toGenericDict().at(key);
  }

  std::filesystem::path file_;
  c10::IValue root_;
};

/// The first @p seconds of it.
SpeakerPrompt cut(const SpeakerPrompt& prompt, double seconds) {
  constexpr double tokens_per_second = 25;
  const auto tokens = std::min<std::int64_t>(prompt.prompt_token.size(0), std::llround(tokens_per_second * seconds));
  return {prompt.prompt_token.narrow(0, 0, tokens).contiguous(),
          prompt.prompt_feat.narrow(0, 0, 2 * tokens).contiguous(), prompt.embedding};
}

Hash128 hash_of(const Conditionals& conditionals) {
  HashBuilder hash;
  for (const at::Tensor& t :
       {conditionals.speaker_emb, conditionals.prompt_speech_tokens, conditionals.prompt.prompt_token,
        conditionals.prompt.prompt_feat, conditionals.prompt.embedding}) {
    hash.add(std::string_view(static_cast<const char*>(t.const_data_ptr()), t.nbytes()));
  }
  return hash.add(static_cast<double>(conditionals.exaggeration)).finish();
}

void check_tokens(const char* field, const at::Tensor& tokens, int vocabulary) {
  const auto smallest = tokens.min().item<std::int64_t>();
  const auto largest = tokens.max().item<std::int64_t>();
  if (smallest < 0 || largest >= vocabulary) {
    throw std::invalid_argument(c10::str(field, " holds speech token ", smallest < 0 ? smallest : largest,
                                         ", which is outside [0, ", vocabulary, ")"));
  }
}

void check_size(const char* field, std::int64_t found, std::int64_t expected, const char* of) {
  if (found != expected) {
    throw std::invalid_argument(c10::str(field, " has ", found, " ", of, " (expected ", expected, ")"));
  }
}

} // namespace

Conditionals Conditionals::read(const std::filesystem::path& file) {
  const CondsReader conds(file);
  return {.speaker_emb = conds.tensor("t3", "speaker_emb", 1, at::kFloat),
          .prompt_speech_tokens = conds.tensor("t3", "cond_prompt_speech_tokens", 1, at::kLong),
          .exaggeration = conds.tensor("t3", "emotion_adv", 1, at::kFloat)[0].item<float>(),
          .prompt = {conds.tensor("gen", "prompt_token", 1, at::kLong),
                     conds.tensor("gen", "prompt_feat", 2, at::kFloat),
                     conds.tensor("gen", "embedding", 1, at::kFloat)}};
}

void Conditionals::check(const Config& config) const {
  check_size("t3.speaker_emb", speaker_emb.size(0), config.t3.speaker_embed_size, "numbers");
  check_tokens("t3.cond_prompt_speech_tokens", prompt_speech_tokens, config.flow.speech_vocab_size);
  if (prompt_speech_tokens.size(0) > config.t3.speech_cond_prompt_len) {
    throw std::invalid_argument(c10::str("t3.cond_prompt_speech_tokens has ", prompt_speech_tokens.size(0),
                                         " tokens (expected at most ", config.t3.speech_cond_prompt_len, ")"));
  }
  check_tokens("gen.prompt_token", prompt.prompt_token, config.flow.speech_vocab_size);
  check_size("gen.prompt_feat", prompt.prompt_feat.size(1), config.flow.mel_channels, "channels");
  check_size("gen.prompt_feat", prompt.prompt_feat.size(0), 2 * prompt.prompt_token.size(0), "frames");
  check_size("gen.embedding", prompt.embedding.size(0), config.flow.speaker_embed_dim, "numbers");
}

Voice Voice::from(const Conditionals& conditionals, at::Device device, double prompt_seconds) {
  Voice voice{conditionals, {}};
  voice.prompt = cut(conditionals.prompt, prompt_seconds);
  voice.content_hash = hash_of(voice);
  for (at::Tensor* t : {&voice.speaker_emb, &voice.prompt_speech_tokens, &voice.prompt.prompt_token,
                        &voice.prompt.prompt_feat, &voice.prompt.embedding}) {
    *t = t->to(device);
  }
  return voice;
}

Voice Voice::from_conds(const std::filesystem::path& file, const Config& config, at::Device device,
                        double prompt_seconds) {
  const Conditionals conditionals = Conditionals::read(file);
  try {
    conditionals.check(config);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(file.string() + ": " + error.what());
  }
  return from(conditionals, device, prompt_seconds);
}

std::vector<std::filesystem::path> voice_files(const std::filesystem::path& checkpoint) {
  const std::regex name_of_voice("[A-Za-z0-9_.-]{1,128}");
  const std::filesystem::path folder = checkpoint / "voices";
  std::vector<std::filesystem::path> files;
  if (!std::filesystem::is_directory(folder)) {
    return files;
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::filesystem::path& file = entry.path();
    if (file.extension() != ".pt") {
      continue;
    }
    const std::string name = file.stem().string();
    if (name == "default" || !std::regex_match(name, name_of_voice)) {
      throw std::runtime_error(file.string() + (name == "default"
                                                    ? ": the voice \"default\" is the checkpoint's conds.pt"
                                                    : ": a voice's name is 1 to 128 of A-Z a-z 0-9 _ . -"));
    }
    files.push_back(file);
  }
  std::ranges::sort(files);
  return files;
}

} // namespace audiobookd::engine::chatterbox
