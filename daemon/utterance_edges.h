// What an utterance begins and ends with: a model leaves silence of any length there, and may stop in the middle of a
// swing.
//
// Pure: any thread.
#pragma once

#include <span>

namespace audiobookd::daemon {

/// The part of @p samples that is heard, with 20 ms before and 60 ms after it, as far as they are there; faded in and
/// out over 5 ms, so that it can stand beside any silence without a click. Heard is what is within 50 dB of the loudest
/// 5 ms. Where all is silent, all of it is returned. @param sample_rate in Hz.
[[nodiscard]] std::span<float> trim_edges(std::span<float> samples, int sample_rate);

} // namespace audiobookd::daemon
