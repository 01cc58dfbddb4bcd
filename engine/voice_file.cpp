// Voices on disk.
#include "engine/voice_file.h"

#include "engine/atomic_file.h"
#include "engine/models/chatterbox/conds_file.h"
#include "engine/safetensors.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>

namespace audiobookd::engine {
namespace {

using chatterbox::prompt_mel_channels;

constexpr const char* version_key = "audiobookd_voice";
constexpr const char* version = "1"; // raised when older programs could not read what is written

const char* const speaker_emb = "t3.speaker_emb";
const char* const t3_tokens = "t3.cond_prompt_speech_tokens";
const char* const emotion = "t3.emotion_adv";
const char* const prompt_token = "gen.prompt_token";
const char* const prompt_feat = "gen.prompt_feat";
const char* const embedding = "gen.embedding";

/// The texts of the metadata by their keys in the file.
template <class Metadata>
auto texts(Metadata& m) {
  return std::array{std::pair("name", &m.name), std::pair("source_hash", &m.source_hash), std::pair("model", &m.model),
                    std::pair("created", &m.created), std::pair("consent", &m.consent)};
}

std::map<std::string, std::string> to_map(const VoiceMetadata& metadata) {
  std::map<std::string, std::string> map{{version_key, version}};
  for (const auto& [key, text] : texts(metadata)) {
    if (!text->empty()) {
      map[key] = *text;
    }
  }
  return map;
}

[[noreturn]] void fail(const SafetensorsFile& file, const std::string& why) {
  throw std::runtime_error(file.path().string() + ": " + why);
}

VoiceMetadata to_metadata(const SafetensorsFile& file) {
  const auto& map = file.metadata();
  const auto found = map.find(version_key);
  if (found == map.end()) {
    fail(file, "not a voice: its metadata has no " + std::string(version_key));
  }
  if (found->second != version) {
    fail(file, "a voice of version " + found->second + "; this program reads version " + version);
  }
  VoiceMetadata metadata;
  for (const auto& [key, text] : texts(metadata)) {
    const auto entry = map.find(key);
    *text = entry == map.end() ? "" : entry->second;
  }
  return metadata;
}

template <class T>
TensorSource source(const char* name, Dtype dtype, std::vector<std::int64_t> shape, std::vector<T> values) {
  return {name, dtype, std::move(shape),
          [values = std::move(values)](std::span<std::byte> to) { std::memcpy(to.data(), values.data(), to.size()); }};
}

TensorSource floats(const char* name, std::vector<std::int64_t> shape, const std::vector<float>& values) {
  return source(name, Dtype::f32, std::move(shape), values);
}

TensorSource tokens(const char* name, const std::vector<std::int32_t>& values) {
  return source(name, Dtype::i64, {1, static_cast<std::int64_t>(values.size())},
                std::vector<std::int64_t>(values.begin(), values.end()));
}

/// The values of a tensor with @p dims dimensions, all but the last @p free_dims of size 1.
template <class T>
std::vector<T> values(const SafetensorsFile& file, const char* name, Dtype dtype, std::size_t dims,
                      std::size_t free_dims) {
  if (!file.contains(name)) {
    fail(file, std::string(name) + " is missing");
  }
  const TensorView& view = file.at(name);
  const bool leading_ones =
      view.shape.size() == dims &&
      std::ranges::all_of(view.shape.begin(), view.shape.end() - static_cast<std::ptrdiff_t>(free_dims),
                          [](std::int64_t size) { return size == 1; });
  if (view.dtype != dtype || !leading_ones) {
    fail(file, std::string(name) + " has a dtype or a shape that a voice's does not have");
  }
  std::vector<T> list(view.data.size() / sizeof(T));
  if (!list.empty()) {
    std::memcpy(list.data(), view.data.data(), view.data.size());
  }
  return list;
}

std::vector<std::int32_t> token_values(const SafetensorsFile& file, const char* name) {
  std::vector<std::int32_t> list;
  for (const std::int64_t token : values<std::int64_t>(file, name, Dtype::i64, 2, 1)) {
    list.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(token, -1, 1 << 20))); // checked below
  }
  return list;
}

VoiceConditionals to_conditionals(const SafetensorsFile& file) {
  for (const auto& [name, view] : file.tensors()) {
    const std::string_view known[] = {speaker_emb, t3_tokens, emotion, prompt_token, prompt_feat, embedding};
    if (std::ranges::find(known, name) == std::end(known)) {
      fail(file, "a voice has no tensor " + name);
    }
  }
  VoiceConditionals c;
  c.speaker_embedding = values<float>(file, speaker_emb, Dtype::f32, 2, 1);
  c.t3_prompt_tokens = token_values(file, t3_tokens);
  const auto exaggeration = values<float>(file, emotion, Dtype::f32, 3, 0);
  c.exaggeration = exaggeration.at(0);
  c.prompt_tokens = token_values(file, prompt_token);
  c.prompt_mel = values<float>(file, prompt_feat, Dtype::f32, 3, 2);
  c.xvector = values<float>(file, embedding, Dtype::f32, 2, 1);
  if (file.at(prompt_feat).shape[2] != prompt_mel_channels) {
    fail(file, "gen.prompt_feat has " + std::to_string(file.at(prompt_feat).shape[2]) + " channels (expected 80)");
  }
  try {
    chatterbox::check_conditionals(c);
  } catch (const std::invalid_argument& error) {
    fail(file, error.what());
  }
  return c;
}

} // namespace

void write_voice_file(const std::filesystem::path& file, const VoiceFile& voice) {
  const VoiceConditionals& c = voice.conditionals;
  chatterbox::check_conditionals(c);
  const auto size = [](const auto& list) { return static_cast<std::int64_t>(list.size()); };
  write_safetensors(
      file,
      {floats(speaker_emb, {1, size(c.speaker_embedding)}, c.speaker_embedding), tokens(t3_tokens, c.t3_prompt_tokens),
       floats(emotion, {1, 1, 1}, {c.exaggeration}), tokens(prompt_token, c.prompt_tokens),
       floats(prompt_feat, {1, size(c.prompt_mel) / prompt_mel_channels, prompt_mel_channels}, c.prompt_mel),
       floats(embedding, {1, size(c.xvector)}, c.xvector)},
      to_map(voice.metadata));
}

VoiceFile read_voice_file(const std::filesystem::path& file) {
  const SafetensorsFile opened(file);
  return {to_metadata(opened), to_conditionals(opened)};
}

void write_conds(const std::filesystem::path& file, const VoiceConditionals& conditionals) {
  chatterbox::check_conditionals(conditionals);
  const std::vector<char> archive = chatterbox::conds_archive(conditionals);
  AtomicFile out(file);
  out.write(archive.data(), archive.size());
  out.commit();
}

VoiceConditionals read_conds(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw std::runtime_error(file.string() + ": cannot be opened");
  }
  return chatterbox::parse_conds({std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()},
                                 file.string());
}

} // namespace audiobookd::engine
