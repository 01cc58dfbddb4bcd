// How good bf16 on the GPU is: the same prompts and the same tokens through fp32, through plain PyTorch bf16 and
// through CudaT3, and against logits recorded from the reference.
//
// The model is the full-size one of the synthetic-weight formula, or that of the checkpoint folder which
// AUDIOBOOKD_TEST_CHECKPOINT names.
#include "engine/cuda/cuda_t3.h"
#include "engine/models/chatterbox/text_norm.h"
#include "tests/engine/t3_fixture.h"
#include "tests/engine/teacher_forcing.h"

#include <ATen/ATen.h>
#include <array>
#include <cstdlib>
#include <iostream>

namespace audiobookd::tests {
namespace {

using engine::KvCache;
using engine::StateDict;
using engine::chatterbox::Config;
using engine::chatterbox::T3;
using engine::chatterbox::Voice;
using engine::cuda::CudaT3;
using engine::cuda::Prompt;

class ForcedCudaT3 final : public ForcedModel {
public:
  ForcedCudaT3(const T3& model, int num_pages, at::ScalarType cache_dtype = at::kBFloat16)
      : model_(model), cache_(model_.make_cache(num_pages, cache_dtype)) {}
  at::Tensor prefill(const std::vector<at::Tensor>& prompts, const at::Tensor& block_table) override {
    std::vector<Prompt> rows;
    for (const at::Tensor& prompt : prompts) {
      rows.push_back({prompt[0], 0});
      rows.push_back({prompt[1], 0});
    }
    const auto count = static_cast<std::int64_t>(rows.size());
    return model_.prefill(rows, block_table.narrow(0, 0, count), nothing_shared(count, block_table), cache_);
  }
  at::Tensor decode(const Step& step) override {
    const at::Tensor all = at::arange(step.tokens.size(0), step.positions.options());
    return model_.decode(all,
                         {step.tokens, step.speech_positions, step.positions, step.block_table,
                          nothing_shared(step.block_table.size(0), step.block_table)},
                         cache_);
  }

private:
  static at::Tensor nothing_shared(std::int64_t sequences, const at::Tensor& block_table) {
    return at::zeros({sequences}, block_table.options());
  }
  CudaT3 model_;
  KvCache cache_;
};

/// Sentences of one word to a long paragraph.
constexpr std::array texts{
    "Yes.",
    "The lamp was lit at dusk, as on every evening.",
    "\"Who goes there?\" called the keeper; nobody answered.",
    "In 1874 the company bought three ships, and it lost two of them before the winter was over.",
    "She counted the steps again, a hundred and ninety-nine, and wrote the number into the book under the date.",
    "Rain had fallen on the windows facing north since morning, so that the harbour, the boats and the long grey wall "
    "of the mole could be told apart only when the light turned over them.",
    "Nothing in the letters explained why he had left. There was talk of a debt, of a brother in Trieste, of a quarrel "
    "about the price of oil; his wife, when she was asked, said that he had always been fond of walking.",
    "It is a curious fact that people who live beside the sea seldom look at it. They hear it, they smell it, they "
    "know "
    "by the sound of the shingle what the wind will do tomorrow; but ask one of them for its colour and he will turn "
    "his head, as a stranger would, and be surprised by what he sees there."};

/// The model under test and what its utterances are conditioned on.
struct Subject {
  Config config;
  std::filesystem::path checkpoint; // empty: the formula

