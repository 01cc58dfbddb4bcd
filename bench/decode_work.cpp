#include "bench/decode_work.h"

#include <algorithm>

namespace audiobookd::bench {
namespace {

struct Shape {
  double layer_weights = 0; // of all layers
  double head_weights = 0;
  double kv_values = 0;      // keys and values of one position, all layers
  double attention_flop = 0; // of one new position over one cached one, all layers
};

Shape shape_of(const engine::chatterbox::T3Config& c) {
  const double hidden = c.hidden_size;
  const double heads = static_cast<double>(c.num_heads) * c.head_dim;
  Shape shape;
  shape.layer_weights = c.num_layers * (4 * hidden * heads + 3 * hidden * c.intermediate_size);
  shape.head_weights = hidden * c.speech_vocab_size;
  shape.kv_values = c.num_layers * 2 * heads;
  shape.attention_flop = c.num_layers * 4 * heads; // two products of two operations an element
  return shape;
}

/// Positions that the first @p positions of a causal sequence attend to, added up.
double attended(double positions) { return positions * (positions + 1) / 2; }

/// Of one step, over the rows that take part.
struct Step {
  int rows = 0;
  double own = 0;         // positions
  double shared = 0;      // positions, for every row
  int longest_shared = 0; // positions
};

std::vector<Step> steps_of(std::span<const DecodeRow> rows, std::int64_t begin, std::int64_t end) {
  std::vector<Step> steps(static_cast<std::size_t>(std::max<std::int64_t>(0, end - begin)));
  for (const DecodeRow& row : rows) {
    // The prompt draws the first token; the k-th step after it attends to prompt + k positions.
    const std::int64_t last = std::min(row.entered + row.num_tokens - 1, end);
    for (std::int64_t at = std::max(row.entered, begin); at < last; ++at) {
      Step& step = steps[static_cast<std::size_t>(at - begin)];
      ++step.rows;
      step.own += static_cast<double>(row.prompt + (at - row.entered) + 1 - row.shared);
      step.shared += row.shared;
      step.longest_shared = std::max(step.longest_shared, row.shared);
    }
  }
  return steps;
}

} // namespace

DecodeWork decode_work(const engine::chatterbox::T3Config& config, const ElementBytes& bytes,
                       std::span<const DecodeRow> rows, std::int64_t begin, std::int64_t end,
                       const RooflineLimits& limits) {
  const Shape shape = shape_of(config);
  const double weights = shape.layer_weights + shape.head_weights;
  DecodeWork work;
  for (const Step& step : steps_of(rows, begin, end)) {
    const double weight_bytes = weights * bytes.weight;
    const double gemm_flop = 2 * weights * step.rows;
    const double own = step.own * shape.kv_values * bytes.cache;
    const double shared_once = step.longest_shared * shape.kv_values * bytes.cache;
    work.weight_bytes += weight_bytes;
    work.gemm_flop += gemm_flop;
    work.own_kv_bytes += own;
    work.shared_kv_bytes += step.shared * shape.kv_values * bytes.cache;
    work.shared_kv_once_bytes += shared_once;
    work.attention_flop += (step.own + step.shared) * shape.attention_flop;
    work.roofline_seconds += std::max(gemm_flop / limits.flop_per_second, weight_bytes / limits.bytes_per_second) +
                             (own + shared_once) / limits.bytes_per_second;
  }
  for (const DecodeRow& row : rows) {
    if (row.entered >= begin && row.entered < end) {
      work.prompt_gemm_flop += 2 * (shape.layer_weights * (row.prompt - row.shared) + shape.head_weights);
      work.prompt_attention_flop += shape.attention_flop * (attended(row.prompt) - attended(row.shared));
    }
  }
  work.roofline_seconds += (work.prompt_gemm_flop + work.prompt_attention_flop) / limits.flop_per_second;
  return work;
}

} // namespace audiobookd::bench
