// Continuous batching: an utterance gets the same tokens alone, in any company, in any order of arrival and after
// refill, to the bit; lengths, stops and cancellation.
#include "engine/models/chatterbox/aten_decoder.h"
#include "tests/engine/decode_requests.h"
#include "tests/engine/t3_fixture.h"

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

TEST(ValidSpeechTokens, DropsWhatTheReferenceDrops) {
  const engine::chatterbox::T3Config config;
  const auto valid = [&](std::vector<std::int32_t> drawn) { return valid_speech_tokens(drawn, config); };
  using V = std::vector<std::int32_t>;
  EXPECT_EQ(valid({1, 2, 6562}), (V{1, 2}));
  EXPECT_EQ(valid({1, 6561, 2, 3, 6562, 4}), (V{2, 3}));
  EXPECT_EQ(valid({5, 7000, 6, 6562}), (V{5, 6}));
  EXPECT_EQ(valid({5, 6}), (V{5, 6}));
  EXPECT_EQ(valid({6562}), V{});
}

} // namespace
} // namespace audiobookd::tests
