#include "tests/engine/decode_requests.h"

#include "tests/engine/t3_fixture.h"

#include <algorithm>
#include <deque>
#include <gtest/gtest.h>
#include <random>

namespace audiobookd::tests {

using engine::UtteranceId;
using engine::chatterbox::Decoder;
using engine::chatterbox::DecodeRequest;
using engine::chatterbox::DecodeResult;

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
    request.sampling.top_k = i % 7 == 3 ? 20 : 0;
    request.sampling.top_p = i % 5 == 2 ? 0.9f : 1.0f;
    request.random = engine::random_stream(42, {static_cast<std::uint64_t>(i), 7}, 0);
    request.max_tokens = integer(5, 90);
    request.forced = i % 6 != 5; // the others run until a stop token or the limit
    requests.push_back(std::move(request));
  }
  return requests;
}

Tokens decode_all(Decoder& decoder, const std::vector<DecodeRequest>& requests) {
  std::deque<DecodeRequest> waiting(requests.begin(), requests.end());
  Tokens tokens;
  while (!waiting.empty() || decoder.active() > 0) {
    decoder.admit(waiting);
    for (DecodeResult& result : decoder.step()) {
      tokens[result.id] = std::move(result.speech_tokens);
    }
  }
  return tokens;
}

void expect_same_tokens_in_any_company(Decoder& decoder) {
  const auto requests = random_requests(40, 1);
  Tokens alone;
  for (const DecodeRequest& request : requests) {
    alone.merge(decode_all(decoder, {request}));
  }
  ASSERT_EQ(alone.size(), requests.size());
  for (const unsigned seed : {1u, 2u, 3u}) { // in batches that are refilled as places become free
    SCOPED_TRACE("arrival order " + std::to_string(seed));
    auto shuffled = requests;
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(seed));
    EXPECT_EQ(decode_all(decoder, shuffled), alone);
  }
}

void expect_urgent_requests_go_first(Decoder& decoder) {
  auto requests = random_requests(4, 9);
  for (DecodeRequest& request : requests) {
    request.forced = true;
    request.max_tokens = 30;
  }
  const Tokens expected = decode_all(decoder, requests);
  requests[3].urgent = true;
  std::deque<DecodeRequest> waiting(requests.begin(), requests.begin() + 3);
  decoder.admit(waiting);
  EXPECT_EQ(decoder.active(), 2);
  ASSERT_EQ(waiting.size(), 1u) << "the reserve was taken";
  waiting.push_front(requests[3]);
  EXPECT_EQ(decoder.admit(waiting), 1);
  decoder.limit_step(1);
  Tokens tokens;
  const auto step = [&] {
    for (DecodeResult& result : decoder.step()) {
      tokens[result.id] = std::move(result.speech_tokens);
    }
  };
  while (tokens.empty()) {
    step();
  }
  EXPECT_EQ(tokens.count(3), 1u) << "the urgent one is done first";
  EXPECT_EQ(decoder.active(), 2);
  decoder.limit_step(3);
  while (!waiting.empty() || decoder.active() > 0) {
    decoder.admit(waiting);
    step();
  }
  EXPECT_EQ(tokens, expected);
}

} // namespace audiobookd::tests