  static Subject find() {
    const char* const folder = std::getenv("AUDIOBOOKD_TEST_CHECKPOINT");
    return folder == nullptr ? Subject{} : Subject{Config::load(folder), folder};
  }
  [[nodiscard]] T3 load() const {
    return {config.t3, checkpoint.empty()
                           ? StateDict::synthetic("full-size T3", test_device())
                           : StateDict::from_safetensors(checkpoint / "t3_cfg.safetensors", test_device())};
  }
  [[nodiscard]] ForcedUtterances utterances(const T3& model, int steps) const {
    const auto folder = checkpoint.empty() ? data_dir() / "checkpoints/tiny-english" : checkpoint;
    const auto tokenizer = engine::chatterbox::load_english_tokenizer(folder, config.t3);
    const Voice voice = Voice::from_conds(folder / "conds.pt", config, test_device());
    const at::Tensor conditioning = model.condition(voice.speaker_emb, voice.prompt_speech_tokens, voice.exaggeration);
    ForcedUtterances result{{}, steps};
    for (const char* text : texts) {
      const auto ids = engine::chatterbox::encode_english(tokenizer, engine::chatterbox::punc_norm(text));
      result.prompts.push_back(model.embed_utterance(conditioning, ids, true));
    }
    return result;
  }
};

TEST(GpuBf16Accuracy, LogitsAreAsCloseToFp32AsThoseOfPlainPyTorch) {
  const Subject subject = Subject::find();
  const T3 model = subject.load();
  const int start_token = subject.config.t3.start_speech_token;
  const ForcedUtterances utterances = subject.utterances(model, 125); // five seconds of speech each
  ForcedT3 exact(model, utterances.num_pages());
  const History history = draw_history(exact, utterances, start_token);
  ForcedCudaT3 half(model, utterances.num_pages());
  const LogitError ours = logit_error(force(half, utterances, history.tokens), history, start_token);
  const LogitError plain = logit_error(plain_bf16_logits(model, utterances, history.tokens), history, start_token);
  ForcedCudaT3 eight_bits(model, utterances.num_pages(), at::kFloat8_e4m3fn);
  const LogitError small = logit_error(force(eight_bits, utterances, history.tokens), history, start_token);
  std::cout << "CudaT3:             " << ours << "\nplain PyTorch bf16: " << plain << "\ncache of 8 bits:    " << small
            << '\n';
  EXPECT_LE(small.relative, 0.05);
  EXPECT_LE(small.mean_kl, 0.008);
  EXPECT_LE(ours.relative, 1.2 * plain.relative);
  EXPECT_EQ(ours.clear_flips, 0);
  EXPECT_GT(ours.clear, ours.positions / 4) << "the bound on most probable tokens says too little";
  EXPECT_LE(ours.mean_kl, 1.2 * 1.2 * plain.mean_kl) << "KL grows with the square of the error";
}

TEST(GpuBf16Accuracy, LogitsAreAsCloseToTheRecordedOnesAsThoseOfPlainPyTorch) {
  AUDIOBOOKD_REQUIRE_CASE("full_t3");
  const GoldenCase golden("full_t3");
  const Config config;
  const T3 model(config.t3, StateDict::synthetic("full-size T3", test_device()));
  const at::Tensor conditioning =
      model.condition(golden.on_device("speaker_emb").squeeze(0), golden.on_device("prompt_tokens").squeeze(0),
                      golden.at("emotion").flatten()[0].item<float>());
  const at::Tensor tokens = golden.at("tokens").to(at::kLong).view({-1, 1});
  const ForcedUtterances utterances{{model.embed_utterance(conditioning, to_ids(golden.at("text_ids")), true)},
                                    static_cast<int>(tokens.size(0))};
  const History recorded{golden.on_device("logits").unsqueeze(1), tokens};
  ForcedCudaT3 half(model, utterances.num_pages());
  const LogitError ours = logit_error(force(half, utterances, tokens), recorded, config.t3.start_speech_token);
  const LogitError plain =
      logit_error(plain_bf16_logits(model, utterances, tokens), recorded, config.t3.start_speech_token);
  std::cout << "CudaT3:             " << ours << "\nplain PyTorch bf16: " << plain << '\n';
  EXPECT_LE(ours.relative, 1.2 * plain.relative);
  EXPECT_EQ(ours.clear_flips, 0);
}

} // namespace
} // namespace audiobookd::tests
