// Continuous batching: an utterance gets the same tokens alone, in any company, in any order of arrival and after
// refill, to the bit; lengths, stops and cancellation.
#include "engine/models/chatterbox/decoder.h"
#include "tests/engine/t3_fixture.h"

#include <algorithm>
#include <deque>
#include <map>
#include <random>

namespace audiobookd::tests {
namespace {

using engine::SamplingParams;
using engine::UtteranceId;
using engine::chatterbox::Decoder;
using engine::chatterbox::DecodeRequest;
using engine::chatterbox::DecodeResult;

using Tokens = std::map<UtteranceId, std::vector<std::int32_t>>;

std::vector<DecodeRequest> random_requests(int count, unsigned seed) {
  std::mt19937 random(seed);
  const auto integer = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  std::vector<DecodeRequest> requests;
  for (int i = 0; i < count; ++i) {
    DecodeRequest request;
    request.id = static_cast<UtteranceId>(i);
    for (int k = integer(3, 60); k > 0; --k) {
      request.text_ids.push_back(integer(3, 250));
    }
    request.voice = tiny_voice();
    request.exaggeration = i % 3 == 0 ? 0.9f : 0.5f;
    request.sampling.cfg_weight = i % 4 == 1 ? 0.0f : 0.5f; // one row or two
    request.sampling.top_p = i % 5 == 2 ? 0.9f : 1.0f;
    request.random = engine::random_stream(42, {static_cast<std::uint64_t>(i), 7}, 0);
    request.max_tokens = integer(5, 90);
    request.forced = i % 6 != 5; // the others run until a stop token or the limit
    requests.push_back(std::move(request));
  }
  return requests;
}

Tokens decode_all(const std::vector<DecodeRequest>& requests, int max_batch, int pages = 4000) {
  Decoder decoder(tiny_t3(), max_batch, pages);
  std::deque<DecodeRequest> waiting(requests.begin(), requests.end());
  Tokens tokens;
  while (!waiting.empty() || decoder.active() > 0) {
    while (!waiting.empty() && decoder.fits(waiting.front())) {
      decoder.admit(waiting.front());
      waiting.pop_front();
    }
    for (DecodeResult& result : decoder.step()) {
      tokens[result.id] = std::move(result.speech_tokens);
    }
  }
  return tokens;
}

void expect_same_tokens_in_any_company() {
  const auto requests = random_requests(40, 1);
  Tokens alone;
  for (const DecodeRequest& request : requests) {
    alone.merge(decode_all({request}, 24));
  }
  ASSERT_EQ(alone.size(), requests.size());
  for (const unsigned seed : {1u, 2u, 3u}) { // in batches that are refilled as places become free
    SCOPED_TRACE("arrival order " + std::to_string(seed));
    auto shuffled = requests;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(seed));
    EXPECT_EQ(decode_all(shuffled, 24), alone);
  }
}

TEST(Decoder, SameTokensInAnyCompanyToTheBit) { expect_same_tokens_in_any_company(); }
TEST(GpuDecoder, SameTokensInAnyCompanyToTheBit) { expect_same_tokens_in_any_company(); }

TEST(Decoder, SameTokensInAnyBatchSizeOnTheCpu) {
  const auto requests = random_requests(30, 2);
  const Tokens expected = decode_all(requests, 3);
  EXPECT_EQ(decode_all(requests, 1), expected);
  EXPECT_EQ(decode_all(requests, 17), expected);
  EXPECT_EQ(decode_all(requests, 30), expected);
}

TEST(Decoder, ForcedLengthsAreExactAndAllSpeech) {
  for (const auto& [id, tokens] : decode_all(random_requests(20, 3), 8)) {
    const DecodeRequest& request = random_requests(20, 3)[id];
    if (request.forced) {
      EXPECT_EQ(static_cast<int>(tokens.size()), request.max_tokens) << id;
    }
    EXPECT_TRUE(std::all_of(tokens.begin(), tokens.end(), [](int t) { return t >= 0 && t < 6561; })) << id;
  }
}

TEST(Decoder, WaitsForCachePagesInsteadOfEvicting) {
  const auto requests = random_requests(12, 4);
  EXPECT_EQ(decode_all(requests, 12, 24), decode_all(requests, 12)); // room for two or three at a time
}

TEST(Decoder, RefusesWhatCanNeverFit) {
  const Decoder decoder(tiny_t3(), 4, 3);
  DecodeRequest request = random_requests(1, 5).front();
  request.max_tokens = 400;
  EXPECT_THROW(static_cast<void>(decoder.fits(request)), std::invalid_argument);
}

TEST(Decoder, CancelFreesThePlaceAndLeavesTheOthersAlone) {
  const auto requests = random_requests(6, 6);
  const Tokens expected = decode_all(requests, 6);
  Decoder decoder(tiny_t3(), 6, 4000);
  for (const DecodeRequest& request : requests) {
    decoder.admit(request);
  }
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
