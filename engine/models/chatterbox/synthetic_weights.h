// The synthetic-weight formula: every tensor is a pure function of its name, its shape and the element index.
//
// No trained weights are needed to test the engine: a checkpoint of any size can be generated on the spot, and the
// recorded reference outputs belong to exactly these values. The formula and its rules:
//
//   seed  = FNV-1a-64(name)
//   u     = top 53 bits of SplitMix64(seed, index) as a double in [0, 1)
//   value = float(base + scale * (2 u - 1)), every operation rounded to double on its own
//
// where base and scale depend on name and shape (weight_range()). All functions are pure; any thread may call them.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace audiobookd::engine::chatterbox {

/// Values of a tensor are spread evenly over [base - scale, base + scale).
struct WeightRange {
  double base;
  double scale;
};

/// False for the tables that hold real values instead (`tokenizer._mel_filters`, `tokenizer.window`).
[[nodiscard]] bool has_synthetic_weights(std::string_view name) noexcept;

/// True for the batch counters of normalisation layers (`….num_batches_tracked`): int64 scalars, always 0.
[[nodiscard]] bool is_batch_counter(std::string_view name) noexcept;

/// FNV-1a-64 of @p name.
[[nodiscard]] std::uint64_t weight_seed(std::string_view name) noexcept;

/// The uniform number in [0, 1) for element @p index of the tensor with @p seed.
[[nodiscard]] double weight_uniform(std::uint64_t seed, std::uint64_t index) noexcept;

/// The range for a float tensor; the first rule that matches @p name or the number of dimensions wins.
/// @throws std::invalid_argument naming the tensor when it is a counter or a table that the formula does not make.
[[nodiscard]] WeightRange weight_range(std::string_view name, std::span<const std::int64_t> shape);

/// Fills @p values with the numbers that the formula gives for @p name and @p range. Many values are filled by several
/// threads; the values do not depend on their number.
void fill_uniform(std::string_view name, WeightRange range, std::span<float> values);

/// Fills @p values, the row-major elements of tensor @p name, through fill_uniform().
/// @throws std::invalid_argument as weight_range(), and when @p values has not the size of @p shape.
void fill_synthetic(std::string_view name, std::span<const std::int64_t> shape, std::span<float> values);

} // namespace audiobookd::engine::chatterbox
