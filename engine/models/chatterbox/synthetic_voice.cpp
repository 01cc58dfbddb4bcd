// Building and pickling the dictionary of a conds.pt. Any thread.
#include "engine/models/chatterbox/synthetic_voice.h"

#include "engine/models/chatterbox/synthetic_weights.h"

#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/pickler.h>

namespace audiobookd::engine::chatterbox {
namespace {

constexpr int prompt_tokens = 250; // 10 s at 25 Hz
constexpr int frames_per_token = 2;

at::Tensor uniform(const char* name, at::IntArrayRef shape, WeightRange range) {
  at::Tensor values = at::empty(shape, at::TensorOptions(at::kFloat));
  fill_uniform(name, range, {values.data_ptr<float>(), static_cast<std::size_t>(values.numel())});
  return values;
}

/// [1, count] speech tokens below @p vocabulary.
at::Tensor tokens(const char* name, std::int64_t count, int vocabulary) {
  at::Tensor values = at::empty({1, count}, at::TensorOptions(at::kLong));
  for (std::int64_t i = 0; i < count; ++i) {
    const double u = weight_uniform(weight_seed(name), static_cast<std::uint64_t>(i));
    values.data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(u * vocabulary);
  }
  return values;
}

/// [1, size], not negative and of length 1, as the voice encoder gives it.
at::Tensor speaker_embedding(const char* name, std::int64_t size) {
  at::Tensor values = uniform(name, {1, size}, {0.0, 1.0}).clamp_min(0);
  return values / values.norm();
}

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

} // namespace

std::vector<char> make_synthetic_voice(const Config& config) {
  auto t3 = dictionary();
  t3.insert("speaker_emb", speaker_embedding("conds.t3.speaker_emb", config.t3.speaker_embed_size));
  t3.insert("clap_emb", c10::IValue());
  t3.insert("cond_prompt_speech_tokens", tokens("conds.t3.cond_prompt_speech_tokens", config.t3.speech_cond_prompt_len,
                                                config.flow.speech_vocab_size));
  t3.insert("cond_prompt_speech_emb", c10::IValue());
  t3.insert("emotion_adv", at::full({1, 1, 1}, 0.5, at::kFloat));

  auto gen = dictionary();
  gen.insert("prompt_token", tokens("conds.gen.prompt_token", prompt_tokens, config.flow.speech_vocab_size));
  gen.insert("prompt_token_len", at::full({1}, prompt_tokens, at::kLong));
  gen.insert("prompt_feat", uniform("conds.gen.prompt_feat",
                                    {1, frames_per_token * prompt_tokens, config.flow.mel_channels}, {-5.0, 2.5}));
  gen.insert("prompt_feat_len", c10::IValue());
  gen.insert("embedding", uniform("conds.gen.embedding", {1, config.flow.speaker_embed_dim}, {0.0, 1.5}));

  auto root = dictionary();
  root.insert("t3", t3);
  root.insert("gen", gen);
  return save(root);
}

} // namespace audiobookd::engine::chatterbox
