// libsoxr behind a function.
#include "storage/resampler.h"

#include <cmath>
#include <memory>
#include <soxr.h>
#include <stdexcept>
#include <string>

namespace audiobookd::storage {
namespace {

struct DeleteSoxr {
  void operator()(soxr* resampler) const noexcept { soxr_delete(resampler); }
};

void check(soxr_error_t error) {
  if (error != nullptr) {
    throw std::runtime_error(std::string("cannot resample: ") + error);
  }
}

/// Gives all of @p in to the resampler; nothing ends the stream. @return samples written to @p out
std::size_t process(soxr* resampler, std::span<const float> in, std::span<float> out) {
  std::size_t made = 0;
  const float* const begin = in.empty() ? nullptr : in.data();
  check(soxr_process(resampler, begin, in.size(), nullptr, out.data(), out.size(), &made));
  return made;
}

} // namespace

std::vector<float> resample(std::span<const float> samples, int from, int to) {
  if (from == to) {
    return {samples.begin(), samples.end()};
  }
  const double ratio = static_cast<double>(to) / from;
  const auto length = static_cast<std::size_t>(std::ceil(static_cast<double>(samples.size()) * ratio));
  const soxr_io_spec_t io = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  soxr_error_t error = nullptr;
  const std::unique_ptr<soxr, DeleteSoxr> resampler(soxr_create(from, to, 1, &error, &io, &quality, nullptr));
  check(error);
  std::vector<float> result(length + 1); // soxr rounds the length; what it leaves open stays zero
  const std::size_t made = process(resampler.get(), samples, result);
  process(resampler.get(), {}, std::span(result).subspan(made));
  result.resize(length);
  return result;
}

} // namespace audiobookd::storage
