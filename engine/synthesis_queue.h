// The queue between decoding and synthesis: utterances whose speech tokens are complete wait here to be synthesised
// in batches, in the order in which the source handed them out: best first, and a book's beginning before its end.
//
// The decode thread pushes, the synthesis threads take; all may call everything. Finished rows never wait in decode:
// push() always succeeds, and decode_may_run() tells the decode thread when to pause. Pausing a full batch now and then
// is better than not refilling it for want of room behind it, as every step of decoding reads all weights.
#pragma once

#include "engine/models/chatterbox/voice.h"
#include "engine/philox.h"
#include "engine/utterance.h"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

namespace audiobookd::engine {

struct SynthesisTask {
  UtteranceId id = 0;
  std::uint64_t order = 0; ///< the smallest goes first
  std::vector<std::int32_t> speech_tokens;
  std::shared_ptr<const chatterbox::Voice> voice;
  int cfm_steps = 10;
  RandomStream random;
  bool hit_token_limit = false;
  bool urgent = false;
  std::int64_t num_frames = 0; ///< of the mel spectrogram, voice prompt included
};

struct SynthesisLimits {
  std::size_t tasks = 1;         ///< given out together at most
  std::int64_t frames = 0;       ///< of all of them; a single one may have more
  double urgent_seconds = 0;     ///< that a batch of other work may take while something urgent is on its way
  std::size_t most_waiting = 1;  ///< tasks at which decoding pauses
  std::size_t least_waiting = 0; ///< at which it goes on; less than most_waiting
};

/// What decoding does.
struct DecodeState {
  bool urgent = false; ///< an urgent utterance waits for it or is being decoded
  bool thin = true;    ///< few rows are left, and none will join them soon
};

class SynthesisQueue {
public:
  explicit SynthesisQueue(const SynthesisLimits& limits) : limits_(limits) {}

  void push(SynthesisTask task);
  /// What the decode thread does now.
  void set_decode_state(const DecodeState& state);
  /// Forgets what waits and ends take().
  void close();
  /// Forgets a waiting task. @return whether it was here
  bool remove(UtteranceId id);
  /// A batch of @p frames took @p seconds: by that the batches are measured that hold up urgent work.
  void set_speed(std::int64_t frames, double seconds);

  /// Whether decoding need not pause. Urgent utterances wait for nobody.
  [[nodiscard]] bool decode_may_run() const;
  /// Nothing waits and nothing taken is unfinished.
  [[nodiscard]] bool idle() const;
  /// Something taken is unfinished.
  [[nodiscard]] bool computing() const;

  /// Waits for a batch: urgent tasks alone; else the first task, and of the others those that fit, in their order. They
  /// are equal in cfm_steps. Waits for a full batch as long as decoding goes on to fill it. Empty once closed. Each
  /// task is followed by one done().
  std::vector<SynthesisTask> take();
  /// take() if it need not wait, else empty.
  std::vector<SynthesisTask> take_now();
  void done(std::size_t tasks);

private:
  // Call with mutex_ held.
  void update();
  [[nodiscard]] bool ready() const;
  [[nodiscard]] bool full() const;
  [[nodiscard]] std::int64_t most_frames() const;
  [[nodiscard]] bool urgent_waits() const;
  std::vector<SynthesisTask> choose();

  const SynthesisLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  DecodeState decode_; // protected by mutex_, as are all below
  bool paused_ = false;
  std::list<SynthesisTask> waiting_; // in their order
  std::size_t taken_ = 0;
  double frames_per_second_ = 0; // 0: not known yet
  bool closed_ = false;
};

} // namespace audiobookd::engine
