// What an MP3 stream sounds like once it is decoded, measured while it is written: through libmpg123, gapless, frame by
// frame as the file gets them; stretches of 10 s of what comes out are measured by the threads of a pool. Memory grows
// by about 1200 bytes a second. One thread at a time per meter.
#pragma once

#include "storage/levels.h"
#include "storage/worker_pool.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <future>
#include <memory>
#include <span>
#include <vector>

namespace audiobookd::storage {

/// Of a decoded file.
struct DecodedAudio {
  Levels levels;
  std::vector<float> powers; ///< mean square of every 10 ms; what is left at the end is not among them
  double seconds = 0;
  int sample_rate = 0; ///< Hz
  int channels = 0;
  int lowest_kbps = 0; ///< of all frames
  int highest_kbps = 0;

  static constexpr int powers_per_second = 100;
};

class Mp3Meter {
public:
  /// @p pool must outlive the meter. @throws TransientError when there is no memory
  Mp3Meter(int sample_rate, WorkerPool& pool);
  ~Mp3Meter();
  Mp3Meter(const Mp3Meter&) = delete;
  Mp3Meter& operator=(const Mp3Meter&) = delete;

  /// Decodes the next whole frames, the stream's Xing header not among them. @param encoder_delay as that has it:
  /// samples before the first one, the same in all calls. @throws TransientError when they cannot be decoded.
  void add(std::span<const std::byte> frames, int encoder_delay);
  /// The stream is over. Call once. @param encoder_padding samples behind the last one, as the Xing header has it.
  /// @throws as add(); also when not every frame became sound.
  void finish(int encoder_padding);
  /// After finish().
  [[nodiscard]] const DecodedAudio& decoded() const noexcept { return decoded_; }
  /// CPU time that the pool has spent for decoded().
  [[nodiscard]] double cpu_seconds() const noexcept { return cpu_seconds_; }

private:
  struct Decoder;

  /// What the pool makes of some samples.
  struct Stretch {
    Levels levels;
    std::vector<float> powers;
    double cpu_seconds = 0;
  };

  static Stretch measure(const std::vector<float>& samples, int sample_rate);
  bool decode_frame();
  void submit(std::size_t count);
  void take_oldest();

  const int sample_rate_;
  WorkerPool& pool_;
  const std::unique_ptr<Decoder> decoder_;
  std::size_t frame_bytes_ = 0;   // that were added
  std::size_t decoded_bytes_ = 0; // of these
  std::size_t to_skip_ = 0;       // samples at the beginning
  bool has_begun_ = false;
  std::vector<float> samples_; // decoded and not measured
  std::uint64_t num_samples_ = 0;
  std::deque<std::future<Stretch>> outstanding_;
  double cpu_seconds_ = 0;
  DecodedAudio decoded_;
};

} // namespace audiobookd::storage
