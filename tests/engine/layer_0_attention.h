// What the heads of T3's first layer must attend to: their queries and keys depend on the embeddings alone, so they can
// be computed apart from the decoders.
#pragma once

#include "engine/models/chatterbox/decoder.h"

#include <ATen/core/Tensor.h>
#include <vector>

namespace audiobookd::tests {

/// Products q k of head @p head of layer 0 with the positions of the text, for the conditional row of @p request.
/// @param tokens all tokens drawn for it.
/// @return [tokens - 1, text positions] double on the CPU: row i is of the step that read token i and drew token i + 1
at::Tensor layer_0_text_scores(const engine::chatterbox::T3& model, const engine::chatterbox::DecodeRequest& request,
                               const std::vector<std::int32_t>& tokens, int head);

/// Column @p head of an alignment's positions.
std::vector<std::int32_t> attended_by(const engine::Alignment& alignment, std::size_t head);

} // namespace audiobookd::tests
