#include "engine/cuda/cuda_decoder.h"

#include "engine/cuda/cuda_t3.h"
#include "engine/cuda/sampler_kernel.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <algorithm>
#include <array>
#include <c10/cuda/CUDAFunctions.h>
#include <list>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace audiobookd::engine::cuda {
namespace {

using chatterbox::DecodeRequest;
using chatterbox::DecodeResult;
using chatterbox::T3;

constexpr int steps_in_a_call = 4;

/// To the GPU without waiting for it: the driver has copied pageable memory when the call returns.
at::Tensor upload(const at::Tensor& tensor, at::Device device) { return tensor.to(device, /*non_blocking=*/true); }

at::Tensor upload(const std::vector<int>& values, at::Device device) {
  return upload(at::tensor(values, at::kInt), device);
}

/// Indices of places, and of their two rows, as index_copy_() wants them.
struct PlaceIndex {
  PlaceIndex(const std::vector<int>& list, at::Device device)
      : places(upload(list, device).to(at::kLong)), rows(at::stack({places * 2, places * 2 + 1}, 1).flatten()) {}
  at::Tensor places; // [n] int64
  at::Tensor rows;   // [2 n] int64
};

/// Pages that all utterances of one voice and emotion read: the keys and values of the positions up to the end of the
/// text in an unconditional row, which hold no text, only its length. A shorter text uses a prefix of them. Their first
/// page (conditioning alone) serves conditional rows too. Read by many rows in one step, they come from the L2 cache.
struct SharedPrefix {
  Hash128 voice;
  float exaggeration = 0;
  std::vector<std::int32_t> pages;
  int users = 0; // places
};

/// Places of requests that enter together.
struct Newcomers {
  std::vector<int> places;
  std::vector<at::Tensor> prompts;                     // one a row
  std::vector<std::vector<std::int32_t>> prompt_pages; // where each prompt writes; shared pages that exist: scratch
  std::vector<std::vector<std::int32_t>> pages;        // what each row reads and continues
  std::vector<int> cond_rows, uncond_rows;             // rows of the prefill's logits
};

class CudaDecoder final : public chatterbox::Decoder {
public:
  CudaDecoder(const T3& model, int max_batch, int num_pages)
      : model_(model), num_pages_(num_pages), cache_(model_.make_cache(num_pages)),
        places_(static_cast<std::size_t>(max_batch)) {
    const int longest_prompt = model.prompt_length(static_cast<std::size_t>(model.config().text_pos_rows - 2));
    max_pages_ = KvCache::pages_for(longest_prompt + longest_history);
    make_state(max_batch);
    capture();
  }

  [[nodiscard]] int active() const noexcept override { return active_; }
  [[nodiscard]] int free_places() const noexcept override { return static_cast<int>(places_.size()) - active_; }
  [[nodiscard]] int steps_per_call() const noexcept override { return steps_in_a_call; }

  int admit(std::deque<DecodeRequest>& waiting) override {
    Newcomers newcomers;
    while (!waiting.empty() && free_places() > 0 &&
           newcomers.prompts.size() + 2 <= static_cast<std::size_t>(CudaT3::max_prompts)) {
      if (newcomers.places.empty()) {
        check(waiting.front());
      }
      if (!has_room_for(waiting.front()) || waiting.front().max_tokens > longest_history) {
        break;
      }
      take(std::move(waiting.front()), newcomers);
      waiting.pop_front();
    }
    if (!newcomers.places.empty()) {
      start(newcomers);
    }
    return static_cast<int>(newcomers.places.size());
  }

  bool cancel(UtteranceId id) override {
    for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
      if (places_[i] && places_[i]->request.id == id) {
        free_places_of({i});
        return true;
      }
    }
    return false;
  }

  std::vector<DecodeResult> step() override {
    for (int i = 0; i < steps_in_a_call; ++i) {
      graph_.replay();
    }
    ++call_;
    report(reports_[call_ % 2]);
    Report& previous = reports_[(call_ + 1) % 2];
    if (previous.call == 0) {
      return {};
    }
    previous.ready.synchronize();
    return collect(previous);
  }

private:
  struct Place {
    DecodeRequest request;
    std::uint64_t admitted_after = 0; // reports up to this call speak of an earlier utterance
    SharedPrefix* prefix = nullptr;
    std::vector<std::int32_t> pages{}; // its own
  };
  /// What the GPU said after a call, in pinned memory.
  struct Report {
    std::uint64_t call = 0;
    at::Tensor active, drawn; // [places] int32
    at::Tensor history;       // [places, longest_history] int32
    at::cuda::CUDAEvent ready;
  };

