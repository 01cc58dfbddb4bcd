// The watched heads of the bf16 decoder: the kernel against ATen, the decoder against scores computed apart from it.
#include "engine/cuda/attended_text.h"
#include "engine/cuda/cuda_decoder.h"
#include "engine/device.h"
#include "engine/layers/kv_cache.h"
#include "engine/layers/llama.h"
#include "tests/engine/decode_requests.h"
#include "tests/engine/layer_0_attention.h"
#include "tests/engine/t3_fixture.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <random>

namespace audiobookd::tests {
namespace {

using engine::KvCache;
using engine::TextWatch;
using engine::chatterbox::DecodeRequest;
using engine::chatterbox::DecodeResult;
using engine::cuda::Pages;

constexpr int num_sequences = 40;
constexpr int max_pages = 9;
constexpr int text_begin = 34;
constexpr int untouched = -7;

at::Tensor on_device(const std::vector<int>& values) { return at::tensor(values, at::kInt).to(test_device()); }

/// Sequences that share nothing, the first pages, or all up to the middle of their text.
Pages random_pages(int heads, int dim) {
  std::vector<int> shared;
  for (int sequence = 0; sequence < num_sequences; ++sequence) {
    shared.push_back(std::array{0, 32, text_begin, 70}[sequence % 4]);
  }
  const at::Tensor table = 1 + at::randperm(num_sequences * max_pages, at::kLong);
  return {random_bf16({num_sequences * max_pages + 1, heads, KvCache::page_size, dim}),
          random_bf16({num_sequences * max_pages + 1, heads, KvCache::page_size, dim}),
          table.view({num_sequences, max_pages}).to(test_device(), at::kInt), on_device(shared)};
}

/// The oracle for one row. @param query [dim], not rotated
int attended(const Pages& pages, const at::Tensor& query, const at::Tensor& table, int sequence, int head, int length) {
  const at::Tensor positions = on_device(std::vector<int>(static_cast<std::size_t>(length), text_begin)) +
                               at::arange(length, at::TensorOptions(at::kInt).device(test_device()));
  const at::Tensor keys =
      engine::cuda::gather_pages(pages, positions, at::full_like(positions, sequence)).keys.select(1, head);
  const std::int64_t half = query.size(0) / 2;
  const at::Tensor q = query.to(at::kDouble);
  const at::Tensor cos = table.narrow(0, 0, half).to(at::kDouble);
  const at::Tensor sin = table.narrow(0, half, half).to(at::kDouble);
  const at::Tensor rotated = at::cat({q.narrow(0, 0, half) * cos - q.narrow(0, half, half) * sin,
                                      q.narrow(0, half, half) * cos + q.narrow(0, 0, half) * sin});
  return static_cast<int>(at::mv(keys.to(at::kDouble), rotated).argmax().item<std::int64_t>());
}

TEST(GpuAttendedText, MatchesAtenOverSharedAndOwnPages) {
  for (const auto& [heads, dim] : {std::pair{4, 16}, {3, 64}, {2, 128}}) {
    SCOPED_TRACE(std::to_string(heads) + " heads of " + std::to_string(dim));
    at::manual_seed(41);
    const Pages pages = random_pages(heads, dim);
    const at::Tensor rope = engine::llama3_rope_table(max_pages * KvCache::page_size, dim).to(test_device());
    const at::Tensor qkv = random_bf16({num_sequences, 3 * heads * dim});
    const at::Tensor sequences = at::randperm(num_sequences, at::kLong).to(at::kInt);
    const at::Tensor lengths = at::randint(1, 150, {num_sequences}, at::kInt);
    lengths.slice(0, 0, {}, 6).fill_(0); // not watched
    const at::Tensor positions = at::randint(200, 240, {num_sequences}, at::kInt);
    positions.slice(0, 0, {}, 7).fill_(-1); // parked
    const TextWatch watch{{{0, 0}, {0, heads - 1}},
                          text_begin,
                          lengths.to(test_device()),
                          at::full({num_sequences, 2}, untouched, lengths.options().device(test_device()))};
    engine::cuda::attended_text(qkv, rope, positions.to(test_device()), sequences.to(test_device()), pages, watch, 1);
    for (int row = 0; row < num_sequences; ++row) {
      const int sequence = sequences[row].item<int>();
      const int length = lengths[sequence].item<int>();
      const int position = positions[row].item<int>();
      const at::Tensor query = qkv[row].view({3, heads, dim})[0][heads - 1];
      EXPECT_EQ(watch.attended[sequence][0].item<int>(), untouched);
      EXPECT_EQ(watch.attended[sequence][1].item<int>(),
                length == 0 || position < 0 ? untouched
                                            : attended(pages, query, rope[position], sequence, heads - 1, length))
          << "row " << row;
    }
  }
}

TEST(GpuAttendedText, OfEqualPositionsTheFirst) {
  at::manual_seed(42);
  Pages pages = random_pages(2, 64);
  pages.keys.fill_(0.5f);
  const at::Tensor rope = engine::llama3_rope_table(max_pages * KvCache::page_size, 64).to(test_device());
  const TextWatch watch{{{0, 1}},
                        text_begin,
                        on_device(std::vector<int>(num_sequences, 140)),
                        on_device(std::vector<int>(num_sequences, untouched)).unsqueeze(1)};
  const at::Tensor rows = at::arange(num_sequences, watch.lengths.options());
  engine::cuda::attended_text(random_bf16({num_sequences, 3 * 2 * 64}), rope, at::full_like(rows, 200), rows, pages,
                              watch, 0);
  EXPECT_TRUE(at::equal(watch.attended, at::zeros_like(watch.attended)));
}

/// Graphs are captured on a stream of their own.
class GpuCudaAlignment : public testing::Test {
protected:
  using Results = std::map<engine::UtteranceId, DecodeResult>;

