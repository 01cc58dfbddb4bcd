// The synthetic-weight formula. Compiled without contraction: a fused multiply-add would change the last bit.
// See the header for threading.
#include "engine/models/chatterbox/synthetic_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace audiobookd::engine::chatterbox {
namespace {

/// One line of the rule table: a name or the end of one, and what it gives. With `fan_in`, scale is a multiplier of
/// sqrt(3 / fan_in).
struct Rule {
  enum class Match { whole, end } match;
  std::string_view text;
  double base;
  double scale;
  bool fan_in = false;
};
constexpr auto whole = Rule::Match::whole;
constexpr auto end = Rule::Match::end;

/// Rules 4 to 25 in their order; the first three concern tensors that are not made of random numbers, the last three
/// look at the number of dimensions.
constexpr std::array rules{
    Rule{whole, "similarity_weight", 10.0, 0.0},
    Rule{whole, "similarity_bias", -5.0, 0.0},
    Rule{end, ".running_var", 1.0, 0.2},
    Rule{end, ".running_mean", 0.0, 0.1},
    Rule{whole, "mel2wav.conv_post.parametrizations.weight.original0", 0.5, 0.05},
    Rule{end, ".parametrizations.weight.original0", 1.0, 0.1},
    Rule{end, ".alpha", 1.0, 0.2},
    Rule{whole, "mel2wav.conv_post.bias", -2.25, 0.5},
    Rule{whole, "mel2wav.f0_predictor.classifier.weight", 0.0, 250.0, true},
    Rule{whole, "mel2wav.f0_predictor.classifier.bias", 220.0, 10.0},
    Rule{whole, "flow.decoder.estimator.final_proj.bias", -5.0, 1.0},
    Rule{whole, "speech_head.weight", 0.0, 2.0, true},
    Rule{whole, "text_emb.weight", 0.0, 0.1},
    Rule{whole, "speech_emb.weight", 0.0, 0.1},
    Rule{end, "_pos_emb.emb.weight", 0.0, 0.05},
    Rule{whole, "tfmr.wpe.weight", 0.0, 0.05},
    Rule{whole, "tfmr.wte.weight", 0.0, 0.05},
    Rule{whole, "tfmr.embed_tokens.weight", 0.0, 0.05},
    Rule{whole, "flow.input_embedding.weight", 0.0, 1.0},
    Rule{end, ".pre_attention_query", 0.0, 0.3},
    Rule{end, ".pos_bias_u", 0.0, 0.3},
    Rule{end, ".pos_bias_v", 0.0, 0.3},
};

bool matches(const Rule& rule, std::string_view name) noexcept {
  return rule.match == whole ? name == rule.text : name.ends_with(rule.text);
}

double fan_in_scale(std::span<const std::int64_t> shape) {
  std::int64_t fan_in = 1;
  for (std::size_t i = 1; i < shape.size(); ++i) {
    fan_in *= shape[i];
  }
  return std::sqrt(3.0 / static_cast<double>(fan_in));
}

/// Fills values[first …) for the elements from @p first on.
void fill_range(std::uint64_t seed, WeightRange range, std::uint64_t first, std::span<float> values) noexcept {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double product = range.scale * (2 * weight_uniform(seed, first + i) - 1);
    values[i] = static_cast<float>(range.base + product);
  }
}

} // namespace

bool has_synthetic_weights(std::string_view name) noexcept {
  return name != "tokenizer._mel_filters" && name != "tokenizer.window";
}

bool is_batch_counter(std::string_view name) noexcept { return name.ends_with(".num_batches_tracked"); }

std::uint64_t weight_seed(std::string_view name) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

double weight_uniform(std::uint64_t seed, std::uint64_t index) noexcept {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  z = z ^ (z >> 31);
  return static_cast<double>(z >> 11) * 0x1p-53;
}

WeightRange weight_range(std::string_view name, std::span<const std::int64_t> shape) {
  if (!has_synthetic_weights(name) || is_batch_counter(name)) {
    throw std::invalid_argument("tensor \"" + std::string(name) + "\" has no synthetic weights");
  }
  const auto rule = std::ranges::find_if(rules, [&](const Rule& candidate) { return matches(candidate, name); });
  if (rule != rules.end()) {
    return {rule->base, rule->fan_in ? rule->scale * fan_in_scale(shape) : rule->scale};
  }
  if (shape.size() == 1) {
    return name.ends_with(".weight") ? WeightRange{1.0, 0.1} : WeightRange{0.0, 0.02};
  }
  return {0.0, fan_in_scale(shape)};
}

void fill_uniform(std::string_view name, WeightRange range, std::span<float> values) {
  constexpr std::size_t min_per_thread = 1 << 18;
  const std::size_t count = values.size();
  const std::size_t parts =
      std::clamp<std::size_t>(count / min_per_thread, 1, std::max(1U, std::thread::hardware_concurrency()));
  const std::size_t per_part = (count + parts - 1) / parts;
  const std::uint64_t seed = weight_seed(name);
  std::vector<std::jthread> helpers;
  for (std::size_t first = per_part; first < count; first += per_part) {
    const auto part = values.subspan(first, std::min(per_part, count - first));
    helpers.emplace_back([=] { fill_range(seed, range, first, part); });
  }
  fill_range(seed, range, 0, values.first(std::min(per_part, count)));
}

void fill_synthetic(std::string_view name, std::span<const std::int64_t> shape, std::span<float> values) {
  const WeightRange range = weight_range(name, shape);
  std::uint64_t count = 1;
  for (const std::int64_t dim : shape) {
    count *= static_cast<std::uint64_t>(dim);
  }
  if (count != values.size()) {
    throw std::invalid_argument("tensor \"" + std::string(name) + "\": expected " + std::to_string(count) +
                                " elements, found room for " + std::to_string(values.size()));
  }
  fill_uniform(name, range, values);
}

} // namespace audiobookd::engine::chatterbox
