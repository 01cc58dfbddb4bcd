// In place of book.cpp, encode.cpp and queue.cpp where the daemon is not built.
#include "bench/benchmarks.h"

#include <stdexcept>

namespace audiobookd::bench {

void bench_book(const Options&) { throw std::invalid_argument("this is the engine-only build: book needs the daemon"); }
void bench_encode(const Options&) {
  throw std::invalid_argument("this is the engine-only build: encode needs the daemon");
}
void bench_queue(const Options&) {
  throw std::invalid_argument("this is the engine-only build: queue needs the daemon");
}

} // namespace audiobookd::bench