  static Results decode(const std::vector<DecodeRequest>& requests, std::vector<engine::AttentionHead> heads) {
    const auto decoder = engine::cuda::make_cuda_decoder(
        tiny_t3(), {.max_batch = 10, .num_pages = 4000, .alignment_heads = std::move(heads)});
    std::deque<DecodeRequest> waiting(requests.begin(), requests.end());
    Results results;
    while (!waiting.empty() || decoder->active() > 0) {
      decoder->admit(waiting);
      for (DecodeResult& result : decoder->step()) {
        results[result.id] = std::move(result);
      }
    }
    return results;
  }

  /// Of forced lengths: every token drawn is a result, so positions can be compared one by one.
  static std::vector<DecodeRequest> requests() {
    auto list = random_requests(24, 9);
    for (DecodeRequest& request : list) {
      request.forced = true;
    }
    return list;
  }

  const engine::StageScope scope_{test_device(), engine::Stage::decode, 1};
};

TEST_F(GpuCudaAlignment, IsWhatTheHeadsAttendTo) {
  const auto list = requests();
  for (const auto& [id, result] : decode(list, {{1, 2}, {0, 1}, {0, 3}})) {
    SCOPED_TRACE(id);
    ASSERT_EQ(result.alignment.num_heads, 3u);
    EXPECT_EQ(result.alignment.text_length, static_cast<int>(list[id].text_ids.size()) + 2);
    ASSERT_EQ(result.alignment.positions.size(), 3 * result.speech_tokens.size());
    for (const auto& [column, head] : {std::pair{1u, 1}, {2u, 3}}) {
      const at::Tensor scores = layer_0_text_scores(tiny_t3(), list[id], result.speech_tokens, head);
      const at::Tensor seen = at::tensor(attended_by(result.alignment, column), at::kLong);
      EXPECT_EQ(seen[0].item<std::int64_t>(), -1);
      // bf16 may choose another of nearly equal positions: 3 roundings of 2^-9 each, against the spread of the scores.
      const at::Tensor missed = scores.amax(1) - scores.gather(1, seen.slice(0, 1).unsqueeze(1)).squeeze(1);
      EXPECT_LE((missed / scores.std(1)).max().item<double>(), 0.05) << "head " << head;
    }
  }
}

TEST_F(GpuCudaAlignment, ChangesNoTokenAndDoesNotDependOnTheCompany) {
  auto list = requests();
  const Results unwatched = decode(list, {});
  const Results watched = decode(list, {{0, 0}, {1, 3}});
  std::shuffle(list.begin(), list.end(), std::mt19937(4));
  const Results shuffled = decode(list, {{0, 0}, {1, 3}});
  ASSERT_EQ(unwatched.size(), list.size());
  for (const auto& [id, result] : unwatched) {
    EXPECT_EQ(watched.at(id).speech_tokens, result.speech_tokens) << id;
    EXPECT_EQ(watched.at(id).alignment.positions, shuffled.at(id).alignment.positions) << id;
    EXPECT_EQ(result.alignment.num_heads, 0u);
    EXPECT_TRUE(result.alignment.positions.empty());
  }
}

TEST_F(GpuCudaAlignment, NamesAHeadThatDoesNotExist) {
  EXPECT_THROW(decode({}, {{0, 99}}), std::invalid_argument);
  EXPECT_THROW(decode({}, {{99, 0}}), std::invalid_argument);
}

} // namespace
} // namespace audiobookd::tests
