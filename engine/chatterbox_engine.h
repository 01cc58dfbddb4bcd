// The Chatterbox implementation behind engine.h: decoding on the engine thread, synthesis on a thread of its own, or on
// several where the device is the CPU.
//
//   source -> waiting -> Decoder (T3) -> SynthesisQueue -> S3Gen -> sink
//
// Threads: run() is the decode thread; it starts and joins the synthesis threads. Everything else may be called from
// any thread.
#pragma once

#include "engine/device.h"
#include "engine/engine.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/decoder.h"
#include "engine/models/chatterbox/s3gen.h"
#include "engine/models/chatterbox/t3.h"
#include "engine/models/chatterbox/voice.h"
#include "engine/synthesis_queue.h"
#include "engine/tokenizer.h"

#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

namespace audiobookd::engine {

/// Speech tokens that @p text will probably take.
[[nodiscard]] int predict_speech_tokens(std::string_view text);

class Engine::Impl {
public:
  explicit Impl(const EngineOptions& options);

  void run(WorkSource& source, Sink& sink, const std::stop_token& stop);
  void notify() noexcept;
  void cancel(UtteranceId id) noexcept;
  [[nodiscard]] const EngineInfo& info() const noexcept { return info_; }
  [[nodiscard]] EngineStats stats() const;
  std::string add_voice(const VoiceConditionals& conditionals);
  [[nodiscard]] std::shared_ptr<const chatterbox::Voice> voice(std::string_view name) const;
  [[nodiscard]] std::string chunk_key(const Utterance& utterance) const;

private:
  /// An utterance from the source until synthesis takes over.
  struct Accepted {
    Utterance utterance;
    std::uint64_t order; // of handing out
    std::shared_ptr<const chatterbox::Voice> voice;
  };
  /// What run() keeps between its steps.
  struct Session {
    WorkSource& source;
    Sink& sink;
    SynthesisQueue& synthesis;
    std::deque<chatterbox::DecodeRequest> waiting{}; // prepared, not yet admitted; urgent ones in front
    std::unordered_map<UtteranceId, Accepted> utterances{};
    std::uint64_t handed_out = 0;
    std::size_t urgent = 0; // of utterances
    bool dry = true;        // the source had less than was asked for
    bool stopping = false;
  };

  void check_options(const EngineOptions& options) const;
  void check_budget(const EngineOptions& options, bool half) const;
  void load_models(const EngineOptions& options, bool half);
  void load_voices(const EngineOptions& options);
  [[nodiscard]] const std::shared_ptr<const chatterbox::Voice>& longest_voice() const;
  [[nodiscard]] bool use_bf16(const EngineOptions& options) const;
  void start_decoder(const EngineOptions& options, bool half);
  [[nodiscard]] std::int64_t page_bytes() const;
  [[nodiscard]] int default_max_batch(const EngineOptions& options, bool half) const;

  void pull(Session& session);
  [[nodiscard]] SynthesisLimits synthesis_limits() const;
  [[nodiscard]] DecodeState decode_state(const Session& session) const;
  void accept(Session& session, Utterance utterance);
  bool admit(Session& session);
  void decode(Session& session);
  static void forget(Session& session, UtteranceId id);
  void to_synthesis(Session& session, UtteranceId id, std::vector<std::int32_t> tokens, bool hit_limit);
  void fail(Session& session, UtteranceId id, const std::string& why);
  void apply_cancellations(Session& session);
  void wait_for_work();
  void ran_out_of_memory();

  /// What the device is synthesising.
  struct Started {
    std::vector<SynthesisTask> tasks;
    chatterbox::StartedSynthesis synthesis;
  };
  void synthesise(SynthesisQueue& queue, Sink& sink) noexcept;
  void synthesise_all(SynthesisQueue& queue, Sink& sink);
  std::optional<Started> start_some(std::vector<SynthesisTask>& tasks, bool alone);
  void deliver(Started& started, SynthesisQueue& queue, Sink& sink);

  [[nodiscard]] chatterbox::DecodeRequest prepare(const Utterance& utterance) const;
  [[nodiscard]] bool take_if_open(UtteranceId id);

  at::Device device_;
  chatterbox::Config config_;
  int decode_threads_ = 1;
  int synthesis_workers_ = 1;               // threads that take from the queue; one where the device is a GPU
  int synthesis_threads_ = 1;               // of arithmetic, for each of these
  at::ScalarType cache_dtype_ = at::kFloat; // of T3's keys and values
  chatterbox::Reserve reserve_;             // of the decoder's places and pages, for urgent utterances
  std::size_t synthesis_batch_ = 1;
  std::int64_t synthesis_frames_ = 0; // in one batch
  std::size_t synthesis_limit_ = 1;   // of these, those that fitted into memory so far; changed by the only worker
  std::unique_ptr<chatterbox::T3> t3_;
  std::unique_ptr<chatterbox::S3Gen> s3gen_;
  std::unique_ptr<BpeTokenizer> tokenizer_;
  double prompt_seconds_ = 10;
  mutable std::mutex voices_mutex_;
  std::map<std::string, std::shared_ptr<const chatterbox::Voice>, std::less<>> voices_; // protected by voices_mutex_
  std::unique_ptr<chatterbox::Decoder> decoder_;
  EngineInfo info_;

  mutable std::mutex mutex_;
  std::condition_variable woken_;
  bool wake_ = false;                          // protected by mutex_, as are all below
  std::unordered_map<UtteranceId, bool> open_; // handed out by the source, not yet delivered; true: cancelled
  bool cancellations_ = false;                 // some entry of open_ became true
  std::exception_ptr failure_;                 // of the first synthesis thread that failed
  EngineStats stats_;
};

} // namespace audiobookd::engine
