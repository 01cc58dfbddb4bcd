// Pickling and unpickling voices.
#include "engine/models/chatterbox/conds_file.h"

#include <ATen/ATen.h>
#include <ATen/core/ivalue.h>
#include <algorithm>
#include <caffe2/serialize/inline_container.h>
#include <cmath>
#include <span>
#include <stdexcept>
#include <torch/csrc/jit/serialization/pickle.h>
#include <torch/csrc/jit/serialization/pickler.h>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr std::int32_t speech_vocabulary = 6561;

c10::impl::GenericDict dictionary() { return c10::impl::GenericDict(c10::StringType::get(), c10::AnyType::get()); }

/// The archive that torch.save() makes of @p value: `data.pkl` and one record for each tensor. torch::pickle_save()
/// would wrap every dictionary in a call of a TorchScript function, which torch.load(weights_only=True) refuses.
std::vector<char> save(const c10::IValue& value) {
  const auto append_to = [](std::vector<char>& bytes) {
    return [&bytes](const void* data, std::size_t size) {
      bytes.insert(bytes.end(), static_cast<const char*>(data), static_cast<const char*>(data) + size);
      return size;
    };
  };
  std::vector<char> pickled;
  torch::jit::Pickler pickler(append_to(pickled), /*tensor_table=*/nullptr, /*type_renamer=*/nullptr,
                              /*memoized_class_types=*/nullptr, /*get_tensor_id=*/nullptr, /*tag_aggregates=*/false);
  pickler.protocol();
  pickler.pushIValue(value);
  pickler.stop();

  std::vector<char> archive;
  caffe2::serialize::PyTorchStreamWriter writer(append_to(archive));
  writer.writeRecord("data.pkl", pickled.data(), pickled.size());
  for (std::size_t i = 0; i < pickler.tensorData().size(); ++i) {
    const at::Tensor& tensor = pickler.tensorData()[i];
    writer.writeRecord("data/" + std::to_string(i), tensor.const_data_ptr(), tensor.nbytes());
  }
  writer.writeEndOfFile();
  return archive;
}

at::Tensor to_tensor(const std::vector<float>& values, at::IntArrayRef shape) { return at::tensor(values).view(shape); }

/// [1, n] int64
at::Tensor to_tensor(const std::vector<std::int32_t>& tokens) { return at::tensor(tokens).to(at::kLong).unsqueeze(0); }

template <class T>
std::vector<T> to_vector(const at::Tensor& tensor) {
  return {tensor.data_ptr<T>(), tensor.data_ptr<T>() + tensor.numel()};
}

/// The nested dictionary of a conds.pt with errors that name what is wrong.
class CondsReader {
public:
  CondsReader(const std::vector<char>& archive, std::string name) : name_(std::move(name)) {
    try {
      root_ = torch::jit::pickle_load(archive);
    } catch (const std::exception&) {
      throw std::runtime_error(name_ + ": not a PyTorch archive with a dictionary of tensors");
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

  /// Speech tokens; what does not fit 32 bits is as wrong as a negative one.
  [[nodiscard]] std::vector<std::int32_t> tokens(const char* section, const char* field) const {
    return to_vector<std::int32_t>(tensor(section, field, 1, at::kLong).clamp(-1, speech_vocabulary).to(at::kInt));
  }

  [[noreturn]] void fail(const std::string& field, const std::string& why) const {
    throw std::runtime_error(name_ + ": " + field + " " + why);
  }

private:
  [[nodiscard]] c10::IValue lookup(const c10::IValue& dict, const std::string& key, const std::string& name) const {
    if (!dict.isGenericDict() || !dict.toGenericDict().contains(key)) {
      fail(name, "is missing");
    }
    return dict.toGenericDict().at(key);
  }

  std::string name_;
  c10::IValue root_;
};

void check_tokens(const char* field, const std::vector<std::int32_t>& tokens) {
  const auto outside = [](std::int32_t token) { return token < 0 || token >= speech_vocabulary; };
  const auto found = std::ranges::find_if(tokens, outside);
  if (found != tokens.end()) {
    throw std::invalid_argument(std::string(field) + " holds speech token " + std::to_string(*found) +
                                ", which is outside [0, " + std::to_string(speech_vocabulary) + ")");
  }
  if (tokens.empty()) {
    throw std::invalid_argument(std::string(field) + " is empty");
  }
}

void check_numbers(const char* field, std::span<const float> values) {
  if (values.empty()) {
    throw std::invalid_argument(std::string(field) + " is empty");
  }
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
    throw std::invalid_argument(std::string(field) + " holds a number that is not finite");
  }
}

} // namespace

