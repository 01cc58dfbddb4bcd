// Continuous batching: an utterance gets the same tokens alone, in any company, in any order of arrival and after
// refill, to the bit; lengths, stops and cancellation.
#include "engine/models/chatterbox/aten_decoder.h"
#include "tests/engine/decode_requests.h"
#include "tests/engine/layer_0_attention.h"
#include "tests/engine/t3_fixture.h"

#include <ATen/ATen.h>
#include <algorithm>
#include <deque>

namespace audiobookd::tests {
namespace {

using engine::chatterbox::AtenDecoder;
using engine::chatterbox::DecodeRequest;
using engine::chatterbox::DecodeResult;

Tokens decode_on_cpu(const std::vector<DecodeRequest>& requests, int max_batch, int pages = 4000) {
  AtenDecoder decoder(tiny_t3(), max_batch, pages);
  return decode_all(decoder, requests);
}

TEST(Decoder, SameTokensInAnyCompanyToTheBit) {
  AtenDecoder decoder(tiny_t3(), 24, 4000);
  expect_same_tokens_in_any_company(decoder);
}

TEST(GpuDecoder, SameTokensInAnyCompanyToTheBit) {
  AtenDecoder decoder(tiny_t3(), 24, 4000);
  expect_same_tokens_in_any_company(decoder);
}

TEST(Decoder, SameTokensInAnyBatchSizeOnTheCpu) {
  const auto requests = random_requests(30, 2);
  const Tokens expected = decode_on_cpu(requests, 3);
  EXPECT_EQ(decode_on_cpu(requests, 1), expected);
  EXPECT_EQ(decode_on_cpu(requests, 17), expected);
  EXPECT_EQ(decode_on_cpu(requests, 30), expected);
}

TEST(Decoder, ForcedLengthsAreExactAndAllSpeech) {
  const auto requests = random_requests(20, 3);
  for (const auto& [id, tokens] : decode_on_cpu(requests, 8)) {
    const DecodeRequest& request = requests[id];
    if (request.forced) {
      EXPECT_EQ(static_cast<int>(tokens.size()), request.max_tokens) << id;
    }
    EXPECT_TRUE(std::all_of(tokens.begin(), tokens.end(), [](int t) { return t >= 0 && t < 6561; })) << id;
  }
}

TEST(Decoder, WaitsForCachePagesInsteadOfEvicting) {
  const auto requests = random_requests(12, 4);
  EXPECT_EQ(decode_on_cpu(requests, 12, 24), decode_on_cpu(requests, 12)); // room for two or three at a time
}

TEST(Decoder, RefusesWhatCanNeverFit) {
  AtenDecoder decoder(tiny_t3(), 4, 3);
  std::deque<DecodeRequest> waiting{random_requests(1, 5).front()};
  waiting.front().max_tokens = 400;
  EXPECT_THROW(decoder.admit(waiting), std::invalid_argument);
  EXPECT_EQ(waiting.size(), 1u) << "it was lost";
}

TEST(Decoder, TheCacheCanBeReplaced) {
  const auto requests = random_requests(12, 4);
  AtenDecoder decoder(tiny_t3(), 12, 4000);
  const Tokens expected = decode_all(decoder, requests);
  decoder.resize_cache(0);
  std::deque<DecodeRequest> waiting{requests.front()};
  EXPECT_THROW(decoder.admit(waiting), std::invalid_argument) << "there is no cache";
  decoder.resize_cache(24); // room for two or three at a time
  EXPECT_EQ(decode_all(decoder, requests), expected);
}

TEST(Decoder, CancelFreesThePlaceAndLeavesTheOthersAlone) {
  const auto requests = random_requests(6, 6);
  const Tokens expected = decode_on_cpu(requests, 6);
  AtenDecoder decoder(tiny_t3(), 6, 4000);
  std::deque<DecodeRequest> waiting(requests.begin(), requests.end());
  EXPECT_EQ(decoder.admit(waiting), 6);
  EXPECT_TRUE(decoder.cancel(2));
  EXPECT_FALSE(decoder.cancel(2));
  EXPECT_EQ(decoder.free_places(), 1);
  Tokens tokens;
  while (decoder.active() > 0) {
    for (DecodeResult& result : decoder.step()) {
      tokens[result.id] = std::move(result.speech_tokens);
    }
  }
  EXPECT_EQ(tokens.count(2), 0u);
  for (const auto& [id, list] : tokens) {
    EXPECT_EQ(list, expected.at(id)) << id;
  }
  EXPECT_EQ(tokens.size(), 5u);
}

TEST(DecoderAlignment, IsWhatTheHeadsAttendToAndChangesNoToken) {
  auto requests = random_requests(12, 9);
  for (DecodeRequest& request : requests) {
    request.forced = true; // every token drawn is a result: tokens and positions can be compared one by one
  }
  const Tokens expected = decode_on_cpu(requests, 5);
  AtenDecoder decoder(tiny_t3(), 5, 4000, {{1, 2}, {0, 1}, {0, 3}});
  std::deque<DecodeRequest> waiting(requests.begin(), requests.end());
  while (!waiting.empty() || decoder.active() > 0) {
    decoder.admit(waiting);
    for (const DecodeResult& result : decoder.step()) {
      SCOPED_TRACE(result.id);
      const DecodeRequest& request = requests[result.id];
      EXPECT_EQ(result.speech_tokens, expected.at(result.id));
      ASSERT_EQ(result.alignment.num_heads, 3u);
      EXPECT_EQ(result.alignment.text_length, static_cast<int>(request.text_ids.size()) + 2);
      ASSERT_EQ(result.alignment.positions.size(), 3 * result.speech_tokens.size());
      for (const auto& [column, head] : {std::pair{1u, 1}, {2u, 3}}) {
        const at::Tensor expected_positions =
            layer_0_text_scores(tiny_t3(), request, result.speech_tokens, head).argmax(1);
        const std::vector<std::int32_t> seen = attended_by(result.alignment, column);
        EXPECT_EQ(seen.front(), -1);
        EXPECT_TRUE(at::equal(at::tensor(seen, at::kLong).slice(0, 1), expected_positions)) << "head " << head;
      }
    }
  }
}

TEST(DecoderAlignment, NamesAHeadThatDoesNotExist) {
  for (const engine::AttentionHead head : {engine::AttentionHead{-1, 0}, {99, 0}, {0, -1}, {0, 99}}) {
    EXPECT_THROW(AtenDecoder(tiny_t3(), 2, 100, {head}), std::invalid_argument) << head.layer << ", " << head.head;
  }
}

TEST(MakeResult, DropsThePositionsOfDroppedTokens) {
  DecodeRequest request;
  request.id = 5;
  request.text_ids = {7, 8, 9};
  const auto result =
      engine::chatterbox::make_result(request, {1, 7000, 2, 6562}, {-1, -1, 10, 11, 20, 21, 30, 31}, {});
  EXPECT_EQ(result.id, 5u);
  EXPECT_EQ(result.speech_tokens, (std::vector<std::int32_t>{1, 2}));
  EXPECT_FALSE(result.hit_token_limit);
  EXPECT_EQ(result.alignment.num_heads, 2u);
  EXPECT_EQ(result.alignment.text_length, 5);
  EXPECT_EQ(result.alignment.positions, (std::vector<std::int32_t>{-1, -1, 20, 21}));
}

TEST(ValidSpeechTokens, DropsWhatTheReferenceDrops) {
  const engine::chatterbox::T3Config config;
  const auto valid = [&](const std::vector<std::int32_t>& drawn) { return valid_speech_tokens(drawn, config); };
  using V = std::vector<std::int32_t>;
  EXPECT_EQ(valid({1, 2, 6562}), (V{1, 2}));
  EXPECT_EQ(valid({1, 6561, 2, 3, 6562, 4}), (V{2, 3}));
  EXPECT_EQ(valid({5, 7000, 6, 6562}), (V{5, 6}));
  EXPECT_EQ(valid({5, 6}), (V{5, 6}));
  EXPECT_EQ(valid({6562}), V{});
}

TEST(Decoder, UrgentRequestsGoFirst) {
  AtenDecoder decoder(tiny_t3(), 3, 4000, {}, {.places = 1});
  expect_urgent_requests_go_first(decoder);
}

TEST(DecoderReserve, IsForUrgentRequestsAndForWhoeverIsAlone) {
  engine::chatterbox::DecodeRequest request;
  const engine::chatterbox::Reserve reserve{.places = 2, .pages = 10};
  const auto enters = [&](int pages, int active, int free_places, int free_pages) {
    return may_enter(request, pages, active, free_places, free_pages, reserve);
  };
  EXPECT_TRUE(enters(5, 1, 3, 15));
  EXPECT_FALSE(enters(6, 1, 3, 15)) << "pages of the reserve";
  EXPECT_FALSE(enters(5, 1, 2, 15)) << "a place of the reserve";
  EXPECT_TRUE(enters(15, 0, 2, 15)) << "nobody else is there";
  EXPECT_FALSE(enters(16, 0, 2, 15));
  request.urgent = true;
  EXPECT_TRUE(enters(15, 1, 1, 15));
  EXPECT_FALSE(enters(16, 1, 1, 15));
  EXPECT_FALSE(enters(1, 1, 0, 15));
}

} // namespace
} // namespace audiobookd::tests
