// S3Gen: speech tokens to waveforms for batches of utterances of any lengths, voices and step counts.
//
// A batch gives what each utterance alone gives: sequences are packed without padding up to the mel spectrogram and
// masked after it. On the CPU any thread may call it, several at once; on a GPU one at a time.
// Callers hold an at::InferenceMode guard.
#pragma once

#include "engine/models/chatterbox/cfm_decoder.h"
#include "engine/models/chatterbox/config.h"
#include "engine/models/chatterbox/flow_encoder.h"
#include "engine/models/chatterbox/hift.h"
#include "engine/models/chatterbox/voice.h"
#include "engine/moment.h"
#include "engine/philox.h"
#include "engine/state_dict.h"

#include <ATen/core/Tensor.h>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace audiobookd::engine::chatterbox {

/// Recorded random numbers in place of drawn ones, fp32 on the model's device.
struct InjectedNoise {
  at::Tensor flow;         // [80, 2 * (prompt tokens + tokens)] standard normal
  at::Tensor source_phase; // [9] in [-pi, pi)
  at::Tensor source_noise; // [9, 960 * tokens] standard normal
};

/// One utterance to synthesise.
struct SynthesisRequest {
  std::vector<std::int32_t> speech_tokens;         ///< at least one, each in [0, 6561)
  const SpeakerPrompt* prompt = nullptr;           ///< the voice, on the model's device
  int cfm_steps = 10;                              ///< Euler steps; at least 1
  std::variant<RandomStream, InjectedNoise> noise; ///< drawn from a stream, or given
};

/// Seconds that the device was given to the stages of one synthesize().
struct StageSeconds {
  double encoder = 0;
  double cfm = 0;
  double vocoder = 0;
};

struct Synthesis {
  std::vector<std::vector<float>> waveforms; ///< in the order of the requests; 960 samples a token at 24 kHz
  StageSeconds seconds;
};

/// A synthesis on its way: everything has been given to the device. Nothing in it waits for the device but what says
/// so. Belongs to the thread that started it, and may outlive the S3Gen.
class StartedSynthesis {
public:
  /// Blocks until at most the vocoder's work is left: whoever starts the next synthesis now keeps the device busy.
  void wait_for_mels() const;
  /// Blocks until everything is done. @return as synthesize(). Once.
  [[nodiscard]] Synthesis wait();

private:
  friend class S3Gen;
  /// Utterances that went through the stages together.
  struct Pass {
    std::vector<std::size_t> requests; // indices
    std::vector<at::Tensor> waves;     // of each request, on the host once the pass is done
    Moment begin, encoded, decoded, done;
  };
  explicit StartedSynthesis(std::size_t num_requests) : num_requests_(num_requests) {}
  std::size_t num_requests_;
  std::vector<Pass> passes_;
};

struct S3GenOptions {
  /// Mel frames (voice prompt included) that go through a stage together. 0 means by device: on the CPU every utterance
  /// by itself, which keeps its data in cache and makes it independent of its company to the bit; on CUDA enough to
  /// fill the chip.
  std::int64_t frames_per_pass = 0;
  /// bf16 through kernels of our own instead of fp32 through ATen; on a GPU only.
  bool half_precision = false;
  /// The products of the flow's transformer blocks in e4m3: faster and less exact; in half precision on Hopper only.
  bool cfm_fp8 = false;
};

class S3Gen {
public:
  /// @param weights the root of s3gen.safetensors; only "flow." and "mel2wav." are taken.
  /// @throws std::invalid_argument when half precision or e4m3 is asked for where there is none.
  S3Gen(const FlowConfig& flow, const HiftConfig& hift, const StateDict& weights, const S3GenOptions& options = {});

  /// Synthesises all requests. They are put into passes by step count and length, so their order does not matter.
  /// @throws std::invalid_argument naming request, field and value: no tokens, a token out of range (and its position),
  /// no prompt or one of wrong shapes, a step count below 1, injected noise of a wrong shape. Nothing is computed then.
  [[nodiscard]] Synthesis synthesize(std::span<const SynthesisRequest> requests);

