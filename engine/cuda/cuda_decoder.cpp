#include "engine/cuda/cuda_decoder.h"

#include "engine/cuda/cuda_t3.h"
#include "engine/cuda/sampler_kernel.h"
#include "engine/device.h"

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <algorithm>
#include <array>
#include <c10/cuda/CUDAFunctions.h>
#include <limits>
#include <list>
#include <map>
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

/// Indices of places, and of their two sequences, as index_copy_() wants them.
struct PlaceIndex {
  PlaceIndex(const std::vector<int>& list, at::Device device)
      : places(upload(list, device).to(at::kLong)), sequences(at::stack({places * 2, places * 2 + 1}, 1).flatten()) {}
  at::Tensor places;    // [n] int64
  at::Tensor sequences; // [2 n] int64
};

/// Pages that all utterances of one voice and emotion read: the keys and values of the positions up to the end of the
/// text in an unconditional row, which hold no text, only its length. A shorter text uses a prefix of them, and so do
/// conditional rows, up to the end of the conditioning. Read by many rows in one step, they come from the L2 cache.
struct SharedPrefix {
  Hash128 voice;
  float exaggeration = 0;
  std::vector<std::int32_t> pages;
  int length = 0; // positions that have been computed
  int users = 0;  // places
};

/// Requests that enter together.
struct Newcomers {
  std::vector<int> places;
  std::vector<Prompt> prompts;
  std::vector<std::vector<std::int32_t>> pages;        // of each prompt
  std::vector<int> shared;                             // positions of each prompt that lie in shared pages
  std::vector<int> cond_rows, uncond_rows;             // rows of the prefill's logits
  std::int64_t rows = 0;                               // of all prompts
  std::vector<std::pair<SharedPrefix*, int>> extended; // prefixes that grow, and their lengths before
};

/// Captures what a scope launches; a scope that is left by an exception ends the capture and throws it away.
class Capture {
public:
  Capture(at::cuda::CUDAGraph& graph, at::cuda::MempoolId_t pool) : graph_(graph) {
    graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal); // other threads may allocate, for other GPUs too
  }
  void end() {
    open_ = false;
    graph_.capture_end();
  }
  ~Capture() {
    if (open_) {
      try {
        graph_.capture_end();
      } catch (const c10::Error&) { // what is thrown already tells more
      }
    }
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

private:
  at::cuda::CUDAGraph& graph_;
  bool open_ = true;
};

/// Who takes part in a step, in the order of the batch's rows.
struct Batch {
  std::vector<int> sequences;                      // of each row
  std::vector<int> places, cond_rows, uncond_rows; // of each utterance
};

class CudaDecoder final : public chatterbox::Decoder {
public:
  CudaDecoder(const T3& model, const CudaDecoderOptions& options)
      : model_(model, options.invariant), cache_dtype_(options.cache_dtype), cache_(model_.make_cache(0, cache_dtype_)),
        reserve_(options.reserve), places_(static_cast<std::size_t>(options.max_batch)) {
    const int longest_prompt = model.prompt_length(static_cast<std::size_t>(model.config().text_pos_rows - 2));
    max_pages_ = 1 + KvCache::pages_for(longest_prompt + longest_history); // shared and own positions round up apart
    check_heads(model, options.alignment_heads);
    make_state(options.max_batch);
    make_watch(options.max_batch, options.alignment_heads);
    model_.prepare(std::max<std::int64_t>(2LL * options.max_batch, CudaT3::prompt_rows));
    resize_cache(options.num_pages);
  }

  void resize_cache(int num_pages) override {
    TORCH_CHECK(active_ == 0, "the KV cache is in use");
    c10::cuda::device_synchronize(); // the last steps may still run
    graphs_.clear();                 // they know where the old one lies
    prefixes_.clear();
    num_pages_ = 0;
    cache_ = model_.make_cache(0, cache_dtype_);
    if (num_pages > 0) {
      cache_ = model_.make_cache(num_pages, cache_dtype_);
      capture(2LL * no_place());
      num_pages_ = num_pages;
    }
  }

  void limit_step(int most) override { most_in_step_ = most; }