  void make_state(int max_batch) {
    const auto ints = at::TensorOptions(at::kInt).device(model_.model().device());
    const auto longs = ints.dtype(at::kLong);
    const auto& config = model_.model().config();
    state_.active = at::zeros({max_batch}, ints);
    state_.drawn = at::zeros({max_batch}, ints);
    state_.max_tokens = at::zeros({max_batch}, ints);
    state_.flags = at::zeros({max_batch}, ints);
    state_.params = at::ones({max_batch, 5}, ints.dtype(at::kFloat));
    state_.key = at::zeros({max_batch, 3}, ints);
    state_.seen = at::zeros({max_batch, (config.speech_vocab_size + 31) / 32}, ints);
    state_.history = at::zeros({max_batch, longest_history}, ints);
    state_.tokens = at::zeros({2 * max_batch}, longs);
    state_.speech_positions = at::zeros({2 * max_batch}, longs);
    state_.positions = at::zeros({2 * max_batch}, ints);
    block_table_ = at::full({2 * max_batch, max_pages_}, KvCache::scratch_page, ints);
    all_places_ = at::arange(max_batch, ints);
    even_rows_ = all_places_ * 2;
    odd_rows_ = even_rows_ + 1;
    for (Report& report : reports_) {
      const auto pinned = at::TensorOptions(at::kInt).pinned_memory(true);
      report.active = at::zeros({max_batch}, pinned);
      report.drawn = at::zeros({max_batch}, pinned);
      report.history = at::zeros({max_batch, longest_history}, pinned);
    }
  }

  void run_step() {
    const at::Tensor logits =
        model_.decode(state_.tokens, state_.speech_positions, state_.positions, block_table_, cache_);
    sample(logits, all_places_, even_rows_, odd_rows_, state_, vocabulary());
  }

  void capture() {
    run_step(); // libraries load their kernels and make their workspaces now, not during capture
    c10::cuda::device_synchronize();
    graph_.capture_begin();
    run_step();
    graph_.capture_end();
    c10::cuda::device_synchronize();
  }

  [[nodiscard]] SpeechVocabulary vocabulary() const {
    const auto& c = model_.model().config();
    return {c.speech_vocab_size, c.start_speech_token, c.stop_speech_token};
  }

  void check(const DecodeRequest& request) const {
    check_can_fit(model_.model(), request, num_pages_);
    if (request.max_tokens > longest_history) {
      throw std::invalid_argument("an utterance of " + std::to_string(request.max_tokens) +
                                  " speech tokens; this decoder holds at most " + std::to_string(longest_history));
    }
  }

  /// Gives @p request a place and pages and adds its prompt to @p newcomers.
  void take(DecodeRequest request, Newcomers& newcomers) {
    const auto free = std::find_if(places_.begin(), places_.end(), [](const auto& place) { return !place; });
    const int rows = rows_of(request);
    const at::Tensor prompt =
        model_.model().embed_utterance(conditioning_.rows(model_.model(), request), request.text_ids, rows == 2);
    newcomers.places.push_back(static_cast<int>(free - places_.begin()));
    newcomers.cond_rows.push_back(static_cast<int>(newcomers.prompts.size()));
    newcomers.uncond_rows.push_back(static_cast<int>(newcomers.prompts.size()) + rows - 1);
    SharedPrefix& prefix = prefix_of(request);
    ++prefix.users;
    Place place{std::move(request), call_, &prefix};
    const auto positions = static_cast<int>(prompt.size(1)) + place.request.max_tokens;
    const int conditioning = 2 + model_.model().config().perceiver_queries;
    const auto text_end = static_cast<int>(prompt.size(1)) - 2; // before the two speech starts
    for (int row = 0; row < rows; ++row) {
      const int shared = (row == 0 ? conditioning : text_end) / KvCache::page_size;
      std::vector<std::int32_t> written = extend(prefix, shared);
      std::vector<std::int32_t> read(prefix.pages.begin(), prefix.pages.begin() + shared);
      const auto own = cache_.reserve(positions - shared * KvCache::page_size);
      for (auto* list : {&written, &read}) {
        list->insert(list->end(), own.begin(), own.end());
      }
      place.pages.insert(place.pages.end(), own.begin(), own.end());
      newcomers.prompt_pages.push_back(std::move(written));
      newcomers.pages.push_back(std::move(read));
      newcomers.prompts.push_back(prompt[row]);
    }
    *free = std::move(place);
    ++active_;
  }

