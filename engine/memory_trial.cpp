#include "engine/memory_trial.h"

#include "engine/device.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <deque>
#include <future>
#include <stdexcept>
#include <vector>

namespace audiobookd::engine {
namespace {

using chatterbox::DecodeRequest;
using chatterbox::SynthesisRequest;

constexpr int rows_together = 2048; // of prompts: what a decoder runs in one go
constexpr UtteranceId trial_id = 0;
constexpr int some_tokens = 6; // long enough for steps to be launched and their result to be read

std::int64_t frames_of(std::int64_t tokens) { return chatterbox::FlowEncoder::frames_per_token * tokens; }

/// The steps of fit_to_memory().
class Trial {
public:
  Trial(const TrialSubject& subject, double fraction)
      : subject_(subject), device_(subject.t3.device()), fraction_(fraction) {}

  TrialResult run() {
    TrialResult result;
    unlimit_tensor_memory(device_);
    try_decoding();
    try_one_utterance();
    check_that_it_fits();
    result.synthesis_frames = fit_synthesis();
    result.out_of_memory = fit_cache(result.num_pages);
    result.plan = plan(result.num_pages);
    return result;
  }

private:
  [[nodiscard]] std::int64_t budget() const { return tensor_budget(fraction_, device_memory(device_)); }
  [[nodiscard]] std::int64_t reserved() const { return device_memory(device_).reserved; }
  [[nodiscard]] std::int64_t prompt_frames() const { return subject_.voice->prompt.prompt_feat.size(0); }
  [[nodiscard]] std::int64_t longest_frames() const { return prompt_frames() + frames_of(subject_.longest_tokens); }
  [[nodiscard]] std::int64_t least_cache() const { return subject_.least_pages * subject_.page_bytes; }

  /// Finds out what weights take, and decoding beside its cache, which it takes away.
  void try_decoding() {
    release_unused_memory(device_); // what loading left
    decode_some();
    const std::int64_t with_cache = reserved();
    subject_.decoder.resize_cache(0);
    release_unused_memory(device_);
    weights_ = reserved();
    working_.decode = std::max<std::int64_t>(0, with_cache - weights_ - least_cache());
  }

  /// What one utterance takes in S3Gen.
  void try_one_utterance() {
    synthesise(longest_frames());
    working_.synthesis = reserved() - weights_;
  }

  void check_that_it_fits() const {
    const std::int64_t needed = weights_ + working_.decode + working_.synthesis + least_cache();
    if (const DeviceMemory memory = device_memory(device_); needed > tensor_budget(fraction_, memory)) {
      throw std::runtime_error(too_small(fraction_, memory, needed, "the model with one utterance at a time"));
    }
  }

  /// @return frames of the largest pass that fits
  std::int64_t fit_synthesis() {
    const std::int64_t share = synthesis_share(budget(), weights_, working_.decode, least_cache());
    limit_tensor_memory(device_, weights_ + std::max(share, working_.synthesis));
    const auto batch = static_cast<std::int64_t>(subject_.synthesis_batch);
    for (std::int64_t frames = std::min(subject_.s3gen.frames_per_pass(), batch * longest_frames());
         frames > longest_frames(); frames /= 2) {
      release_unused_memory(device_);
      try {
        synthesise(frames);
        working_.synthesis = reserved() - weights_;
        return frames;
      } catch (const c10::OutOfMemoryError&) { // the next one is smaller
      }
    }
    release_unused_memory(device_);
    return longest_frames();
  }

  /// @return times that memory ran out
  std::uint64_t fit_cache(int& num_pages) {
    limit_tensor_memory(device_, budget());
    num_pages =
        pages_that_fit(budget(), weights_, working_, subject_.page_bytes, subject_.least_pages, subject_.most_pages);
    for (std::uint64_t failures = 0;; ++failures) {
      try {
        subject_.decoder.resize_cache(num_pages);
        decode_some();
        return failures;
      } catch (const c10::OutOfMemoryError&) {
        if (num_pages == subject_.least_pages) {
          throw;
        }
        static_cast<void>(subject_.decoder.cancel(trial_id));
        subject_.decoder.resize_cache(0);
        release_unused_memory(device_);
        num_pages = std::max(subject_.least_pages, num_pages - std::max(1, num_pages / 10));
      }
    }
  }

  [[nodiscard]] MemoryPlan plan(int num_pages) const {
    const DeviceMemory memory = device_memory(device_);
    return {.elsewhere = memory.used - memory.reserved,
            .weights = weights_,
            .working = working_,
            .cache = num_pages * subject_.page_bytes};
  }

  /// Prompts of as many rows as run together, then some steps.
  void decode_some() {
    DecodeRequest request;
    request.id = trial_id;
    const int around_text = subject_.t3.prompt_length(0);
    const int longest_text = subject_.t3.config().text_pos_rows - 2;
    request.text_ids.assign(static_cast<std::size_t>(std::min(longest_text, rows_together / 2 - around_text)), 0);
    request.voice = subject_.voice;
    request.max_tokens = some_tokens;
    request.forced = true;
    std::deque<DecodeRequest> waiting{request};
    subject_.decoder.admit(waiting);
    while (subject_.decoder.active() > 0) {
      subject_.decoder.step();
    }
  }

  /// One pass of so many frames: the longest utterances, and one that fills it up; the number of Euler steps does not
  /// matter. On the stage's stream, on a thread of its own that leaves its library handles to the one that comes next.
  void synthesise(std::int64_t frames) {
    const std::vector<std::int32_t> tokens(static_cast<std::size_t>(subject_.longest_tokens), 0);
    std::vector<SynthesisRequest> requests;
    for (; frames > prompt_frames() + frames_of(1); frames -= longest_frames()) {
      SynthesisRequest request{tokens, &subject_.voice->prompt, 1, RandomStream{}};
      request.speech_tokens.resize(static_cast<std::size_t>(
          std::min<std::int64_t>(subject_.longest_tokens, (frames - prompt_frames()) / frames_of(1))));
      requests.push_back(std::move(request));
    }
    std::async(std::launch::async, [&] {
      const StageScope scope(device_, Stage::synthesis, 1);
      static_cast<void>(subject_.s3gen.synthesize(requests));
    }).get();
  }

  const TrialSubject& subject_;
  const at::Device device_;
  const double fraction_;
  std::int64_t weights_ = 0; // reserved for all that stays
  WorkingMemory working_;
};

} // namespace

TrialResult fit_to_memory(const TrialSubject& subject, double fraction) { return Trial(subject, fraction).run(); }

} // namespace audiobookd::engine
