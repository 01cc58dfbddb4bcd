#include "engine/models/chatterbox/decoder.h"

#include "engine/layers/kv_cache.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::chatterbox {

const at::Tensor& ConditioningCache::rows(const T3& model, const DecodeRequest& request) {
  if (!rows_.defined() || voice_ != request.voice->content_hash || exaggeration_ != request.exaggeration) {
    rows_ = model.condition(request.voice->speaker_emb, request.voice->prompt_speech_tokens, request.exaggeration);
    voice_ = request.voice->content_hash;
    exaggeration_ = request.exaggeration;
  }
  return rows_;
}

int rows_of(const DecodeRequest& request) noexcept { return request.sampling.cfg_weight != 0 ? 2 : 1; }

int pages_needed(const T3& model, const DecodeRequest& request) {
  const int positions = model.prompt_length(request.text_ids.size()) + request.max_tokens;
  return rows_of(request) * KvCache::pages_for(positions);
}

void check_can_fit(const T3& model, const DecodeRequest& request, int num_pages) {
  const int needed = pages_needed(model, request);
  if (needed > num_pages) {
    throw std::invalid_argument("text of " + std::to_string(request.text_ids.size()) + " tokens with up to " +
                                std::to_string(request.max_tokens) + " speech tokens needs " + std::to_string(needed) +
                                " cache pages; there are " + std::to_string(num_pages));
  }
}

std::vector<std::int32_t> valid_speech_tokens(const std::vector<std::int32_t>& drawn, const T3Config& config) {
  auto begin = std::find(drawn.begin(), drawn.end(), config.start_speech_token);
  begin = begin == drawn.end() ? drawn.begin() : begin + 1;
  const auto end = std::find(begin, drawn.end(), config.stop_speech_token);
  std::vector<std::int32_t> valid;
  std::copy_if(begin, end, std::back_inserter(valid), [&](std::int32_t t) { return t < config.start_speech_token; });
  return valid;
}

} // namespace audiobookd::engine::chatterbox