  /// Whether the pages for @p request are free; forgets prefixes that nobody uses if that helps.
  bool has_room_for(const DecodeRequest& request) {
    const int needed = pages_needed(model_.model(), request);
    for (auto prefix = prefixes_.begin(); needed > cache_.free_pages() && prefix != prefixes_.end();) {
      if (prefix->users > 0) {
        ++prefix;
        continue;
      }
      cache_.release(prefix->pages);
      prefix = prefixes_.erase(prefix);
    }
    return needed <= cache_.free_pages();
  }

  SharedPrefix& prefix_of(const DecodeRequest& request) {
    for (SharedPrefix& prefix : prefixes_) {
      if (prefix.voice == request.voice->content_hash && prefix.exaggeration == request.exaggeration) {
        return prefix;
      }
    }
    return prefixes_.emplace_back(SharedPrefix{request.voice->content_hash, request.exaggeration, {}});
  }

  /// Makes @p prefix at least @p count pages long. @return where a prompt writes its first @p count pages: the new
  /// ones, and the scratch page for those that hold the same values already
  std::vector<std::int32_t> extend(SharedPrefix& prefix, int count) {
    std::vector<std::int32_t> written(std::min<std::size_t>(prefix.pages.size(), static_cast<std::size_t>(count)),
                                      KvCache::scratch_page);
    while (static_cast<int>(written.size()) < count) {
      prefix.pages.push_back(cache_.reserve(1).front());
      written.push_back(prefix.pages.back());
    }
    return written;
  }

  /// A block table on the host, one row for each list.
  [[nodiscard]] at::Tensor table_of(const std::vector<std::vector<std::int32_t>>& lists) const {
    at::Tensor table = at::full({static_cast<std::int64_t>(lists.size()), max_pages_}, KvCache::scratch_page, at::kInt);
    for (std::size_t row = 0; row < lists.size(); ++row) {
      std::copy(lists[row].begin(), lists[row].end(),
                table.data_ptr<std::int32_t>() + row * static_cast<std::size_t>(max_pages_));
    }
    return table;
  }

  /// Runs the prompts of @p newcomers and draws their first tokens.
  void start(const Newcomers& newcomers) {
    const at::Device device = model_.model().device();
    set_state(newcomers);
    const at::Tensor logits =
        model_.prefill(newcomers.prompts, upload(table_of(newcomers.prompt_pages), device), cache_);
    sample(logits, upload(newcomers.places, device), upload(newcomers.cond_rows, device),
           upload(newcomers.uncond_rows, device), state_, vocabulary());
  }

