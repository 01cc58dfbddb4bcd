#include "engine/models/chatterbox/voice.h"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
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

Hash128 hash_of(const Voice& voice) {
  HashBuilder hash;
  for (const at::Tensor& t : {voice.speaker_emb, voice.prompt_speech_tokens, voice.prompt.prompt_token,
                              voice.prompt.prompt_feat, voice.prompt.embedding}) {
    hash.add(std::string_view(static_cast<const char*>(t.const_data_ptr()), t.nbytes()));
  }
  return hash.add(static_cast<double>(voice.exaggeration)).finish();
}

void check_range(const CondsReader& conds, const char* field, const at::Tensor& tokens) {
  const auto smallest = tokens.min().item<std::int64_t>();
  const auto largest = tokens.max().item<std::int64_t>();
  if (smallest < 0 || largest >= 6561) {
    conds.fail(field, "holds speech token " + std::to_string(smallest < 0 ? smallest : largest) +
                          ", which is outside [0, 6561)");
  }
}

} // namespace

Voice Voice::from_conds(const std::filesystem::path& file, at::Device device, double prompt_seconds) {
  const CondsReader conds(file);
  Voice voice;
  voice.speaker_emb = conds.tensor("t3", "speaker_emb", 1, at::kFloat);
  voice.prompt_speech_tokens = conds.tensor("t3", "cond_prompt_speech_tokens", 1, at::kLong);
  voice.exaggeration = conds.tensor("t3", "emotion_adv", 1, at::kFloat)[0].item<float>();
  voice.prompt = {conds.tensor("gen", "prompt_token", 1, at::kLong), conds.tensor("gen", "prompt_feat", 2, at::kFloat),
                  conds.tensor("gen", "embedding", 1, at::kFloat)};
  check_range(conds, "t3.cond_prompt_speech_tokens", voice.prompt_speech_tokens);
  check_range(conds, "gen.prompt_token", voice.prompt.prompt_token);
  if (voice.prompt.prompt_feat.size(0) != 2 * voice.prompt.prompt_token.size(0)) {
    conds.fail("gen.prompt_feat", "has " + std::to_string(voice.prompt.prompt_feat.size(0)) + " frames for " +
                                      std::to_string(voice.prompt.prompt_token.size(0)) +
                                      " prompt tokens (expected two a token)");
  }
  voice.prompt = cut(voice.prompt, prompt_seconds);
  voice.content_hash = hash_of(voice);
  for (at::Tensor* t : {&voice.speaker_emb, &voice.prompt_speech_tokens, &voice.prompt.prompt_token,
                        &voice.prompt.prompt_feat, &voice.prompt.embedding}) {
    *t = t->to(device);
  }
  return voice;
}

} // namespace audiobookd::engine::chatterbox
