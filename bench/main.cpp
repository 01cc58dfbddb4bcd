// audiobook-bench: throughput of T3 alone (decode), of S3Gen alone (synthesis), of both behind the engine's door
// (engine), of a whole book through the daemon (book), of the queue (queue), of levels and codecs (encode), of a clip
// that becomes a voice (clip), the error of inexact options (fidelity), and the time to load a checkpoint.
#include "bench/benchmarks.h"

#include <cstdio>
#include <map>
#include <stdexcept>

namespace audiobookd::bench {
namespace {

int run(int argc, char** argv) {
  try {
    const std::map<std::string, void (*)(const Options&)> benchmarks = {
        {"decode", bench_decode}, {"synthesis", bench_synthesis}, {"engine", bench_engine},
        {"book", bench_book},     {"queue", bench_queue},         {"clip", bench_clip},
        {"encode", bench_encode}, {"fidelity", bench_fidelity},   {"checkpoint-load", bench_checkpoint_load}};
    const Options options = parse_options(argc, argv);
    const auto benchmark = benchmarks.find(options.benchmark);
    if (benchmark == benchmarks.end()) {
      throw std::invalid_argument("unknown benchmark " + options.benchmark);
    }
    benchmark->second(options);
    return 0;
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "audiobook-bench: %s\n%s", error.what(), usage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "audiobook-bench: %s\n", error.what());
    return 1;
  }
}

} // namespace
} // namespace audiobookd::bench

int main(int argc, char** argv) { return audiobookd::bench::run(argc, argv); }
