#include "tests/engine/chi_squared.h"

#include <ATen/ATen.h>
#include <cmath>

namespace audiobookd::tests {
namespace {

/// Upper tail of the chi-squared distribution by the Wilson-Hilferty normal approximation.
double chi_squared_p(double statistic, double degrees) {
  const double z = (std::cbrt(statistic / degrees) - (1 - 2 / (9 * degrees))) / std::sqrt(2 / (9 * degrees));
  return 0.5 * std::erfc(z / std::sqrt(2.0));
}

} // namespace

double goodness_of_fit(const at::Tensor& counts, const at::Tensor& probs, double draws) {
  double statistic = 0;
  double pooled_expected = 0;
  double pooled_count = 0;
  int cells = 0;
  for (std::int64_t i = 0; i < probs.size(0); ++i) {
    const double expected = probs[i].item<double>() * draws;
    const double count = counts[i].item<double>();
    if (expected < 5) {
      pooled_expected += expected;
      pooled_count += count;
      continue;
    }
    statistic += (count - expected) * (count - expected) / expected;
    ++cells;
  }
  if (pooled_expected >= 5) {
    statistic += (pooled_count - pooled_expected) * (pooled_count - pooled_expected) / pooled_expected;
    ++cells;
  }
  return chi_squared_p(statistic, cells - 1);
}

} // namespace audiobookd::tests
