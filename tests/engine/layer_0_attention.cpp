#include "tests/engine/layer_0_attention.h"

#include <ATen/ATen.h>

namespace audiobookd::tests {
namespace {

using engine::chatterbox::DecodeRequest;
using engine::chatterbox::T3;

/// Embeddings of the prompt and of all tokens but the last. @return [positions, hidden]
at::Tensor embed(const T3& model, const DecodeRequest& request, const std::vector<std::int32_t>& tokens) {
  const at::Tensor conditioning =
      model.condition(request.voice->speaker_emb, request.voice->prompt_speech_tokens, request.exaggeration);
  const auto count = static_cast<std::int64_t>(tokens.size()) - 1;
  const at::Tensor read = at::tensor(tokens, at::kLong).narrow(0, 0, count).to(model.device());
  return at::cat(
      {model.embed_utterance(conditioning, request.text_ids, false)[0],
       model.speech_embedding().index_select(0, read) + model.speech_position_embedding().narrow(0, 1, count)});
}

/// @param x [positions, dim]. @param table [positions, dim]: cosines, then sines
at::Tensor rotate(const at::Tensor& x, const at::Tensor& table) {
  const std::int64_t half = x.size(1) / 2;
  const at::Tensor low = x.narrow(1, 0, half);
  const at::Tensor high = x.narrow(1, half, half);
  const at::Tensor cos = table.narrow(1, 0, half);
  const at::Tensor sin = table.narrow(1, half, half);
  return at::cat({low * cos - high * sin, high * cos + low * sin}, 1);
}

} // namespace

at::Tensor layer_0_text_scores(const T3& model, const DecodeRequest& request, const std::vector<std::int32_t>& tokens,
                               int head) {
  const auto in_double = [](const at::Tensor& tensor) { return tensor.to(at::kCPU, at::kDouble); };
  const engine::Llama& backbone = model.backbone();
  const engine::Llama::Layer& layer = backbone.layers()[0];
  const at::Tensor x = in_double(embed(model, request, tokens));
  const at::Tensor normed =
      x * (x.square().mean(-1, true) + engine::Llama::rms_eps).rsqrt() * in_double(layer.input_norm);
  const at::Tensor qkv =
      at::matmul(normed, in_double(layer.qkv).t()).view({x.size(0), 3, -1, backbone.config().head_dim});
  const at::Tensor table = in_double(backbone.rope_table().narrow(0, 0, x.size(0)));
  const at::Tensor queries = rotate(qkv.select(1, 0).select(1, head), table);
  const at::Tensor keys = rotate(qkv.select(1, 1).select(1, head), table);
  const int prompt = model.prompt_length(request.text_ids.size());
  const int text = static_cast<int>(request.text_ids.size()) + 2;
  return at::matmul(queries.narrow(0, prompt, x.size(0) - prompt),
                    keys.narrow(0, prompt - 2 - text, text).t()); // two speech starts end the prompt
}

std::vector<std::int32_t> attended_by(const engine::Alignment& alignment, std::size_t head) {
  std::vector<std::int32_t> column;
  for (std::size_t i = head; i < alignment.positions.size(); i += alignment.num_heads) {
    column.push_back(alignment.positions[i]);
  }
  return column;
}

} // namespace audiobookd::tests
