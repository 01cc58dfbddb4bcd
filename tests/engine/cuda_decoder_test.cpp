// The bf16 decoder on a GPU: kernels against ATen in fp32, logits against the fp32 model, and the same tokens in any
// company to the bit.
#include "engine/cuda/cuda_decoder.h"
#include "engine/cuda/cuda_t3.h"
#include "engine/device.h"
#include "engine/kernels/decode_attention.h"
#include "tests/engine/decode_requests.h"
#include "tests/engine/t3_fixture.h"

#include <ATen/ATen.h>
#include <numeric>
#include <random>

namespace audiobookd::tests {
namespace {

using engine::KvCache;
using engine::chatterbox::DecodeRequest;
using engine::chatterbox::T3;
using engine::cuda::CudaT3;
using engine::cuda::Gemm;
using engine::cuda::Pages;
using engine::cuda::Prompt;

TEST(GpuGemm, MatchesAtenAndGivesARowTheSameBitsInAnyCompany) {
  at::manual_seed(7);
  for (const bool accumulate : {false, true}) {
    for (const auto& [out, in] : {std::pair{64, 64}, {1024, 4096}, {3072, 1024}}) {
      SCOPED_TRACE(std::to_string(in) + " -> " + std::to_string(out) + (accumulate ? ", accumulating" : ""));
      const at::ScalarType result = accumulate ? at::kFloat : at::kBFloat16;
      Gemm gemm({.out = out, .in = in, .result = result, .accumulate = accumulate}, test_device());
      const at::Tensor x = random_bf16({2048, in});
      const at::Tensor weight = random_bf16({out, in});
      const at::Tensor before = at::randn({2048, out}).to(test_device(), result);
      const auto product = [&](std::int64_t rows) {
        at::Tensor y = before.narrow(0, 0, rows).clone();
        gemm.run(x.narrow(0, 0, rows), weight, y);
        return y;
      };
      const at::Tensor all = product(2048);
      at::Tensor expected = at::matmul(x.to(at::kFloat), weight.to(at::kFloat).t());
      if (accumulate) {
        expected += before;
      }
      EXPECT_LT(relative_error(all, expected), accumulate ? 1e-5 : 4e-3);
      for (const std::int64_t rows : {1, 16, 40, 64, 128, 384, 1024, 1920}) {
        EXPECT_TRUE(at::equal(product(rows), all.narrow(0, 0, rows))) << rows << " rows";
      }
    }
  }
}

TEST(GpuDecodeKernels, RmsNormMatchesAten) {
  at::manual_seed(1);
  for (const std::int64_t width : {64, 1024, 4096}) {
    const at::Tensor x = at::randn({70, width}).to(test_device());
    const at::Tensor weight = at::rand({width}).to(test_device());
    const at::Tensor expected = x * (x.square().mean(-1, true) + 1e-5).rsqrt() * weight;
    EXPECT_LT(relative_error(engine::cuda::rms_norm(x, weight, 1e-5), expected), 4e-3) << width;
  }
}

TEST(GpuDecodeKernels, AStepBeginsWithTheEmbeddingsOfItsSequences) {
  at::manual_seed(8);
  const at::Tensor embedding = at::randn({50, 64}).to(test_device());
  const at::Tensor position_embedding = at::randn({20, 64}).to(test_device());
  const at::Tensor tokens = at::randint(0, 50, {12}, at::kLong).to(test_device());
  const at::Tensor speech_positions = at::randint(0, 20, {12}, at::kLong).to(test_device());
  const at::Tensor positions = at::randint(-1, 90, {12}, at::kInt).to(test_device());
  const at::Tensor rows = at::tensor({7, 0, 11, 7}, at::kInt).to(test_device());
  const auto step = engine::cuda::embed_step(embedding, position_embedding, rows, tokens, speech_positions, positions);
  const at::Tensor expected = embedding.index_select(0, tokens) + position_embedding.index_select(0, speech_positions);
  EXPECT_TRUE(at::equal(step.residual, expected.index_select(0, rows)));
  EXPECT_TRUE(at::equal(step.positions, positions.index_select(0, rows)));
}

TEST(GpuDecodeKernels, SwigluMatchesAten) {
  at::manual_seed(2);
  const at::Tensor gate_up = random_bf16({33, 2 * 4096});
  const at::Tensor x = gate_up.to(at::kFloat);
  const at::Tensor expected = at::silu(x.narrow(1, 0, 4096)) * x.narrow(1, 4096, 4096);
  EXPECT_LT(relative_error(engine::cuda::silu_mul(gate_up), expected), 4e-3);
}

/// Keys and values of sequences, in pages as decode_kernels.h has them and flat.
struct PagedCache {
  Pages pages;
  at::Tensor flat_keys, flat_values; // [sequences, heads, positions, dim]