  /// synthesize() that does not wait for a GPU: several may be on their way, and what they need of its memory is that
  /// of one. On the CPU everything is done on return. Throws as synthesize().
  [[nodiscard]] StartedSynthesis start(std::span<const SynthesisRequest> requests);

  /// "fp32", "bf16", or "bf16 (vocoder fp32)" where the vocoder's kernels do not suit its dimensions.
  [[nodiscard]] std::string dtype() const;

  // Stages, for tests and benchmarks. Utterances given to one call form one pass.

  /// Mel spectrograms, prompt cut off, [80, 2 * tokens] each. @param requests checked, all of one step count.
  /// @param probe sees what CfmDecoder::solve() shows, over all utterances' packed frames.
  [[nodiscard]] std::vector<at::Tensor> mel_spectrograms(std::span<const SynthesisRequest* const> requests,
                                                         StageSeconds& seconds, const Probe& probe = {});

  /// Waveforms with the first 40 ms faded in, [960 * tokens] each on the model's device.
  /// @param probe sees what Hift::render() shows.
  [[nodiscard]] std::vector<at::Tensor> waveforms(std::span<const SynthesisRequest* const> requests,
                                                  std::span<const at::Tensor> mels, const Probe& probe = {}) const;

  /// Mel frames (voice prompts included) that go through a stage together at most; a single utterance may be longer.
  [[nodiscard]] std::int64_t frames_per_pass() const noexcept { return frames_per_pass_; }

  /// Whether utterances are padded to the longest of their pass somewhere, so that memory goes by their number too.
  [[nodiscard]] bool pads() const noexcept { return half_vocoder_ == nullptr; }

  /// Gain of the first samples: 20 ms of silence, then 20 ms of a raised cosine, [960].
  [[nodiscard]] const at::Tensor& fade() const noexcept { return fade_; }

  [[nodiscard]] FlowEncoder& encoder() noexcept { return encoder_; }
  [[nodiscard]] const CfmDecoder& decoder() const noexcept { return decoder_; }
  [[nodiscard]] const Hift& vocoder() const noexcept { return vocoder_; }

private:
  /// Mel spectrograms, and when the encoder and the flow decoder have finished.
  struct Mels {
    std::vector<at::Tensor> own; // [80, 2 * tokens] each
    Moment encoded, decoded;
  };
  [[nodiscard]] Mels start_mels(std::span<const SynthesisRequest* const> requests, const Probe& probe);
  void check(const SynthesisRequest& request, std::size_t index) const;
  void check_noise(const SynthesisRequest& request, const std::string& name) const;
  [[nodiscard]] at::Tensor packed_tokens(std::span<const SynthesisRequest* const> requests) const;
  /// mu, [frames, 80] fp32. @param tokens of packed_tokens().
  [[nodiscard]] at::Tensor mean_of(const at::Tensor& tokens, const PackedRows& rows);
  [[nodiscard]] FlowConditions conditions(std::span<const SynthesisRequest* const> requests, const at::Tensor& mu,
                                          const PackedRows& frames) const;
  [[nodiscard]] at::Tensor start_noise(std::span<const SynthesisRequest* const> requests,
                                       const PackedRows& frames) const;
  [[nodiscard]] VocoderInput vocoder_input(const SynthesisRequest& request, const at::Tensor& mel) const;

  FlowConfig config_;
  at::Device device_;
  std::int64_t frames_per_pass_;
  FlowEncoder encoder_; // protected by encoder_mutex_: extends its position tables
  std::mutex encoder_mutex_;
  std::unique_ptr<TokenEncoder> half_encoder_; // null: encoder_ itself encodes
  CfmDecoder decoder_;
  std::unique_ptr<const FlowSolver> half_solver_; // null: decoder_ itself solves
  Hift vocoder_;
  std::unique_ptr<const Vocoder> half_vocoder_; // null: vocoder_ itself renders
  at::Tensor fade_;                             // [960]
};

} // namespace audiobookd::engine::chatterbox