  [[nodiscard]] int active() const noexcept override { return active_; }
  [[nodiscard]] int free_places() const noexcept override { return static_cast<int>(places_.size()) - active_; }
  [[nodiscard]] int steps_per_call() const noexcept override { return steps_in_a_call; }

  int admit(std::deque<DecodeRequest>& waiting) override {
    if (waiting.empty() || (!waiting.front().urgent && !worth_a_prefill())) {
      return 0;
    }
    Newcomers newcomers;
    try {
      choose(waiting, newcomers);
      if (!newcomers.places.empty()) {
        start(newcomers);
      }
    } catch (const c10::OutOfMemoryError&) {
      tried_together_ = newcomers.places.size();
      put_back(newcomers, waiting);
      throw;
    }
    return static_cast<int>(newcomers.places.size());
  }

  bool admit_fewer() override {
    if (most_together_ == 1) {
      return false;
    }
    most_together_ = std::max<std::size_t>(1, std::min(most_together_, tried_together_) / 2);
    return true;
  }

  bool cancel(UtteranceId id) override {
    for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
      if (places_[i] && places_[i]->request.id == id) {
        free_place(i);
        return true;
      }
    }
    return false;
  }

  std::vector<DecodeResult> step() override {
    at::cuda::CUDAGraph& graph = graphs_.at(CudaT3::bucket(lay_out()));
    for (int i = 0; i < steps_in_a_call; ++i) {
      graph.replay();
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
    at::Tensor attended;      // [places, longest_history, heads] int16; undefined without alignment heads
    at::cuda::CUDAEvent ready;
  };

  /// One place more than utterances: it is never active, and rows that nobody needs belong to it.
  void make_state(int max_batch) {
    const std::int64_t places = max_batch + 1;
    const auto ints = at::TensorOptions(at::kInt).device(model_.model().device());
    const auto longs = ints.dtype(at::kLong);
    const auto& config = model_.model().config();
    state_.active = at::zeros({places}, ints);
    state_.drawn = at::zeros({places}, ints);
    state_.max_tokens = at::zeros({places}, ints);
    state_.flags = at::zeros({places}, ints);
    state_.params = at::ones({places, 5}, ints.dtype(at::kFloat));
    state_.top_k = at::zeros({places}, ints);
    state_.key = at::zeros({places, 3}, ints);
    state_.seen = at::zeros({places, (config.speech_vocab_size + 31) / 32}, ints);
    state_.history = at::zeros({places, longest_history}, ints);
    state_.tokens = at::zeros({2 * places}, longs);
    state_.speech_positions = at::zeros({2 * places}, longs);
    state_.positions = at::full({2 * places}, -1, ints);
    block_table_ = at::full({2 * places, max_pages_}, KvCache::scratch_page, ints);
    shared_ = at::zeros({2 * places}, ints);
    batch_ = at::empty({4, CudaT3::bucket(2LL * max_batch)}, ints);
    for (Report& report : reports_) {
      report.active = make_report_of(state_.active);
      report.drawn = make_report_of(state_.drawn);
      report.history = make_report_of(state_.history);
    }
  }

  void make_watch(int max_batch, const std::vector<AttentionHead>& heads) {
    if (heads.empty()) {
      return;
    }
    const std::int64_t places = max_batch + 1;
    const auto count = static_cast<std::int64_t>(heads.size());
    watch_.heads = heads;
    watch_.begin = model_.model().text_begin();
    watch_.lengths = at::zeros({2 * places}, state_.active.options());
    watch_.attended = at::zeros({2 * places, count}, state_.active.options());
    state_.attended = watch_.attended;
    state_.attended_history = at::zeros({places, longest_history, count}, state_.active.options().dtype(at::kShort));
    for (Report& report : reports_) {
      report.attended = make_report_of(state_.attended_history);
    }
  }

  /// Where copies of @p state go.
  static at::Tensor make_report_of(const at::Tensor& state) {
    return host_tensor(state.sizes(), state.scalar_type(), state.device()).zero_();
  }

  [[nodiscard]] int no_place() const { return static_cast<int>(places_.size()); }

  /// Starting prompts takes a pass over all weights: while the batch is well filled, a few free places are awaited, but
  /// not for long.
  [[nodiscard]] bool worth_a_prefill() {
    const int free = free_places() - reserve_.places;
    const bool wait = active_ > 0 && free < no_place() / 64 && calls_awaited_ < 3;
    calls_awaited_ = wait ? calls_awaited_ + 1 : 0;
    return !wait;
  }

  /// Decodes one token of the first @p rows rows of batch_.
  void run_step(std::int64_t rows) {
    const auto part = [&](int i) { return batch_[i].narrow(0, 0, rows); };
    const at::Tensor logits = model_.decode(
        part(0), {state_.tokens, state_.speech_positions, state_.positions, block_table_, shared_, watch_}, cache_);
    sample(logits, part(1), part(2), part(3), state_, vocabulary());
  }

  /// One graph for every bucket; they share their memory, as only one runs at a time.
  void capture(std::int64_t most_rows) {
    static_cast<void>(lay_out());
    const at::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();
    std::vector<std::int64_t> buckets = CudaT3::buckets(most_rows);
    std::reverse(buckets.begin(), buckets.end()); // the largest makes room for the others
    for (const std::int64_t rows : buckets) {
      run_step(rows); // libraries load their kernels now, not during capture
      c10::cuda::device_synchronize();
      Capture capture(graphs_[rows], pool);
      run_step(rows);
      capture.end();
    }
    c10::cuda::device_synchronize();
  }

  /// Tells the GPU who takes part in the next steps. @return rows
  std::int64_t lay_out() {
    Batch batch;
    for (const int place : chatterbox::places_in_step(places_, most_in_step_)) {
      const int rows = rows_of(places_[static_cast<std::size_t>(place)]->request);
      batch.places.push_back(place);
      batch.cond_rows.push_back(static_cast<int>(batch.sequences.size()));
      batch.uncond_rows.push_back(static_cast<int>(batch.sequences.size()) + rows - 1);
      for (int row = 0; row < rows; ++row) {
        batch.sequences.push_back(2 * place + row);
      }
    }
    const auto rows = static_cast<std::int64_t>(batch.sequences.size());
    if (batch.sequences == laid_out_) {
      return rows;
    }
    std::vector<int> sequences = batch.sequences;
    const auto width = static_cast<std::size_t>(batch_.size(1));
    batch.sequences.resize(width, 2 * no_place());
    batch.places.resize(width, no_place());
    batch.cond_rows.resize(width, 0);
    batch.uncond_rows.resize(width, 0);
    std::vector<int> all;
    for (const auto* list : {&batch.sequences, &batch.places, &batch.cond_rows, &batch.uncond_rows}) {
      all.insert(all.end(), list->begin(), list->end());
    }
    batch_.copy_(upload(all, batch_.device()).view_as(batch_));
    laid_out_ = std::move(sequences);
    return rows;
  }

  [[nodiscard]] SpeechVocabulary vocabulary() const {
    const auto& c = model_.model().config();
    return {c.speech_vocab_size, c.start_speech_token, c.stop_speech_token};
  }

  void check(const DecodeRequest& request) const {
    check_can_fit(request, pages_for(request, 0), num_pages_);
    if (request.max_tokens > longest_history) {
      throw std::invalid_argument("an utterance of " + std::to_string(request.max_tokens) +
                                  " speech tokens; this decoder holds at most " + std::to_string(longest_history));
    }
  }

  /// Moves requests from the front of @p waiting to @p newcomers, as many as run together.
  void choose(std::deque<DecodeRequest>& waiting, Newcomers& newcomers) {
    while (!waiting.empty() && free_places() > 0 && newcomers.places.size() < most_together_ &&
           newcomers.prompts.size() + 2 <= static_cast<std::size_t>(CudaT3::max_prompts) &&
           newcomers.rows < CudaT3::prompt_rows / 2) {
      if (newcomers.places.empty()) {
        check(waiting.front());
      }
      if (!has_room_for(waiting.front()) || waiting.front().max_tokens > longest_history) {
        break;
      }
      take(waiting.front(), newcomers);
      waiting.pop_front();
    }
  }

  /// Undoes choose(). What the GPU was told about their places is told anew when somebody takes them.
  void put_back(Newcomers& newcomers, std::deque<DecodeRequest>& waiting) {
    std::for_each(newcomers.places.rbegin(), newcomers.places.rend(), [&](int place) {
      waiting.push_front(std::move(places_[static_cast<std::size_t>(place)]->request));
      free_place(place);
    });
    std::for_each(newcomers.extended.rbegin(), newcomers.extended.rend(),
                  [&](const auto& grown) { shorten(*grown.first, grown.second); });
  }

  /// Gives @p request a place and pages and adds its prompts to @p newcomers. The request stays where it is unless all
  /// of this succeeds.
  void take(DecodeRequest& request, Newcomers& newcomers) {
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
    const auto length = static_cast<int>(prompt.size(1));
    newcomers.extended.emplace_back(&prefix, prefix.length);
    for (int row = 0; row < rows; ++row) {
      const int shared = shared_positions(place.request)[static_cast<std::size_t>(row)];
      const int first = std::min(shared, prefix.length);
      extend(prefix, shared);
      std::vector<std::int32_t> pages(prefix.pages.begin(), prefix.pages.begin() + KvCache::pages_for(shared));
      const auto own = cache_.reserve(length + place.request.max_tokens - shared);
      pages.insert(pages.end(), own.begin(), own.end());
      place.pages.insert(place.pages.end(), own.begin(), own.end());
      newcomers.pages.push_back(std::move(pages));
      newcomers.shared.push_back(shared);
      newcomers.prompts.push_back({prompt[row].narrow(0, first, length - first), first});
      newcomers.rows += length - first;
    }
    *free = std::move(place);
    ++active_;
  }

  /// Leading positions of each row of @p request that a prefix holds: the conditioning, and up to the speech starts.
  [[nodiscard]] std::array<int, 2> shared_positions(const DecodeRequest& request) const {
    return {2 + model_.model().config().perceiver_queries, model_.model().prompt_length(request.text_ids.size()) - 2};
  }

  /// Pages that @p request takes, those by which its prefix grows from @p prefix_length positions included.
  [[nodiscard]] int pages_for(const DecodeRequest& request, int prefix_length) const {
    const int positions = model_.model().prompt_length(request.text_ids.size()) + request.max_tokens;
    int pages = 0;
    int longest = prefix_length;
    for (int row = 0; row < rows_of(request); ++row) {
      const int shared = shared_positions(request)[static_cast<std::size_t>(row)];
      pages += KvCache::pages_for(positions - shared);
      longest = std::max(longest, shared);
    }
    return pages + KvCache::pages_for(longest) - KvCache::pages_for(prefix_length);
  }

  /// Whether a place and the pages for @p request are free; forgets prefixes that nobody uses if that helps.
  bool has_room_for(const DecodeRequest& request) {
    if (!may_enter(request, 0, active_, free_places(), num_pages_, reserve_)) {
      return false;
    }
    SharedPrefix& own = prefix_of(request);
    const auto fits = [&] {
      return may_enter(request, pages_for(request, own.length), active_, free_places(), cache_.free_pages(), reserve_);
    };
    for (auto prefix = prefixes_.begin(); !fits() && prefix != prefixes_.end();) {
      if (prefix->users > 0 || &*prefix == &own) {
        ++prefix;
        continue;
      }
      cache_.release(prefix->pages);
      prefix = prefixes_.erase(prefix);
    }
    if (!fits() && own.users == 0) { // it may be longer than this request needs
      cache_.release(own.pages);
      own.pages.clear();
      own.length = 0;
    }
    return fits();
  }

  SharedPrefix& prefix_of(const DecodeRequest& request) {
    for (SharedPrefix& prefix : prefixes_) {
      if (prefix.voice == request.voice->content_hash && prefix.exaggeration == request.exaggeration) {
        return prefix;
      }
    }
    return prefixes_.emplace_back(SharedPrefix{request.voice->content_hash, request.exaggeration, {}});
  }

  /// Makes @p prefix at least @p length positions long; the prompt that asks for it computes the new ones.
  void extend(SharedPrefix& prefix, int length) {
    while (static_cast<int>(prefix.pages.size()) < KvCache::pages_for(length)) {
      prefix.pages.push_back(cache_.reserve(1).front());
    }
    prefix.length = std::max(prefix.length, length);
  }

  /// Forgets what lies behind @p length positions.
  void shorten(SharedPrefix& prefix, int length) {
    prefix.length = length;
    while (static_cast<int>(prefix.pages.size()) > KvCache::pages_for(length)) {
      cache_.release({prefix.pages.back()});
      prefix.pages.pop_back();
    }
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
    const at::Tensor logits = model_.prefill(newcomers.prompts, upload(table_of(newcomers.pages), device),
                                             upload(newcomers.shared, device), cache_);
    sample(logits, upload(newcomers.places, device), upload(newcomers.cond_rows, device),
           upload(newcomers.uncond_rows, device), state_, vocabulary());
  }

  /// Uploads what the sampler and the next step need to know of @p newcomers.
  void set_state(const Newcomers& newcomers) {
    const at::Tensor pages = table_of(newcomers.pages);
    const auto count = static_cast<std::int64_t>(newcomers.places.size());
    const auto& config = model_.model().config();
    at::Tensor numbers = at::zeros({count, 3}, at::kInt); // max_tokens, flags, top_k
    at::Tensor params = at::zeros({count, 5}, at::kFloat);
    at::Tensor key = at::zeros({count, 3}, at::kInt);
    at::Tensor table = at::full({count, 2, max_pages_}, KvCache::scratch_page, at::kInt);
    at::Tensor positions = at::full({count, 2}, -1, at::kInt);
    at::Tensor shared = at::zeros({count, 2}, at::kInt);
    for (std::int64_t i = 0; i < count; ++i) {
      const DecodeRequest& request = places_[static_cast<std::size_t>(newcomers.places[i])]->request;
      const SamplingParams& s = request.sampling;
      numbers[i].copy_(
          at::tensor({request.max_tokens, (s.greedy ? 1 : 0) | (request.forced ? 2 : 0), s.top_k}, at::kInt));
      params[i].copy_(at::tensor({s.cfg_weight, s.repetition_penalty, s.temperature, s.min_p, s.top_p}, at::kFloat));
      key[i].copy_(at::tensor({static_cast<int>(request.random.key0), static_cast<int>(request.random.key1),
                               static_cast<int>(request.random.attempt)},
                              at::kInt));
      for (int row = 0; row < rows_of(request); ++row) {
        table[i][row].copy_(pages[newcomers.cond_rows[i] + row]);
        shared[i][row] = newcomers.shared[newcomers.cond_rows[i] + row];
        positions[i][row] = model_.model().prompt_length(request.text_ids.size()) - 1;
      }
    }
    const at::Device device = model_.model().device();
    const PlaceIndex index(newcomers.places, device);
    const at::Tensor on_device = upload(numbers, device);
    state_.max_tokens.index_copy_(0, index.places, on_device.select(1, 0).contiguous());
    state_.flags.index_copy_(0, index.places, on_device.select(1, 1).contiguous());
    state_.top_k.index_copy_(0, index.places, on_device.select(1, 2).contiguous());
    state_.params.index_copy_(0, index.places, upload(params, device));
    state_.key.index_copy_(0, index.places, upload(key, device));
    watch(newcomers, index);
    state_.drawn.index_fill_(0, index.places, 0);
    state_.active.index_fill_(0, index.places, 1);
    at::Tensor seen = at::zeros({count, state_.seen.size(1)}, at::kInt);
    seen.select(1, config.start_speech_token / 32).fill_(static_cast<int>(1U << (config.start_speech_token % 32)));
    state_.seen.index_copy_(0, index.places, upload(seen, device));
    state_.positions.index_copy_(0, index.sequences, upload(positions.flatten(), device));
    state_.tokens.index_fill_(0, index.sequences, 0);
    state_.speech_positions.index_fill_(0, index.sequences, 0);
    shared_.index_copy_(0, index.sequences, upload(shared.flatten(), device));
    block_table_.index_copy_(0, index.sequences, upload(table.view({2 * count, max_pages_}), device));
  }

  /// Tells the watch about the texts of @p newcomers; their prompts draw a token of which nothing is known.
  void watch(const Newcomers& newcomers, const PlaceIndex& index) {
    if (watch_.heads.empty()) {
      return;
    }
    std::vector<int> lengths;
    for (const int place : newcomers.places) {
      lengths.push_back(text_length(places_[static_cast<std::size_t>(place)]->request));
      lengths.push_back(0); // the unconditional row
    }
    watch_.lengths.index_copy_(0, index.sequences, upload(lengths, model_.model().device()));
    watch_.attended.index_fill_(0, index.sequences, -1);
  }

  /// Asks for the state after the steps launched so far, without waiting.
  void report(Report& report) {
    report.active.copy_(state_.active, /*non_blocking=*/true);
    report.drawn.copy_(state_.drawn, true);
    report.history.copy_(state_.history, true);
    if (report.attended.defined()) {
      report.attended.copy_(state_.attended_history, true);
    }
    report.ready.record();
    report.call = call_;
  }

  /// What alignment heads attended to at place @p place. @return [count, heads]
  [[nodiscard]] std::vector<std::int32_t> attended(const Report& report, int place, std::size_t count) const {
    if (!report.attended.defined()) {
      return {};
    }
    const auto heads = static_cast<std::ptrdiff_t>(watch_.heads.size());
    const std::int16_t* const row =
        report.attended.const_data_ptr<std::int16_t>() + place * static_cast<std::ptrdiff_t>(longest_history) * heads;
    return {row, row + static_cast<std::ptrdiff_t>(count) * heads};
  }

  std::vector<DecodeResult> collect(const Report& report) {
    std::vector<DecodeResult> results;
    for (int i = 0; i < static_cast<int>(places_.size()); ++i) {
      if (!places_[i] || places_[i]->admitted_after >= report.call || report.active.const_data_ptr<int>()[i] != 0) {
        continue;
      }
      const int* const tokens = report.history.const_data_ptr<int>() + static_cast<std::ptrdiff_t>(i) * longest_history;
      const std::vector<std::int32_t> drawn(tokens, tokens + report.drawn.const_data_ptr<int>()[i]);
      results.push_back(
          make_result(places_[i]->request, drawn, attended(report, i, drawn.size()), model_.model().config()));
      free_place(i);
    }
    return results;
  }

  /// The steps launched so far come first: what reuses the pages runs after them.
  void free_place(int index) {
    auto& place = places_[static_cast<std::size_t>(index)];
    cache_.release(place->pages);
    --place->prefix->users;
    place.reset();
    --active_;
  }

  CudaT3 model_;
  int num_pages_ = 0;
  const at::ScalarType cache_dtype_;
  KvCache cache_;
  int max_pages_ = 0;
  const chatterbox::Reserve reserve_;
  int most_in_step_ = std::numeric_limits<int>::max();
  std::vector<std::optional<Place>> places_;
  int active_ = 0;
  chatterbox::ConditioningCache conditioning_;
  std::list<SharedPrefix> prefixes_;
  PlaceState state_;
  TextWatch watch_;
  at::Tensor block_table_; // [sequences, max_pages] int32
  at::Tensor shared_;      // [sequences] int32: see Pages
  at::Tensor batch_; // [4, most rows] int32: of each row its sequence; of each utterance its place and its two rows
  std::optional<std::vector<int>> laid_out_;           // the sequences in it, once there are any
  int calls_awaited_ = 0;                              // since a place became free
  std::size_t most_together_ = CudaT3::max_prompts;    // utterances that enter together
  std::size_t tried_together_ = 0;                     // when memory was short
  std::map<std::int64_t, at::cuda::CUDAGraph> graphs_; // by rows
  std::uint64_t call_ = 0;
  std::array<Report, 2> reports_;
};

} // namespace

std::unique_ptr<chatterbox::Decoder> make_cuda_decoder(const T3& model, const CudaDecoderOptions& options) {
  return std::make_unique<CudaDecoder>(model, options);
}

} // namespace audiobookd::engine::cuda
