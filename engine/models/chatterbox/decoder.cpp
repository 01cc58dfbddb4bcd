#include "engine/models/chatterbox/decoder.h"

#include "engine/layers/kv_cache.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::chatterbox {
namespace {

/// Indices of the tokens that valid_speech_tokens() keeps.
std::vector<std::size_t> valid_indices(const std::vector<std::int32_t>& drawn, const T3Config& config) {
  auto begin = std::find(drawn.begin(), drawn.end(), config.start_speech_token);
  begin = begin == drawn.end() ? drawn.begin() : begin + 1;
  const auto end = std::find(begin, drawn.end(), config.stop_speech_token);
  std::vector<std::size_t> valid;
  for (auto token = begin; token != end; ++token) {
    if (*token < config.start_speech_token) {
      valid.push_back(static_cast<std::size_t>(token - drawn.begin()));
    }
  }
  return valid;
}

} // namespace

const at::Tensor& ConditioningCache::rows(const T3& model, const DecodeRequest& request) {
  if (!rows_.defined() || voice_ != request.voice->content_hash || exaggeration_ != request.exaggeration) {
    rows_ = model.condition(request.voice->speaker_emb, request.voice->prompt_speech_tokens, request.exaggeration);
    voice_ = request.voice->content_hash;
    exaggeration_ = request.exaggeration;
  }
  return rows_;
}

bool may_enter(const DecodeRequest& request, int pages, int active, int free_places, int free_pages,
               const Reserve& reserve) noexcept {
  const bool keeps_off = !request.urgent && active > 0;
  return free_places > (keeps_off ? reserve.places : 0) && free_pages - (keeps_off ? reserve.pages : 0) >= pages;
}

int rows_of(const DecodeRequest& request) noexcept { return request.sampling.cfg_weight != 0 ? 2 : 1; }

int pages_needed(const T3& model, const DecodeRequest& request) {
  const int positions = model.prompt_length(request.text_ids.size()) + request.max_tokens;
  return rows_of(request) * KvCache::pages_for(positions);
}

void check_can_fit(const DecodeRequest& request, int needed_pages, int num_pages) {
  if (needed_pages > num_pages) {
    throw std::invalid_argument("text of " + std::to_string(request.text_ids.size()) + " tokens with up to " +
                                std::to_string(request.max_tokens) + " speech tokens needs " +
                                std::to_string(needed_pages) + " cache pages; there are " + std::to_string(num_pages));
  }
}

void check_heads(const T3& model, const std::vector<AttentionHead>& heads) {
  const T3Config& config = model.config();
  for (const auto& [layer, head] : heads) {
    if (layer < 0 || layer >= config.num_layers || head < 0 || head >= config.num_heads) {
      throw std::invalid_argument("attention head (" + std::to_string(layer) + ", " + std::to_string(head) +
                                  ") does not exist: the model has " + std::to_string(config.num_layers) +
                                  " layers of " + std::to_string(config.num_heads) + " heads");
    }
  }
}

int text_length(const DecodeRequest& request) noexcept { return static_cast<int>(request.text_ids.size()) + 2; }

std::vector<std::int32_t> valid_speech_tokens(const std::vector<std::int32_t>& drawn, const T3Config& config) {
  std::vector<std::int32_t> valid;
  for (const std::size_t index : valid_indices(drawn, config)) {
    valid.push_back(drawn[index]);
  }
  return valid;
}

DecodeResult make_result(const DecodeRequest& request, const std::vector<std::int32_t>& drawn,
                         const std::vector<std::int32_t>& attended, const T3Config& config) {
  DecodeResult result;
  result.id = request.id;
  result.speech_tokens = valid_speech_tokens(drawn, config);
  result.hit_token_limit = !request.forced && drawn.back() != config.stop_speech_token;
  result.alignment.num_heads = attended.size() / drawn.size();
  result.alignment.text_length = text_length(request);
  for (const std::size_t index : valid_indices(drawn, config)) {
    const auto row = attended.begin() + static_cast<std::ptrdiff_t>(index * result.alignment.num_heads);
    result.alignment.positions.insert(result.alignment.positions.end(), row,
                                      row + static_cast<std::ptrdiff_t>(result.alignment.num_heads));
  }
  return result;
}

} // namespace audiobookd::engine::chatterbox
