// The engine's only door: utterances in, waveforms out.
//
// The engine pulls. run() asks a WorkSource for utterances whenever decode rows are free, so that rows are refilled
// without stopping the batch, and hands results to a Sink in whatever order they finish. std types only: libtorch
// stays behind this header.
#pragma once

#include "engine/alignment.h"
#include "engine/memory_budget.h"
#include "engine/utterance.h"
#include "engine/voice_file.h"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::engine {

/// Where utterances come from. Called on the engine thread; must return within microseconds and never block.
class WorkSource {
public:
  virtual ~WorkSource() = default;
  /// At most @p free_capacity utterances, best first. An empty answer is back-pressure or the end of work:
  /// the engine asks again after Engine::notify() or when rows become free.
  virtual std::vector<Utterance> next(std::size_t free_capacity) = 0;
  /// The same of urgent ones alone (Utterance::urgent). Asked before next(), and also when everything is taken but the
  /// rows kept free for them.
  virtual std::vector<Utterance> next_urgent(std::size_t /*free_capacity*/) { return {}; }
};

/// Where results go. Called on engine threads, several at once but never for one utterance; must not block and must not
/// throw.
class Sink {
public:
  virtual ~Sink() = default;
  /// The speech tokens of @p id are complete; synthesis follows. Keep them to resume without decoding again.
  virtual void tokens(UtteranceId id, std::span<const std::int32_t> speech_tokens) = 0;
  /// What EngineOptions::alignment_heads attended to while @p id was decoded, before its tokens(). Never called without
  /// such heads.
  virtual void aligned(UtteranceId /*id*/, const Alignment& /*alignment*/) {}
  /// The waveform of @p id is complete.
  virtual void finished(UtteranceId id, Waveform waveform) = 0;
  /// @p id cannot be rendered; the others go on.
  virtual void failed(UtteranceId id, std::string why) = 0;
};

struct EngineOptions {
  /// Folder with t3_cfg.safetensors, s3gen.safetensors, tokenizer.json, conds.pt (the voice "default"), and perhaps
  /// config.json and further voices, voices/NAME.pt.
  std::filesystem::path checkpoint;
  std::string device = "cpu";    ///< "cpu", "cuda" or "cuda:N". CUDA that is missing is an error, never a CPU run
  std::string dtype = "auto";    ///< "fp32", "bf16" (GPU; T3 alone on a CPU with AMX) or "auto": where it can
  std::string kv_dtype = "bf16"; ///< T3's keys and values on a GPU in bf16: "bf16", or "fp8", faster and less exact
  bool cfm_fp8 = false; ///< the flow's transformer blocks multiply in 8 bits, on Hopper in bf16: faster and less exact
  double prompt_seconds = 10; ///< of the voice's clip that S3Gen continues from; [3, 10]: less is faster and less alike
  int max_batch = 0;          ///< utterances decoded together at most; 0: by device and memory
  int synthesis_batch = 0;    ///< utterances in one S3Gen launch at most, fewer where memory is short; 0: by device
  double gpu_memory_fraction = 0.9; ///< of the GPU's memory that may be in use, other programs included; (0, 1]
  std::vector<AttentionHead> alignment_heads; ///< of T3, for Sink::aligned(); none by default, at no cost
  int cpu_threads = 0;                        ///< threads for CPU arithmetic, of either stage at most; 0: all cores
};

/// What is loaded; constant for the life of the engine.
struct EngineInfo {
  std::string model;  ///< what it calls itself, else "chatterbox-english"
  std::string device; ///< "cpu" or the GPU's name
  std::string dtype;  ///< "fp32", or what differs from it
  int sample_rate = 24000;
  int tokens_per_second = 25;
  int max_batch = 0;
  int synthesis_batch = 0;
  MemoryPlan memory;      ///< of the GPU; zeros on the CPU
  bool synthetic = false; ///< weights made by the formula: audio is noise, lengths are predictions
  Hash128 weights_hash;
  /// Names that Utterance::voice may carry besides those that add_voice() gave; "default" is always there.
  std::vector<std::string> voices;
  bool cloning = true; ///< false: the checkpoint declares that no voice can be made from a clip
};