void check_conditionals(const VoiceConditionals& c) {
  check_numbers("t3.speaker_emb", c.speaker_embedding);
  check_tokens("t3.cond_prompt_speech_tokens", c.t3_prompt_tokens);
  check_numbers("t3.emotion_adv", std::span(&c.exaggeration, 1));
  check_tokens("gen.prompt_token", c.prompt_tokens);
  check_numbers("gen.prompt_feat", c.prompt_mel);
  check_numbers("gen.embedding", c.xvector);
  const std::size_t channels = prompt_mel_channels;
  const std::size_t frames = c.prompt_mel.size() / channels;
  // A clip that ends in the middle of a token has a frame more.
  if (c.prompt_mel.size() % channels != 0 || frames / 2 != c.prompt_tokens.size()) {
    throw std::invalid_argument("gen.prompt_feat has " + std::to_string(c.prompt_mel.size()) + " numbers for " +
                                std::to_string(c.prompt_tokens.size()) +
                                " prompt tokens (expected two frames of 80 a token, or one frame more)");
  }
}

std::vector<char> conds_archive(const VoiceConditionals& c) {
  const auto count = [](const auto& list) { return static_cast<std::int64_t>(list.size()); };
  auto t3 = dictionary();
  t3.insert("speaker_emb", to_tensor(c.speaker_embedding, {1, -1}));
  t3.insert("clap_emb", c10::IValue());
  t3.insert("cond_prompt_speech_tokens", to_tensor(c.t3_prompt_tokens));
  t3.insert("cond_prompt_speech_emb", c10::IValue());
  t3.insert("emotion_adv", at::full({1, 1, 1}, c.exaggeration, at::kFloat));

  auto gen = dictionary();
  gen.insert("prompt_token", to_tensor(c.prompt_tokens));
  gen.insert("prompt_token_len", at::full({1}, count(c.prompt_tokens), at::kLong));
  gen.insert("prompt_feat", to_tensor(c.prompt_mel, {1, -1, prompt_mel_channels}));
  gen.insert("prompt_feat_len", c10::IValue());
  gen.insert("embedding", to_tensor(c.xvector, {1, -1}));

  auto root = dictionary();
  root.insert("t3", t3);
  root.insert("gen", gen);
  return save(root);
}

VoiceConditionals parse_conds(const std::vector<char>& archive, const std::string& name) {
  const CondsReader conds(archive, name);
  const at::Tensor mel = conds.tensor("gen", "prompt_feat", 2, at::kFloat);
  if (mel.size(1) != prompt_mel_channels) {
    conds.fail("gen.prompt_feat", "has " + std::to_string(mel.size(1)) + " channels (expected 80)");
  }
  VoiceConditionals c{
      .speaker_embedding = to_vector<float>(conds.tensor("t3", "speaker_emb", 1, at::kFloat)),
      .t3_prompt_tokens = conds.tokens("t3", "cond_prompt_speech_tokens"),
      .exaggeration = conds.tensor("t3", "emotion_adv", 1, at::kFloat)[0].item<float>(),
      .prompt_tokens = conds.tokens("gen", "prompt_token"),
      .prompt_mel = to_vector<float>(mel),
      .xvector = to_vector<float>(conds.tensor("gen", "embedding", 1, at::kFloat)),
  };
  try {
    check_conditionals(c);
  } catch (const std::invalid_argument& error) {
    throw std::runtime_error(name + ": " + error.what());
  }
  return c;
}

} // namespace audiobookd::engine::chatterbox
