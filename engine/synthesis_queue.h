// The queue between decoding and synthesis: utterances whose speech tokens are complete wait here to be synthesised
// in batches of similar length.
//
// The decode thread pushes, the synthesis thread takes; both may call everything. Finished rows never wait in decode:
// push() always succeeds, and full() tells the decode thread to admit nothing new.
#pragma once

#include "engine/models/chatterbox/voice.h"
#include "engine/philox.h"
#include "engine/utterance.h"

#include <condition_variable>
#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

namespace audiobookd::engine {

struct SynthesisTask {
  UtteranceId id = 0;
  std::vector<std::int32_t> speech_tokens;
  std::shared_ptr<const chatterbox::Voice> voice;
  int cfm_steps = 10;
  RandomStream random;
  bool hit_token_limit = false;
};

class SynthesisQueue {
public:
  /// @param batch tasks given out together at most. @param bound tasks waiting from which full() holds.
  SynthesisQueue(std::size_t batch, std::size_t bound) : batch_(batch), bound_(bound) {}

  void push(SynthesisTask task);
  /// No more tasks will come soon: what waits is given out without waiting for a full batch.
  void set_draining(bool draining);
  /// Forgets what waits and ends take().
  void close();
  /// Forgets a waiting task. @return whether it was here
  bool remove(UtteranceId id);

  [[nodiscard]] bool full() const;
  /// Nothing waits and nothing taken is unfinished.
  [[nodiscard]] bool idle() const;
  /// Something taken is unfinished.
  [[nodiscard]] bool computing() const;

  /// Waits for a batch: the longest-waiting task and those nearest to it in length, equal in cfm_steps. Waits for a
  /// full batch unless draining. Empty once closed. Each non-empty answer is followed by one done().
  std::vector<SynthesisTask> take();
  void done();

private:
  [[nodiscard]] bool ready() const; // call with mutex_ held
  const std::size_t batch_;
  const std::size_t bound_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<SynthesisTask> waiting_; // protected by mutex_, as are all below
  bool draining_ = false;
  bool closed_ = false;
  bool taken_ = false;
};

} // namespace audiobookd::engine