/// Counters since load; monotonic, readable from any thread.
struct EngineStats {
  std::uint64_t utterances_finished = 0;
  std::uint64_t utterances_failed = 0;
  std::uint64_t tokens = 0; ///< speech tokens decoded
  std::uint64_t decode_steps = 0;
  std::uint64_t decode_rows = 0; ///< sum over steps of utterances decoded in it
  double prefill_seconds = 0;
  double decode_seconds = 0;
  double encoder_seconds = 0; ///< S3Gen: flow encoder
  double cfm_seconds = 0;     ///< S3Gen: CFM estimator and Euler steps
  double vocoder_seconds = 0; ///< S3Gen: HiFT
  double audio_seconds = 0;   ///< seconds of audio delivered
  /// Times that the GPU's memory ran out and the engine went on with less at a time: fewer pages of KV cache, prompts
  /// or utterances in S3Gen. Speech tokens stay the same to the bit; waveforms are those of other company.
  std::uint64_t out_of_memory = 0;
};

class Engine {
public:
  /// Loads a checkpoint folder.
  /// @throws std::runtime_error naming file, tensor or field: missing files, tensors missing or unexpected (all of
  /// them at once), wrong shapes, a device that does not exist, a memory budget that is too small (bytes needed and
  /// available). std::invalid_argument naming a wrong option.
  static std::unique_ptr<Engine> load(const EngineOptions& options);
  /// GPUs that EngineOptions::device can name; 0 in a CPU build. Engines of different GPUs may be loaded and run at the
  /// same time, on different threads.
  [[nodiscard]] static int num_gpus() noexcept;
  /// The heads that @p checkpoint's config.json names for EngineOptions::alignment_heads; empty: none are known.
  /// @throws std::runtime_error as load(), of config.json alone.
  [[nodiscard]] static std::vector<AttentionHead> known_alignment_heads(const std::filesystem::path& checkpoint);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Renders until @p stop is requested and everything admitted has been delivered. Blocks; the calling thread is the
  /// engine thread. One call at a time. Utterances with bad input (unknown voice, empty text) fail alone.
  /// When the GPU's memory runs out it goes on with less at a time (EngineStats::out_of_memory).
  /// @throws std::runtime_error on a failure of the device, memory for a single utterance included: nothing in flight
  /// is delivered afterwards.
  void run(WorkSource& source, Sink& sink, std::stop_token stop);

  /// Wakes run() up because the source may have work again. Any thread.
  void notify() noexcept;

  /// Drops an utterance that was handed out by the source; its rows are free within 8 decode steps. One that is being
  /// synthesised already is finished and still arrives; afterwards nothing does. Unknown ids are ignored. Any thread.
  void cancel(UtteranceId id) noexcept;

  [[nodiscard]] const EngineInfo& info() const noexcept;
  [[nodiscard]] EngineStats stats() const;

  /// Speech tokens that @p text will probably take (about 1.55 per character of English). Any thread.
  [[nodiscard]] int predict_tokens(std::string_view text) const;

  /// Makes a voice known while the engine runs: utterances may carry it from now on. What is known already is kept
  /// once, until the engine ends: about 170 kB of the device's memory each. Any thread.
  /// @return its name for Utterance::voice: 32 hex digits that follow from its values, so that no two voices share one
  /// @throws std::invalid_argument naming the field, as conds.pt calls it, that does not suit the model.
  std::string add_voice(const VoiceConditionals& voice);

  /// Content hash of a voice. @throws std::invalid_argument naming a voice that does not exist. Any thread.
  [[nodiscard]] Hash128 voice_hash(std::string_view voice) const;

  /// The identity of @p utterance, which does not depend on its position in the book (see utterance.h).
  /// @param occurrence how many utterances with the same text precede it in its chapter. Any thread.
  [[nodiscard]] Hash128 utterance_key(std::string_view text, std::string_view language, std::string_view voice,
                                      int occurrence) const;

  /// Name under which the audio of @p utterance may be stored and found again: a hash of everything its samples
  /// depend on (weights, voice, parameters, seed, key, device class, audio revision). 32 hex digits. Any thread.
  [[nodiscard]] std::string chunk_key(const Utterance& utterance) const;

private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

} // namespace audiobookd::engine
