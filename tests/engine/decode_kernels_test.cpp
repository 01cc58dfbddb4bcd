// The kernels of a decode step: equal to plain ATen on fresh random input, and row-independent to the bit.
#include "engine/kernels/attended_position.h"
#include "engine/kernels/decode_attention.h"
#include "engine/kernels/row_linear.h"
#include "engine/kernels/rowwise.h"
#include "engine/layers/kv_cache.h"
#include "engine/layers/llama.h"
#include "tests/engine/golden.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <algorithm>
#include <cmath>
#include <random>

namespace audiobookd::tests {
namespace {

using engine::kernels::PagedRows;

struct Problem {
  at::Tensor qkv; // [rows, 3 heads dim]
  PagedRows rows;
  at::Tensor rope;
};

/// Rows of different lengths over a shuffled cache filled with random numbers.
Problem random_problem(int num_rows, int heads, int dim, std::uint64_t seed) {
  at::manual_seed(seed);
  std::mt19937 random(static_cast<unsigned>(seed));
  constexpr int page = engine::KvCache::page_size;
  const int max_pages = 7;
  const int num_pages = num_rows * max_pages + 1;
  std::vector<int> order(static_cast<std::size_t>(num_pages - 1));
  std::iota(order.begin(), order.end(), 1);
  std::shuffle(order.begin(), order.end(), random);
  at::Tensor table = at::tensor(order, at::kInt).view({num_rows, max_pages});
  std::vector<int> positions;
  for (int row = 0; row < num_rows; ++row) {
    positions.push_back(std::uniform_int_distribution<int>(0, max_pages * page - 1)(random));
  }
  const at::Device device = test_device();
  return {at::randn({num_rows, 3 * heads * dim}).to(device),
          {at::randn({num_pages, heads, page, dim}).to(device), at::randn({num_pages, heads, page, dim}).to(device),
           table.to(device), at::tensor(positions, at::kInt).to(device)},
          engine::llama3_rope_table(max_pages * page, dim).to(device)};
}

void expect_attention_matches_aten() {
  for (const auto& [heads, dim] : {std::pair{4, 16}, {3, 64}, {2, 128}, {5, 48}}) {
    SCOPED_TRACE(std::to_string(heads) + " heads of " + std::to_string(dim));
    Problem p = random_problem(37, heads, dim, 1000 + static_cast<std::uint64_t>(dim));
    EXPECT_TENSOR_NEAR(engine::kernels::decode_attention(p.qkv, p.rows),
                       engine::kernels::decode_attention_reference(p.qkv, p.rows), 2e-6);
  }
}

/// @param tolerance of what the cache stores
void expect_rope_append_matches_formula(Problem p, int heads, int dim, double tolerance) {
  const at::Tensor before = p.qkv.cpu().clone();
  engine::kernels::rope_append(p.qkv, p.rope, p.rows);
  const at::Tensor rope = p.rope.cpu();
  for (std::int64_t row = 0; row < 9; ++row) {
    const std::int64_t position = p.rows.positions[row].item<int>();
    const std::int64_t page = p.rows.block_table[row][position / engine::KvCache::page_size].item<int>();
    for (int part = 0; part < 3; ++part) {
      const at::Tensor x = before[row].view({3, heads, dim})[part];
      const at::Tensor a = x.narrow(1, 0, dim / 2);
      const at::Tensor b = x.narrow(1, dim / 2, dim / 2);
      const at::Tensor cos = rope[position].narrow(0, 0, dim / 2);
      const at::Tensor sin = rope[position].narrow(0, dim / 2, dim / 2);
      const at::Tensor rotated = part == 2 ? x : at::cat({a * cos - b * sin, b * cos + a * sin}, 1);
      const at::Tensor& cache = part == 2 ? p.rows.values : p.rows.keys;
      const at::Tensor actual = part == 0 ? p.qkv[row].view({3, heads, dim})[0]
                                          : cache[page].select(1, position % engine::KvCache::page_size);
      EXPECT_TENSOR_NEAR(actual, rotated, part == 0 ? 1e-6 : tolerance);
    }
  }
}

void expect_attention_rows_independent() {
  const Problem p = random_problem(40, 4, 64, 5);
  const at::Tensor together = engine::kernels::decode_attention(p.qkv, p.rows);
  for (const std::int64_t row : {0, 7, 39}) {
    const PagedRows alone{p.rows.keys, p.rows.values, p.rows.block_table.narrow(0, row, 1).contiguous(),
                          p.rows.positions.narrow(0, row, 1).contiguous()};
    EXPECT_TRUE(
        at::equal(engine::kernels::decode_attention(p.qkv.narrow(0, row, 1).contiguous(), alone)[0], together[row]))
        << "row " << row;
  }
}

TEST(DecodeAttention, MatchesAten) { expect_attention_matches_aten(); }
TEST(DecodeAttention, RopeAppendMatchesFormula) {
  expect_rope_append_matches_formula(random_problem(9, 3, 16, 77), 3, 16, 1e-6);
}
TEST(DecodeAttention, RowsDoNotDependOnTheirCompany) { expect_attention_rows_independent(); }

void round_cache(PagedRows& rows) {
  rows.keys = rows.keys.to(at::kBFloat16);
  rows.values = rows.values.to(at::kBFloat16);
}

TEST(DecodeAttention, ReadsABf16CacheInFp32) {
  Problem p = random_problem(37, 3, 64, 8);
  round_cache(p.rows);
  EXPECT_TENSOR_NEAR(engine::kernels::decode_attention(p.qkv, p.rows),
                     engine::kernels::decode_attention_reference(p.qkv, p.rows), 2e-6);
}

TEST(DecodeAttention, AppendsToABf16CacheRounded) {
  Problem p = random_problem(9, 3, 16, 78);
  round_cache(p.rows);
  const double largest = p.qkv.abs().max().item<double>() * 1.5; // rotation adds two
  expect_rope_append_matches_formula(p, 3, 16, largest / 256);   // half a unit of the eighth bit
}

TEST(GpuDecodeAttention, MatchesAten) { expect_attention_matches_aten(); }
TEST(GpuDecodeAttention, RopeAppendMatchesFormula) {
  expect_rope_append_matches_formula(random_problem(9, 3, 16, 77), 3, 16, 1e-6);
}
TEST(GpuDecodeAttention, RowsDoNotDependOnTheirCompany) { expect_attention_rows_independent(); }

/// Attention weights of one head, [rows, positions]; 0 behind a row's own position.
at::Tensor attention_weights(const Problem& p, int heads, int head) {
  const std::int64_t dim = p.rows.keys.size(3);
  std::vector<at::Tensor> weights;
  for (std::int64_t row = 0; row < p.qkv.size(0); ++row) {
    const at::Tensor keys = p.rows.keys.select(1, head).index_select(0, p.rows.block_table[row]).reshape({-1, dim});
    const at::Tensor scores = at::mv(keys.to(at::kDouble), p.qkv[row].view({3, heads, dim})[0][head].to(at::kDouble));
    const at::Tensor hidden = at::arange(scores.size(0), scores.options()) > p.rows.positions[row];
    weights.push_back(at::softmax((scores / std::sqrt(double(dim))).masked_fill(hidden, -INFINITY), 0));
  }
  return at::stack(weights);
}

/// Spans that begin at position 9 and end at the latest with the row; every fifth row is left out.
at::Tensor random_lengths(const PagedRows& rows, int begin) {
  at::Tensor lengths = (at::rand({rows.positions.size(0)}) * (rows.positions.cpu() + 1 - begin).clamp_min(0)).ceil();
  lengths.slice(0, 0, {}, 5).fill_(0);
  return lengths.to(at::kInt).to(rows.positions.device());
}

void expect_attended_is_the_largest_weight() {
  constexpr int begin = 9;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    Problem p = random_problem(40, 3, 64, 21);
    p.rows.keys = p.rows.keys.to(dtype);
    const at::Tensor lengths = random_lengths(p.rows, begin);
    for (const int head : {0, 2}) {
      const at::Tensor weights = attention_weights(p, 3, head).cpu();
      const at::Tensor attended = engine::kernels::attended_position(p.qkv, p.rows, head, {begin, lengths}).cpu();
      for (std::int64_t row = 0; row < 40; ++row) {
        const std::int64_t length = lengths[row].item<int>();
        EXPECT_EQ(attended[row].item<int>(),
                  length == 0 ? -1 : weights[row].narrow(0, begin, length).argmax().item<std::int64_t>())
            << "head " << head << ", row " << row;
      }
    }
  }
}

TEST(AttendedPosition, IsThatOfTheLargestAttentionWeight) { expect_attended_is_the_largest_weight(); }
TEST(GpuAttendedPosition, IsThatOfTheLargestAttentionWeight) { expect_attended_is_the_largest_weight(); }

TEST(AttendedPosition, OfEqualOnesIsTheFirst) {
  Problem p = random_problem(3, 2, 16, 22);
  p.rows.keys.fill_(0.5f);
  p.rows.positions.fill_(100);
  const at::Tensor lengths = at::full({3}, 60, at::kInt);
  EXPECT_TRUE(at::equal(engine::kernels::attended_position(p.qkv, p.rows, 1, {9, lengths}), at::zeros({3}, at::kInt)));
}

/// @param tolerance of the sum of 1024 products of standard normal numbers.
void expect_linear_rows_independent(at::ScalarType dtype, double tolerance) {
  at::manual_seed(3);
  constexpr std::int64_t tile = engine::kernels::row_tile;
  for (const auto& [in, out] : {std::pair<std::int64_t, std::int64_t>{64, 192}, {128, 64}, {64, 8194}, {1024, 3072}}) {
    const at::Tensor weight = at::randn({out, in}).to(dtype);
    const at::Tensor x = at::randn({5 * tile, in});
    const at::Tensor together = engine::kernels::row_linear(x, weight);
    EXPECT_TENSOR_NEAR(together, at::linear(x, weight.to(at::kFloat)), tolerance);
    for (const std::int64_t row : {std::int64_t{0}, std::int64_t{33}, 5 * tile - 1}) {
      const at::Tensor company = at::randn({tile, in});
      const std::int64_t place = row % 7;
      company[place].copy_(x[row]);
      EXPECT_TRUE(at::equal(engine::kernels::row_linear(company, weight)[place], together[row]))
          << in << " x " << out << ", row " << row;
    }
  }
}

TEST(RowLinear, RowsDoNotDependOnTheirCompany) { expect_linear_rows_independent(at::kFloat, 1e-3); }
// The weight is exact; rounding x leaves 2^-9 / sqrt(3) of each of 1024 products, together 0.036 as a standard
// deviation. Results reach 150, and between 128 and 256 rounding them takes up to 0.5.
TEST(RowLinear, RowsDoNotDependOnTheirCompanyInBf16) { expect_linear_rows_independent(at::kBFloat16, 0.7); }

TEST(RowLinear, RefusesRowsThatDoNotFillATile) {
  EXPECT_THROW(engine::kernels::row_linear(at::randn({3, 8}), at::randn({4, 8})), c10::Error);
}

TEST(Rowwise, RmsNormAndSwigluMatchAten) {
  at::manual_seed(11);
  for (const std::int64_t n : {16, 64, 1000}) {
    const at::Tensor x = at::randn({33, n}) * 3;
    const at::Tensor weight = at::randn({n});
    const at::Tensor scale = (x.square().mean(-1, true) + 1e-5).rsqrt();
    EXPECT_TENSOR_NEAR(engine::kernels::rms_norm(x, weight, 1e-5), weight * (x * scale), 2e-5);
    const at::Tensor gate_up = at::randn({33, 2 * n}) * 3;
    EXPECT_TENSOR_NEAR(engine::kernels::silu_mul(gate_up), at::silu(gate_up.narrow(1, 0, n)) * gate_up.narrow(1, n, n),
                       1e-5);
  }
}

TEST(KvCache, ReservesOnlyWhatIsFreeAndTakesItBack) {
  engine::KvCache cache(1, 2, 4, 5, at::TensorOptions(at::kFloat));
  const auto first = cache.reserve(3 * engine::KvCache::page_size);
  ASSERT_EQ(first.size(), 3u);
  EXPECT_TRUE(cache.reserve(3 * engine::KvCache::page_size).empty());
  EXPECT_EQ(cache.free_pages(), 2);
  const auto second = cache.reserve(engine::KvCache::page_size + 1);
  ASSERT_EQ(second.size(), 2u);
  for (const auto page : second) {
    EXPECT_NE(page, engine::KvCache::scratch_page);
    EXPECT_EQ(std::count(first.begin(), first.end(), page), 0);
  }
  cache.release(first);
  EXPECT_EQ(cache.free_pages(), 3);
}

} // namespace
} // namespace audiobookd::tests
