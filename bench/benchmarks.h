// The benchmarks of audiobook-bench. Each loads, warms up, runs its workload, and prints its report.
//
// They throw std::invalid_argument for options that do not go together, std::runtime_error for what went wrong.
#pragma once

#include "bench/options.h"

namespace audiobookd::bench {

/// T3 alone: text to speech tokens.
void bench_decode(const Options& options);
/// S3Gen alone: speech tokens to waveforms.
void bench_synthesis(const Options& options);
/// Both behind the engine's door.
void bench_engine(const Options& options);
/// The whole program: from XADD to the published MP3. Not in the engine-only build.
void bench_book(const Options& options);
/// The queue and the scheduling of the daemon: what jobs cost beside their rendering. Not in the engine-only build.
void bench_queue(const Options& options);
/// Levels and codecs: how fast waveforms become files. Not in the engine-only build.
void bench_encode(const Options& options);
/// How far S3Gen's spectra with each of its inexact options are from fp32's.
void bench_fidelity(const Options& options);
/// How long it takes until a clip has become a voice.
void bench_clip(const Options& options);
/// The time to load a checkpoint.
void bench_checkpoint_load(const Options& options);

} // namespace audiobookd::bench
