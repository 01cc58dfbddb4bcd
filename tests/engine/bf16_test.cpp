// T3 with bf16 matrices on the CPU: as close to fp32 as plain PyTorch bf16, and the same tokens in any company to the
// bit. It runs on every CPU; on one without bf16 instructions only slower.
#include "engine/models/chatterbox/aten_decoder.h"
#include "tests/engine/decode_requests.h"
#include "tests/engine/t3_fixture.h"
#include "tests/engine/teacher_forcing.h"

#include <ATen/ATen.h>
#include <iostream>

namespace audiobookd::tests {
namespace {

using engine::StateDict;
using engine::chatterbox::AtenDecoder;
using engine::chatterbox::T3;

T3 tiny_half_t3() { return {tiny_config().t3, StateDict::synthetic("tiny T3", test_device()), at::kBFloat16}; }

TEST(Bf16T3, LogitsAreAsCloseToFp32AsThoseOfPlainPyTorch) {
  const T3& exact_model = tiny_t3();
  const T3 half_model = tiny_half_t3();
  const int start_token = exact_model.config().start_speech_token;
  const auto voice = tiny_voice();
  const at::Tensor conditioning = exact_model.condition(voice->speaker_emb, voice->prompt_speech_tokens, 0.5f);
  ForcedUtterances utterances{{}, 40};
  for (const auto& request : random_requests(8, 9)) {
    utterances.prompts.push_back(exact_model.embed_utterance(conditioning, request.text_ids, true));
  }
  ForcedT3 exact(exact_model, utterances.num_pages());
  const History history = draw_history(exact, utterances, start_token);
  ForcedT3 half(half_model, utterances.num_pages());
  const LogitError ours = logit_error(force(half, utterances, history.tokens), history, start_token);
  const LogitError plain =
      logit_error(plain_bf16_logits(exact_model, utterances, history.tokens), history, start_token);
  std::cout << "T3 in bf16:         " << ours << "\nplain PyTorch bf16: " << plain << '\n';
  EXPECT_GT(ours.relative, 1e-4) << "this was not bf16";
  EXPECT_LE(ours.relative, 1.2 * plain.relative);
  EXPECT_LE(ours.mean_kl, 1.2 * 1.2 * plain.mean_kl) << "KL grows with the square of the error";
}

TEST(Bf16T3, SameTokensInAnyCompanyToTheBit) {
  const T3 model = tiny_half_t3();
  AtenDecoder decoder(model, 24, 4000);
  expect_same_tokens_in_any_company(decoder);
}

} // namespace
} // namespace audiobookd::tests