  /// Uploads what the sampler and the next step need to know of @p newcomers.
  void set_state(const Newcomers& newcomers) {
    const at::Tensor pages = table_of(newcomers.pages);
    const auto count = static_cast<std::int64_t>(newcomers.places.size());
    const auto& config = model_.model().config();
    at::Tensor numbers = at::zeros({count, 2}, at::kInt); // max_tokens, flags
    at::Tensor params = at::zeros({count, 5}, at::kFloat);
    at::Tensor key = at::zeros({count, 3}, at::kInt);
    at::Tensor table = at::full({count, 2, max_pages_}, KvCache::scratch_page, at::kInt);
    at::Tensor positions = at::zeros({count, 2}, at::kInt);
    for (std::int64_t i = 0; i < count; ++i) {
      const DecodeRequest& request = places_[static_cast<std::size_t>(newcomers.places[i])]->request;
      const SamplingParams& s = request.sampling;
      numbers[i].copy_(at::tensor({request.max_tokens, (s.greedy ? 1 : 0) | (request.forced ? 2 : 0)}, at::kInt));
      params[i].copy_(at::tensor({s.cfg_weight, s.repetition_penalty, s.temperature, s.min_p, s.top_p}, at::kFloat));
      key[i].copy_(at::tensor({static_cast<int>(request.random.key0), static_cast<int>(request.random.key1),
                               static_cast<int>(request.random.attempt)},
                              at::kInt));
      for (int row = 0; row < rows_of(request); ++row) {
        table[i][row].copy_(pages[newcomers.cond_rows[i] + row]);
        positions[i][row] = static_cast<int>(newcomers.prompts[newcomers.cond_rows[i]].size(0)) - 1;
      }
    }
    const at::Device device = model_.model().device();
    const PlaceIndex index(newcomers.places, device);
    const at::Tensor on_device = upload(numbers, device);
    state_.max_tokens.index_copy_(0, index.places, on_device.select(1, 0).contiguous());
    state_.flags.index_copy_(0, index.places, on_device.select(1, 1).contiguous());
    state_.params.index_copy_(0, index.places, upload(params, device));
    state_.key.index_copy_(0, index.places, upload(key, device));
    state_.drawn.index_fill_(0, index.places, 0);
    state_.active.index_fill_(0, index.places, 1);
    at::Tensor seen = at::zeros({count, state_.seen.size(1)}, at::kInt);
    seen.select(1, config.start_speech_token / 32).fill_(static_cast<int>(1U << (config.start_speech_token % 32)));
    state_.seen.index_copy_(0, index.places, upload(seen, device));
    state_.positions.index_copy_(0, index.rows, upload(positions.flatten(), device));
    state_.tokens.index_fill_(0, index.rows, 0);
    state_.speech_positions.index_fill_(0, index.rows, 0);
    block_table_.index_copy_(0, index.rows, upload(table.view({2 * count, max_pages_}), device));
  }

  /// Asks for the state after the steps launched so far, without waiting.
  void report(Report& report) {
    report.active.copy_(state_.active, /*non_blocking=*/true);
    report.drawn.copy_(state_.drawn, true);
    report.history.copy_(state_.history, true);
    report.ready.record();
    report.call = call_;
  }

  std::vector<DecodeResult> collect(const Report& report) {
    std::vector<DecodeResult> results;
    std::vector<int> freed;
    for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
      if (!places_[i] || places_[i]->admitted_after >= report.call || report.active.const_data_ptr<int>()[i] != 0) {
        continue;
      }
      const DecodeRequest& request = places_[i]->request;
      const int* const tokens = report.history.const_data_ptr<int>() + static_cast<std::ptrdiff_t>(i) * longest_history;
      const std::vector<std::int32_t> drawn(tokens, tokens + report.drawn.const_data_ptr<int>()[i]);
      results.push_back({request.id, valid_speech_tokens(drawn, model_.model().config()),
                         !request.forced && drawn.back() != model_.model().config().stop_speech_token});
      freed.push_back(i);
    }
    if (!freed.empty()) {
      free_places_of(freed);
    }
    return results;
  }

  /// Steps go on computing the rows of a free place: they must not write into pages that others get.
  void free_places_of(const std::vector<int>& freed) {
    const PlaceIndex index(freed, model_.model().device());
    state_.active.index_fill_(0, index.places, 0);
    state_.positions.index_fill_(0, index.rows, 0);
    block_table_.index_fill_(0, index.rows, KvCache::scratch_page);
    for (const int i : freed) {
      cache_.release(places_[i]->pages);
      --places_[i]->prefix->users;
      places_[i].reset();
      --active_;
    }
  }

  CudaT3 model_;
  const int num_pages_;
  KvCache cache_;
  int max_pages_ = 0;
  std::vector<std::optional<Place>> places_;
  int active_ = 0;
  chatterbox::ConditioningCache conditioning_;
  std::list<SharedPrefix> prefixes_;
  PlaceState state_;
  at::Tensor block_table_;                       // [2 * places, max_pages] int32
  at::Tensor all_places_, even_rows_, odd_rows_; // [places] int32
  at::cuda::CUDAGraph graph_;
  std::uint64_t call_ = 0;
  std::array<Report, 2> reports_;
};

} // namespace

std::unique_ptr<chatterbox::Decoder> make_cuda_decoder(const T3& model, int max_batch, int num_pages) {
  return std::make_unique<CudaDecoder>(model, max_batch, num_pages);
}

} // namespace audiobookd::engine::cuda