  PagedCache(const std::vector<int>& shared, int heads, int dim, int positions)
      : flat_keys(random_bf16({static_cast<std::int64_t>(shared.size()), heads, positions, dim})),
        flat_values(random_bf16(flat_keys.sizes())) {
    const auto sequences = static_cast<std::int64_t>(shared.size());
    const int per_sequence = KvCache::pages_for(positions) + 1;
    pages.keys = random_bf16({sequences * per_sequence + 1, heads, 32, dim});
    pages.values = random_bf16(pages.keys.sizes());
    pages.block_table = at::randperm(sequences * per_sequence, at::kLong).add(1).to(at::kInt).view({sequences, -1});
    for (std::int64_t s = 0; s < sequences; ++s) {
      const int split = shared[static_cast<std::size_t>(s)];
      for (int p = 0; p < positions; ++p) {
        const int slot = p < split ? p : (split + 31) / 32 * 32 + p - split;
        const auto page = pages.block_table[s][slot / 32].item<std::int64_t>();
        pages.keys[page].select(1, slot % 32).copy_(flat_keys[s].select(1, p));
        pages.values[page].select(1, slot % 32).copy_(flat_values[s].select(1, p));
      }
    }
    pages.block_table = pages.block_table.to(test_device());
    pages.shared = at::tensor(shared, at::kInt).to(test_device());
  }
};

TEST(GpuDecodeKernels, AttentionOverRaggedPagesMatchesAten) {
  for (const auto& [heads, dim] : {std::pair{4, 16}, {3, 32}, {16, 64}, {2, 128}}) {
    SCOPED_TRACE(std::to_string(heads) + " heads of " + std::to_string(dim));
    at::manual_seed(3);
    constexpr int rows = 40;
    constexpr int longest = 200;
    std::vector<int> shared, positions;
    std::mt19937 random(3);
    for (int row = 0; row < rows; ++row) {
      positions.push_back(row < 8 ? row * 25 : std::uniform_int_distribution<int>(0, longest - 1)(random));
      shared.push_back(row % 3 == 0 ? 0 : std::uniform_int_distribution<int>(0, positions.back())(random));
    }
    PagedCache cache(shared, heads, dim, longest);
    const at::Tensor table = engine::llama3_rope_table(longest, dim).to(test_device());
    const at::Tensor qkv = random_bf16({rows, 3 * heads * dim});
    const at::Tensor at_positions = at::tensor(positions, at::kInt).to(test_device());
    // Row r continues sequence order[r], which is as long as the row's position says.
    const at::Tensor order = at::arange(rows, at::kInt).to(test_device());
    at::Tensor rotated = qkv.clone();
    PagedCache expected_cache = cache;
    expected_cache.pages.keys = cache.pages.keys.clone();
    expected_cache.pages.values = cache.pages.values.clone();
    engine::cuda::rope_append(rotated, table, at_positions, order, expected_cache.pages);
    const at::Tensor actual = engine::cuda::decode_attention(qkv, table, at_positions, order, cache.pages);
    EXPECT_TRUE(at::equal(cache.pages.keys, expected_cache.pages.keys));
    EXPECT_TRUE(at::equal(cache.pages.values, expected_cache.pages.values));
    for (int row = 0; row < rows; ++row) {
      const at::Tensor new_row = rotated[row].view({3, heads, dim}).to(at::kFloat);
      const auto with_new = [&](const at::Tensor& flat, int part) {
        return at::cat({flat[row].narrow(1, 0, positions[row]).to(at::kFloat), new_row[part].unsqueeze(1)}, 1);
      };
      const at::Tensor scores =
          at::matmul(with_new(cache.flat_keys, 1), new_row[0].unsqueeze(2)) / std::sqrt(1.0 * dim);
      const at::Tensor expected = (at::softmax(scores, 1) * with_new(cache.flat_values, 2)).sum(1);
      EXPECT_LT(relative_error(actual[row].view({heads, dim}), expected), 6e-3) << "row " << row;
    }
  }
}

/// The same layout with empty pages of 8 bits.
Pages eight_bits(const Pages& pages) {
  const auto empty = [&](const at::Tensor& like) {
    return at::zeros(like.sizes(), like.options().dtype(at::kFloat8_e4m3fn));
  };
  const auto bytes = pages.keys.options().dtype(at::kByte);
  return {empty(pages.keys), empty(pages.values), pages.block_table, pages.shared,
          at::zeros({pages.keys.size(0), pages.keys.size(1), 2, KvCache::page_size}, bytes)};
}

/// Half a unit of the last of e4m3's three bits of mantissa, or of its smallest numbers, and the rounding of bf16.
void expect_rounded_to_eight_bits(const at::Tensor& found, const at::Tensor& bf16) {
  const at::Tensor expected = bf16.to(at::kFloat);
  const at::Tensor largest = expected.abs().amax(-1, true);
  const at::Tensor error = (found.to(at::kFloat) - expected).abs();
  EXPECT_TRUE((error <= expected.abs() * (1.0 / 16 + 1.0 / 128) + largest * 1e-5).all().item<bool>());
  EXPECT_GT(relative_error(found, bf16), 0.01) << "these are more than 8 bits";
}

TEST(GpuDecodeKernels, EightBitPagesKeepRoundedValuesAndAttentionReadsThese) {
  for (const auto& [heads, dim] : {std::pair{4, 16}, {3, 32}, {16, 64}, {2, 128}}) {
    SCOPED_TRACE(std::to_string(heads) + " heads of " + std::to_string(dim));
    at::manual_seed(5);
    constexpr int length = 75;
    PagedCache exact({0, 40, 7}, heads, dim, length + 1);
    Pages pages = eight_bits(exact.pages);
    const at::Tensor table = engine::llama3_rope_table(length + 1, dim).to(test_device());
    const auto ints = at::TensorOptions(at::kInt).device(test_device());
    const at::Tensor positions = at::arange(length, ints).repeat({3});
    const at::Tensor sequences = at::arange(3, ints).repeat_interleave(length);
    at::Tensor prompt = random_bf16({3 * length, 3 * heads * dim}) *
                        at::logspace(-3, 3, 3 * length, 10, ints.dtype(at::kBFloat16)).unsqueeze(1);
    at::Tensor same = prompt.clone();
    engine::cuda::rope_append(same, table, positions, sequences, exact.pages);
    engine::cuda::rope_append(prompt, table, positions, sequences, pages);
    const auto before = engine::cuda::gather_pages(pages, positions, sequences);
    const auto in_bf16 = engine::cuda::gather_pages(exact.pages, positions, sequences);
    expect_rounded_to_eight_bits(before.keys, in_bf16.keys);
    expect_rounded_to_eight_bits(before.values, in_bf16.values);

    const at::Tensor step = random_bf16({3, 3 * heads * dim});
    const at::Tensor last = at::full({3}, length, ints);
    const at::Tensor each = at::arange(3, ints);
    at::Tensor rotated = step.clone();
    engine::cuda::rope_append(rotated, table, last, each, exact.pages);
    const at::Tensor found = engine::cuda::decode_attention(step, table, last, each, pages);
    for (std::int64_t s = 0; s < 3; ++s) {
      const auto read =
          engine::cuda::gather_pages(pages, at::arange(length + 1, ints), at::full({length + 1}, s, ints));
      const at::Tensor query = rotated[s].view({3, heads, dim})[0].to(at::kFloat);
      const at::Tensor scores = at::einsum("phd,hd->hp", {read.keys.to(at::kFloat), query}) / std::sqrt(1.0 * dim);
      const at::Tensor expected = at::einsum("hp,phd->hd", {at::softmax(scores, 1), read.values.to(at::kFloat)});
      EXPECT_LT(relative_error(found[s].view({heads, dim}), expected), 6e-3) << "sequence " << s;
    }
  }
}

TEST(GpuDecodeKernels, RopeRotatesAsTheModelDoesAndParkedRowsAreLeftAlone) {
  at::manual_seed(4);
  constexpr int heads = 2;
  constexpr int dim = 64;
  PagedCache cache({0, 40, 7}, heads, dim, 64);
  const at::Tensor table = engine::llama3_rope_table(64, dim).to(test_device());
  const at::Tensor before = random_bf16({3, 3 * heads * dim});
  const at::Tensor keys_before = cache.pages.keys.clone();
  at::Tensor qkv = before.clone();
  const at::Tensor positions = at::tensor({33, 50, -1}, at::kInt).to(test_device());
  engine::cuda::rope_append(qkv, table, positions, at::arange(3, positions.options()), cache.pages);
  const at::Tensor pairs = before.narrow(0, 0, 2).view({2, 3, heads, 2, dim / 2}).to(at::kFloat);
  const at::Tensor angles = table.index_select(0, positions.narrow(0, 0, 2).to(at::kLong)).view({2, 1, 2, dim / 2});
  const at::Tensor cosines = angles.select(2, 0);
  const at::Tensor sines = angles.select(2, 1);
  for (const int part : {0, 1}) {
    const at::Tensor low = pairs.select(1, part).select(2, 0);
    const at::Tensor high = pairs.select(1, part).select(2, 1);
    const at::Tensor expected = at::stack({low * cosines - high * sines, high * cosines + low * sines}, 2);
    const at::Tensor actual = qkv.narrow(0, 0, 2).view({2, 3, heads, 2, dim / 2}).select(1, part);
    EXPECT_LT(relative_error(actual, expected), 4e-3) << part;
  }
  EXPECT_TRUE(at::equal(qkv[2], before[2]));
  // One new position of the first sequence and one of the second.
  EXPECT_EQ((cache.pages.keys != keys_before).any(-1).any(1).sum().item<int>(), 2);
}

/// Tiny, and with the width of the published model but few layers.
std::vector<std::shared_ptr<const T3>> models() {
  engine::chatterbox::T3Config wide;
  wide.num_layers = 3;
  return {std::shared_ptr<const T3>(&tiny_t3(), [](const T3*) {}),
          std::make_shared<const T3>(wide, engine::StateDict::synthetic("wide T3", test_device()))};
}

TEST(GpuCudaT3, PromptsAndStepsAreCloseToFp32) {
  for (const auto& model : models()) {
    SCOPED_TRACE(model->config().hidden_size);
    at::manual_seed(6);
    CudaT3 half(*model);
    constexpr int rows = 5;
    constexpr int max_pages = 8;
    KvCache half_cache = half.make_cache(rows * max_pages);
    KvCache full_cache = model->make_cache(rows * max_pages);
    std::vector<Prompt> prompts;
    at::Tensor table = at::zeros({rows, max_pages}, at::kInt);
    at::Tensor positions = at::zeros({32}, at::kInt);
    at::Tensor expected_prefill = at::zeros({rows, model->config().speech_vocab_size}).to(test_device());
    for (int row = 0; row < rows; ++row) {
      prompts.push_back({(at::randn({40 + 29 * row, model->config().hidden_size}) * 0.1).to(test_device()), 0});
      const auto pages = full_cache.reserve(max_pages * KvCache::page_size);
      table[row].copy_(at::tensor(pages, at::kInt));
      expected_prefill[row].copy_(model->prefill(prompts.back().embeddings.unsqueeze(0), {pages}, full_cache)[0]);
      positions[row] = prompts.back().embeddings.size(0);
    }
    const at::Tensor on_device = table.to(test_device());
    const at::Tensor no_shared = at::zeros({32}, on_device.options());
    EXPECT_LT(
        relative_error(half.prefill(prompts, on_device, no_shared.narrow(0, 0, rows), half_cache).narrow(0, 0, rows),
                       expected_prefill),
        2e-2);

    const at::Tensor tokens = at::randint(0, 6561, {32}, at::kLong).to(test_device());
    const at::Tensor ones = at::ones({32}, at::kLong).to(test_device());
    const at::Tensor all_rows = at::constant_pad_nd(on_device, {0, 0, 0, 32 - rows}, KvCache::scratch_page);
    const at::Tensor expected =
        model->decode(tokens, ones, {all_rows, positions.to(test_device())}, full_cache).narrow(0, 0, rows);
    const at::Tensor actual = half.decode(at::arange(32, all_rows.options()),
                                          {tokens, ones, positions.to(test_device()), all_rows, no_shared}, half_cache);
    EXPECT_LT(relative_error(actual.narrow(0, 0, rows), expected), 2e-2);
  }
}

TEST(GpuCudaT3, APromptGoesOnFromWhatTheCacheHoldsToTheBit) {
  for (const auto& model : models()) {
    SCOPED_TRACE(model->config().hidden_size);
    at::manual_seed(9);
    CudaT3 half(*model);
    KvCache cache = half.make_cache(16);
    const at::Tensor prompt = (at::randn({150, model->config().hidden_size}) * 0.1).to(test_device());
    const at::Tensor other = (at::randn({77, model->config().hidden_size}) * 0.1).to(test_device());
    const at::Tensor table = at::tensor({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, at::kInt).view({2, 5}).to(test_device());
    const auto ints = [](std::initializer_list<int> values) { return at::tensor(values, at::kInt).to(test_device()); };
    const at::Tensor whole =
        half.prefill({{prompt, 0}, {other, 0}}, table, ints({0, 0}), cache).narrow(0, 0, 2).clone();
    // Two prompts share the first 70 positions: one writes them, the other begins behind them, in one call.
    const at::Tensor shared = ints({11, 12, 13, 14, 15, 16, 11, 12, 13, 4, 5, 6}).view({2, 6});
    const at::Tensor both = half.prefill({{prompt, 0}, {prompt.narrow(0, 70, 80), 70}}, shared, ints({70, 70}), cache);
    EXPECT_TRUE(at::equal(both[0], whole[0]));
    EXPECT_TRUE(at::equal(both[1], whole[0]));
    // And alone, from pages that were written before.
    const at::Tensor rest = half.prefill({{prompt.narrow(0, 64, 86), 64}}, table.narrow(0, 0, 1), ints({0}), cache);
    EXPECT_TRUE(at::equal(rest[0], whole[0]));
  }
}

/// Graphs are captured on a stream of their own.
class GpuCudaDecoder : public testing::Test {
protected:
  const engine::StageScope scope_{test_device(), engine::Stage::decode, 1};
};

TEST_F(GpuCudaDecoder, SameTokensInAnyCompanyToTheBit) {
  for (const auto& model : models()) {
    SCOPED_TRACE(model->config().hidden_size);
    const auto decoder = engine::cuda::make_cuda_decoder(*model, {24, 4000});
    expect_same_tokens_in_any_company(*decoder);
  }
}

TEST_F(GpuCudaDecoder, ForcedLengthsAreExactAndPagesComeBack) {
  const auto decoder = engine::cuda::make_cuda_decoder(tiny_t3(), {8, 60}); // room for a few at a time
  const auto requests = random_requests(60, 3);
  const Tokens tokens = decode_all(*decoder, requests);
  ASSERT_EQ(tokens.size(), requests.size());
  for (const DecodeRequest& request : requests) {
    if (request.forced) {
      EXPECT_EQ(static_cast<int>(tokens.at(request.id).size()), request.max_tokens) << request.id;
    }
  }
  EXPECT_EQ(decode_all(*decoder, requests), tokens) << "the second time in the same decoder";
}

TEST_F(GpuCudaDecoder, CancelLeavesTheOthersAlone) {
  const auto requests = random_requests(6, 6);
  const auto decoder = engine::cuda::make_cuda_decoder(tiny_t3(), {6, 4000});
  Tokens expected = decode_all(*decoder, requests);
  std::deque<DecodeRequest> waiting(requests.begin(), requests.end());
  EXPECT_EQ(decoder->admit(waiting), 6);
  EXPECT_TRUE(decoder->cancel(2));
  EXPECT_FALSE(decoder->cancel(2));
  Tokens tokens;
  while (decoder->active() > 0) {
    for (auto& result : decoder->step()) {
      tokens[result.id] = std::move(result.speech_tokens);
    }
  }
  expected.erase(2);
  EXPECT_EQ(tokens, expected);
}

TEST_F(GpuCudaDecoder, EightBitCacheGivesTheSameTokensInAnyCompanyToTheBit) {
  const auto decoder = engine::cuda::make_cuda_decoder(
      tiny_t3(), {.max_batch = 24, .num_pages = 4000, .cache_dtype = at::kFloat8_e4m3fn});
  expect_same_tokens_in_any_company(*decoder);
}

TEST_F(GpuCudaDecoder, UrgentRequestsGoFirst) {
  const auto decoder =
      engine::cuda::make_cuda_decoder(tiny_t3(), {.max_batch = 3, .num_pages = 4000, .reserve = {.places = 1}});
  expect_urgent_requests_go_first(*decoder);
}

} // namespace
} // namespace audiobookd::tests
