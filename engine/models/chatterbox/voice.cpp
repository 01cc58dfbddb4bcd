#include "engine/models/chatterbox/voice.h"

#include "engine/models/chatterbox/conds_file.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <c10/util/StringUtil.h>
#include <cmath>
#include <regex>
#include <stdexcept>

namespace audiobookd::engine::chatterbox {
namespace {

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

Conditionals Conditionals::from(const VoiceConditionals& values) {
  const at::Tensor prompt_token = at::tensor(values.prompt_tokens).to(at::kLong);
  const at::Tensor mel = at::tensor(values.prompt_mel).view({-1, prompt_mel_channels});
  return {.speaker_emb = at::tensor(values.speaker_embedding),
          .prompt_speech_tokens = at::tensor(values.t3_prompt_tokens).to(at::kLong),
          .exaggeration = values.exaggeration,
          .prompt = {prompt_token, mel.slice(0, 0, 2 * prompt_token.size(0)), at::tensor(values.xvector)}};
}

Conditionals Conditionals::read(const std::filesystem::path& file) { return from(read_conds(file)); }

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
