#include "engine/models/chatterbox/aten_decoder.h"

#include "engine/kernels/row_linear.h"
#include "engine/sampler.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace audiobookd::engine::chatterbox {
namespace {

/// Far below any logit, but finite: differences of two such values stay numbers.
constexpr float impossible = -1e30f;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

} // namespace

AtenDecoder::AtenDecoder(const T3& model, int max_batch, int num_pages, std::vector<AttentionHead> alignment_heads,
                         const Reserve& reserve)
    : model_(model), num_pages_(num_pages), alignment_heads_(std::move(alignment_heads)), reserve_(reserve),
      cache_(model.make_cache(num_pages)), places_(static_cast<std::size_t>(max_batch)),
      seen_(at::zeros({max_batch + 1, model.config().speech_vocab_size},
                      at::TensorOptions(at::kBool).device(model.device()))),
      not_speech_(at::arange(model.config().speech_vocab_size, at::TensorOptions(at::kLong).device(model.device()))
                      .ge(model.config().start_speech_token)
                      .unsqueeze(0)) {
  check_heads(model, alignment_heads_);
}

int AtenDecoder::admit(std::deque<DecodeRequest>& waiting) {
  int admitted = 0;
  while (!waiting.empty() && free_places() > 0) {
    const int needed = pages_needed(model_, waiting.front());
    check_can_fit(waiting.front(), needed, num_pages_);
    if (!may_enter(waiting.front(), needed, active_, free_places(), cache_.free_pages(), reserve_)) {
      break;
    }
    admit_one(waiting.front());
    waiting.pop_front();
    ++admitted;
  }
  return admitted;
}

void AtenDecoder::admit_one(const DecodeRequest& request) {
  const int index = static_cast<int>(
      std::find_if(places_.begin(), places_.end(), [](const auto& place) { return !place; }) - places_.begin());
  const int rows = rows_of(request);
  const at::Tensor prompt = model_.embed_utterance(conditioning_.rows(model_, request), request.text_ids, rows == 2);
  Place place{request, {}, model_.prompt_length(request.text_ids.size())};
  place.attended.assign(alignment_heads_.size(), -1); // the prompt draws the first token
  for (int row = 0; row < rows; ++row) {
    place.pages.push_back(cache_.reserve(place.prompt_length + request.max_tokens));
  }
  places_[index] = std::move(place);
  ++active_;
  try {
    const at::Tensor logits = model_.prefill(prompt, places_[index]->pages, cache_);
    at::Tensor seen = seen_[index];
    seen.fill_(false);
    seen[model_.config().start_speech_token].fill_(true);
    sample({{index}, {0}, {rows - 1}, rows}, logits);
  } catch (const c10::OutOfMemoryError&) {
    free_place(index);
    throw;
  }
}

void AtenDecoder::resize_cache(int num_pages) {
  TORCH_CHECK(active_ == 0, "the KV cache is in use");
  num_pages_ = 0;
  cache_ = model_.make_cache(0);
  cache_ = model_.make_cache(num_pages);
  num_pages_ = num_pages;
}

bool AtenDecoder::cancel(UtteranceId id) {
  for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
    if (places_[i] && places_[i]->request.id == id) {
      free_place(i);
      return true;
    }
  }
  return false;
}

AtenDecoder::Batch AtenDecoder::collect() const {
  // On CUDA every step has the same shape, whoever takes part: then every matrix product runs the same algorithm.
  const bool fixed_shape = model_.device().is_cuda();
  const std::vector<int> taking_part = places_in_step(places_, most_in_step_);
  Batch batch;
  for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
    const bool takes_part = std::binary_search(taking_part.begin(), taking_part.end(), i);
    if (!takes_part && !fixed_shape) {
      continue;
    }
    const int rows = takes_part ? static_cast<int>(places_[i]->pages.size()) : 1;
    batch.places.push_back(takes_part ? i : -1);
    batch.cond_rows.push_back(batch.num_rows);
    batch.uncond_rows.push_back(batch.num_rows + rows - 1);
    batch.num_rows += fixed_shape ? 2 : rows;
  }
  batch.num_rows = round_up(batch.num_rows, kernels::row_tile);
  return batch;
}

TextWatch AtenDecoder::watch(const Batch& batch) const {
  if (alignment_heads_.empty()) {
    return {};
  }
  at::Tensor lengths = at::zeros({batch.num_rows}, at::kInt);
  for (std::size_t i = 0; i < batch.places.size(); ++i) {
    if (batch.places[i] >= 0) {
      lengths.data_ptr<std::int32_t>()[batch.cond_rows[i]] = text_length(places_[batch.places[i]]->request);
    }
  }
  lengths = lengths.to(model_.device());
  return {alignment_heads_, model_.text_begin(), lengths,
          at::zeros({batch.num_rows, static_cast<std::int64_t>(alignment_heads_.size())}, lengths.options())};
}

void AtenDecoder::note(const Batch& batch, const TextWatch& seen) {
  if (seen.heads.empty()) {
    return;
  }
  const at::Tensor attended = seen.attended.cpu();
  for (std::size_t i = 0; i < batch.places.size(); ++i) {
    if (batch.places[i] >= 0) {
      const auto* const row =
          attended.const_data_ptr<std::int32_t>() + batch.cond_rows[i] * static_cast<std::int64_t>(seen.heads.size());
      std::vector<std::int32_t>& all = places_[batch.places[i]]->attended;
      all.insert(all.end(), row, row + seen.heads.size());
    }
  }
}

at::Tensor AtenDecoder::forward(const Batch& batch, const TextWatch& watch) {
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
  return model_.decode(tokens.to(device), speech_positions.to(device),
                       {block_table.to(device), positions.to(device), watch}, cache_);
}

void AtenDecoder::sample(const Batch& batch, const at::Tensor& logits) {
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

bool AtenDecoder::is_done(const Place& place) const {
  const bool stopped = !place.request.forced && place.tokens.back() == model_.config().stop_speech_token;
  return stopped || static_cast<int>(place.tokens.size()) >= place.request.max_tokens;
}

DecodeResult AtenDecoder::finish(int index) {
  const Place& place = *places_[index];
  DecodeResult result = make_result(place.request, place.tokens, place.attended, model_.config());
  free_place(index);
  return result;
}

void AtenDecoder::free_place(int index) {
  for (const auto& pages : places_[index]->pages) {
    cache_.release(pages);
  }
  places_[index].reset();
  --active_;
}

std::vector<DecodeResult> AtenDecoder::step() {
  const auto collect_done = [&] {
    for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
      if (places_[i] && is_done(*places_[i])) {
        done_.push_back(finish(i));
      }
    }
  };
  collect_done(); // an utterance may be done with the token its prompt gave
  if (active_ == 0) {
    return std::exchange(done_, {});
  }
  const Batch batch = collect();
  const TextWatch seen = watch(batch);
  sample(batch, forward(batch, seen));
  note(batch, seen);
  collect_done();
  return std::exchange(done_, {});
}

} // namespace audiobookd::engine::chatterbox
