#include "engine/models/chatterbox/decoder.h"

#include "engine/kernels/row_linear.h"
#include "engine/sampler.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <stdexcept>
#include <string>

namespace audiobookd::engine::chatterbox {
namespace {

/// Far below any logit, but finite: differences of two such values stay numbers.
constexpr float impossible = -1e30f;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

int rows_of(const SamplingParams& sampling) { return sampling.cfg_weight != 0 ? 2 : 1; }

} // namespace

std::vector<std::int32_t> valid_speech_tokens(const std::vector<std::int32_t>& drawn, const T3Config& config) {
  auto begin = std::find(drawn.begin(), drawn.end(), config.start_speech_token);
  begin = begin == drawn.end() ? drawn.begin() : begin + 1;
  const auto end = std::find(begin, drawn.end(), config.stop_speech_token);
  std::vector<std::int32_t> valid;
  std::copy_if(begin, end, std::back_inserter(valid), [&](std::int32_t t) { return t < config.start_speech_token; });
  return valid;
}

Decoder::Decoder(const T3& model, int max_batch, int num_pages)
    : model_(model), cache_(model.make_cache(num_pages)), places_(static_cast<std::size_t>(max_batch)),
      seen_(at::zeros({max_batch + 1, model.config().speech_vocab_size},
                      at::TensorOptions(at::kBool).device(model.device()))),
      not_speech_(at::arange(model.config().speech_vocab_size, at::TensorOptions(at::kLong).device(model.device()))
                      .ge(model.config().start_speech_token)
                      .unsqueeze(0)) {}

int Decoder::pages_needed(const DecodeRequest& request) const {
  const int positions = model_.prompt_length(request.text_ids.size()) + request.max_tokens;
  return rows_of(request.sampling) * KvCache::pages_for(positions);
}

bool Decoder::fits(const DecodeRequest& request) const {
  if (active_ == 0 && pages_needed(request) > cache_.free_pages()) {
    throw std::invalid_argument("text of " + std::to_string(request.text_ids.size()) + " tokens with up to " +
                                std::to_string(request.max_tokens) + " speech tokens needs " +
                                std::to_string(pages_needed(request)) + " cache pages; there are " +
                                std::to_string(cache_.free_pages()));
  }
  return free_places() > 0 && pages_needed(request) <= cache_.free_pages();
}

at::Tensor Decoder::conditioning_for(const DecodeRequest& request) {
  if (!conditioning_.rows.defined() || conditioning_.voice != request.voice->content_hash ||
      conditioning_.exaggeration != request.exaggeration) {
    conditioning_ = {
        request.voice->content_hash, request.exaggeration,
        model_.condition(request.voice->speaker_emb, request.voice->prompt_speech_tokens, request.exaggeration)};
  }
  return conditioning_.rows;
}

void Decoder::admit(const DecodeRequest& request) {
  const int index = static_cast<int>(
      std::find_if(places_.begin(), places_.end(), [](const auto& place) { return !place; }) - places_.begin());
  const int rows = rows_of(request.sampling);
  const at::Tensor prompt = model_.embed_utterance(conditioning_for(request), request.text_ids, rows == 2);
  Place place{request, {}, model_.prompt_length(request.text_ids.size()), {}};
  for (int row = 0; row < rows; ++row) {
    place.pages.push_back(cache_.reserve(place.prompt_length + request.max_tokens));
  }
  const at::Tensor logits = model_.prefill(prompt, place.pages, cache_);
  at::Tensor seen = seen_[index];
  seen.fill_(false);
  seen[model_.config().start_speech_token].fill_(true);
  places_[index] = std::move(place);
  ++active_;
  sample({{index}, {0}, {rows - 1}, rows}, logits);
}

bool Decoder::cancel(UtteranceId id) noexcept {
  for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
    if (places_[i] && places_[i]->request.id == id) {
      free_place(i);
      return true;
    }
  }
  return false;
}

Decoder::Batch Decoder::collect() const {
  // On CUDA every step has the same shape, whoever takes part: then every matrix product runs the same algorithm.
  const bool fixed_shape = model_.device().is_cuda();
  Batch batch;
  for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
    if (!places_[i] && !fixed_shape) {
      continue;
    }
    const int rows = places_[i] ? static_cast<int>(places_[i]->pages.size()) : 1;
    batch.places.push_back(places_[i] ? i : -1);
    batch.cond_rows.push_back(batch.num_rows);
    batch.uncond_rows.push_back(batch.num_rows + rows - 1);
    batch.num_rows += fixed_shape ? 2 : rows;
  }
  batch.num_rows = round_up(batch.num_rows, kernels::row_tile);
  return batch;
}

