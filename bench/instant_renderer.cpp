#include "bench/instant_renderer.h"

#include "engine/hash128.h"

#include <utility>

namespace audiobookd::bench {

InstantRenderer::InstantRenderer() {
  info_.model = "instant";
  info_.device = "none";
  info_.max_batch = 256;
  info_.voices = {"default"};
}

void InstantRenderer::run(engine::WorkSource& source, engine::Sink& sink, std::stop_token stop) {
  while (!stop.stop_requested()) {
    const std::vector<engine::Utterance> round = source.next(static_cast<std::size_t>(info_.max_batch));
    for (const engine::Utterance& utterance : round) {
      engine::Waveform waveform;
      waveform.sample_rate = info_.sample_rate;
      waveform.samples.resize(static_cast<std::size_t>(info_.sample_rate / 10));
      sink.finished(utterance.id, std::move(waveform));
    }
    std::unique_lock lock(mutex_);
    if (round.empty()) {
      changed_.wait(lock, stop, [this] { return notified_; });
    }
    notified_ = false;
  }
}

void InstantRenderer::notify() noexcept {
  const std::lock_guard lock(mutex_);
  notified_ = true;
  changed_.notify_all();
}

int InstantRenderer::predict_tokens(std::string_view text) const { return 1 + static_cast<int>(text.size()) * 3 / 2; }

engine::Hash128 InstantRenderer::utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                                               int occurrence) const {
  return engine::HashBuilder().add(text).add(language).add(voice).add(std::uint64_t(occurrence)).finish();
}

std::string InstantRenderer::chunk_key(const engine::Utterance& utterance) const { return utterance.key.hex(); }

} // namespace audiobookd::bench
