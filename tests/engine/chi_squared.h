// Pearson's chi-squared test for sampler tests.
#pragma once

#include <ATen/core/Tensor.h>

namespace audiobookd::tests {

/// p value of @p counts [n] against @p probs [n] (both double, on the CPU) after @p draws draws; cells with an
/// expectation below 5 are pooled.
double goodness_of_fit(const at::Tensor& counts, const at::Tensor& probs, double draws);

} // namespace audiobookd::tests