at::Tensor Decoder::forward(const Batch& batch) {
  std::size_t max_pages = 1;
  for (const auto& place : places_) {
    max_pages = std::max(max_pages, place ? place->pages.front().size() : 0);
  }
  at::Tensor block_table =
      at::full({batch.num_rows, static_cast<std::int64_t>(max_pages)}, KvCache::scratch_page, at::kInt);
  at::Tensor positions = at::zeros({batch.num_rows}, at::kInt);
  at::Tensor tokens = at::zeros({batch.num_rows}, at::kLong);
  at::Tensor speech_positions = at::zeros({batch.num_rows}, at::kLong);
  for (std::size_t i = 0; i < batch.places.size(); ++i) {
    if (batch.places[i] < 0) {
      continue;
    }
    const Place& place = *places_[batch.places[i]];
    for (std::size_t row = 0; row < place.pages.size(); ++row) {
      const std::int64_t r = batch.cond_rows[i] + static_cast<std::int64_t>(row);
      std::copy(place.pages[row].begin(), place.pages[row].end(),
                block_table.data_ptr<std::int32_t>() + r * static_cast<std::int64_t>(max_pages));
      positions.data_ptr<std::int32_t>()[r] = place.prompt_length + static_cast<int>(place.tokens.size()) - 1;
      tokens.data_ptr<std::int64_t>()[r] = place.tokens.back();
      speech_positions.data_ptr<std::int64_t>()[r] = static_cast<std::int64_t>(place.tokens.size());
    }
  }
  const at::Device device = model_.device();
  return model_.decode(tokens.to(device), speech_positions.to(device), {block_table.to(device), positions.to(device)},
                       cache_);
}

void Decoder::sample(const Batch& batch, const at::Tensor& logits) {
  const at::Device device = model_.device();
  const auto count = static_cast<std::int64_t>(batch.places.size());
  std::vector<SamplingParams> params(batch.places.size());
  std::vector<std::int64_t> seen_rows(batch.places.size(), seen_.size(0) - 1);
  at::Tensor uniforms = at::full({count, 1}, 0.5, at::kDouble);
  at::Tensor forced = at::zeros({count, 1}, at::kBool);
  for (std::int64_t i = 0; i < count; ++i) {
    if (batch.places[i] < 0) {
      continue;
    }
    const Place& place = *places_[batch.places[i]];
    params[i] = place.request.sampling;
    seen_rows[i] = batch.places[i];
    uniforms.data_ptr<double>()[i] =
        uniform(place.request.random, RandomPurpose::t3_draw, static_cast<std::uint32_t>(place.tokens.size()), 0);
    forced.data_ptr<bool>()[i] = place.request.forced;
  }
  const SamplerRows rows = SamplerRows::from(params, device);
  const at::Tensor barred = forced.to(device).logical_and(not_speech_);
  const auto pick = [&](const std::vector<std::int64_t>& indices) {
    return logits.index_select(0, at::tensor(indices, at::kLong).to(device)).masked_fill(barred, impossible);
  };
  const at::Tensor seen_index = at::tensor(seen_rows, at::kLong).to(device);
  const at::Tensor processed =
      process_logits(pick(batch.cond_rows), pick(batch.uncond_rows), seen_.index_select(0, seen_index), rows);
  const at::Tensor drawn = draw(processed, uniforms.to(device), rows);
  seen_.index_put_({seen_index, drawn}, at::scalar_tensor(true, seen_.options()));
  const at::Tensor tokens = drawn.cpu();
  for (std::int64_t i = 0; i < count; ++i) {
    if (batch.places[i] >= 0) {
      places_[batch.places[i]]->tokens.push_back(static_cast<std::int32_t>(tokens.const_data_ptr<std::int64_t>()[i]));
    }
  }
}

bool Decoder::is_done(const Place& place) const {
  const bool stopped = !place.request.forced && place.tokens.back() == model_.config().stop_speech_token;
  return stopped || static_cast<int>(place.tokens.size()) >= place.request.max_tokens;
}

DecodeResult Decoder::finish(int index) {
  const Place& place = *places_[index];
  DecodeResult result{place.request.id, valid_speech_tokens(place.tokens, model_.config()),
                      !place.request.forced && place.tokens.back() != model_.config().stop_speech_token};
  free_place(index);
  return result;
}

void Decoder::free_place(int index) {
  for (const auto& pages : places_[index]->pages) {
    cache_.release(pages);
  }
  places_[index].reset();
  --active_;
}

std::vector<DecodeResult> Decoder::step() {
  std::vector<DecodeResult> results;
  const auto collect_done = [&] {
    for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
      if (places_[i] && is_done(*places_[i])) {
        results.push_back(finish(i));
      }
    }
  };
  collect_done(); // an utterance may be done with the token its prompt gave
  if (active_ == 0) {
    return results;
  }
  const Batch batch = collect();
  sample(batch, forward(batch));
  collect_done();
  return results;
}

} // namespace audiobookd::engine::chatterbox
