// A batch gives what each utterance alone gives: lengths far apart, several orders, voices, step counts and pass sizes.
#include "engine/kernels/philox_noise.h"
#include "engine/models/chatterbox/s3gen.h"
#include "tests/engine/golden.h"
#include "tests/engine/s3gen_fixture.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace audiobookd::tests {
namespace {

using engine::random_stream;
using engine::RandomPurpose;
using engine::RandomStream;
using engine::chatterbox::InjectedNoise;
using engine::chatterbox::S3Gen;
using engine::chatterbox::SpeakerPrompt;
using engine::chatterbox::SynthesisRequest;

constexpr std::int64_t one_pass = 1 << 20;

/// @p count speech tokens that depend on @p seed alone.
std::vector<std::int32_t> drawn_tokens(std::size_t count, std::uint32_t seed) {
  std::vector<std::int32_t> tokens;
  const RandomStream stream = random_stream(seed, {}, 0);
  for (std::size_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<std::int32_t>(
        engine::random_words(stream, RandomPurpose::t3_draw, 0, static_cast<std::uint32_t>(i)).word[0] % 6561));
  }
  return tokens;
}

SpeakerPrompt drawn_prompt(std::int64_t num_tokens, std::uint32_t seed) {
  const std::vector<std::int32_t> tokens = drawn_tokens(static_cast<std::size_t>(num_tokens), seed);
  const at::Tensor feat = at::empty({2 * num_tokens, 80});
  const at::Tensor embedding = at::empty({1, 192});
  engine::kernels::fill_normal(feat, random_stream(seed, {}, 1), RandomPurpose::flow_noise);
  engine::kernels::fill_normal(embedding, random_stream(seed, {}, 2), RandomPurpose::flow_noise);
  return {at::tensor(tokens, at::kInt).to(at::kLong).to(test_device()), feat.to(test_device()),
          embedding.squeeze(0).to(test_device())};
}

class S3GenBatch : public ::testing::Test {
protected:
  /// Utterances of 1 to 97 tokens with voices of 5 and 20 prompt tokens and 2 or 3 steps.
  void SetUp() override {
    std::uint32_t seed = 100;
    for (const std::size_t length : {97u, 1u, 40u, 3u, 41u, 13u}) {
      SynthesisRequest request;
      request.speech_tokens = drawn_tokens(length, ++seed);
      request.prompt = &voices_[seed % 2];
      request.cfm_steps = length == 3 || length == 41 ? 3 : 2;
      request.noise = random_stream(7, {seed, 0}, 0);
      requests_.push_back(request);
    }
  }

  static std::vector<float> alone(S3Gen& s3gen, const SynthesisRequest& request) {
    return s3gen.synthesize(std::span(&request, 1)).waveforms.at(0);
  }

  const c10::InferenceMode inference_;
  const SpeakerPrompt voices_[2] = {drawn_prompt(5, 1), drawn_prompt(20, 2)};
  std::vector<SynthesisRequest> requests_;
};

/// The end-to-end tolerance of the goldens: the phase of the harmonics drifts with the last bits of F0.
void expect_same_audio(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  EXPECT_TENSOR_NEAR(at::tensor(found), at::tensor(expected), 5e-2);
  EXPECT_GT(signal_to_noise_db(at::tensor(found), at::tensor(expected)), 30);
}

TEST_F(S3GenBatch, OnePassGivesWhatEachUtteranceAloneGivesInAnyOrder) {
  S3Gen s3gen = tiny_s3gen({.frames_per_pass = one_pass});
  std::vector<std::vector<float>> expected;
  for (const SynthesisRequest& request : requests_) {
    expected.push_back(alone(s3gen, request));
  }
  std::vector<std::size_t> order(requests_.size());
  std::iota(order.begin(), order.end(), 0);
  for (int turn = 0; turn < 3; ++turn) {
    SCOPED_TRACE("order " + std::to_string(turn));
    std::vector<SynthesisRequest> batch;
    for (const std::size_t i : order) {
      batch.push_back(requests_[i]);
    }
    const auto result = s3gen.synthesize(batch);
    for (std::size_t i = 0; i < order.size(); ++i) {
      SCOPED_TRACE("utterance " + std::to_string(order[i]));
      EXPECT_EQ(result.waveforms[i].size(), 960 * batch[i].speech_tokens.size());
      expect_same_audio(result.waveforms[i], expected[order[i]]);
    }
    std::rotate(order.begin(), order.begin() + 1, order.end());
    std::swap(order.front(), order.back());
  }
}

TEST_F(S3GenBatch, MelSpectrogramsOfOnePassMatchThoseOfEachUtterance) {
  S3Gen s3gen = tiny_s3gen();
  std::vector<const SynthesisRequest*> pass;
  for (const SynthesisRequest& request : requests_) {
    if (request.cfm_steps == 2) {
      pass.push_back(&request);
    }
  }
  engine::chatterbox::StageSeconds seconds;
  const std::vector<at::Tensor> together = s3gen.mel_spectrograms(pass, seconds);
  for (std::size_t i = 0; i < pass.size(); ++i) {
    EXPECT_TENSOR_NEAR(together[i], s3gen.mel_spectrograms(std::span(&pass[i], 1), seconds).at(0), 2e-4);
  }
}

TEST_F(S3GenBatch, VocoderPaddingIsNotHeard) {
  const S3Gen s3gen = tiny_s3gen();
  std::vector<at::Tensor> mels, sources;
  std::vector<std::int64_t> lengths;
  for (const std::int64_t frames : {2, 61, 194}) {
    at::Tensor mel = at::empty({80, frames});
    at::Tensor source = at::empty({1, 480 * frames});
    engine::kernels::fill_normal(mel, random_stream(1, {}, static_cast<std::uint32_t>(frames)),
                                 RandomPurpose::flow_noise);
    engine::kernels::fill_normal(source, random_stream(2, {}, static_cast<std::uint32_t>(frames)),
                                 RandomPurpose::source_noise);
    mels.push_back(mel.to(test_device()));
    sources.push_back(source.squeeze(0).mul(0.1).to(test_device()));
    lengths.push_back(frames);
  }
  const at::Tensor padded = at::zeros({3, 80, 194}, test_device());
  for (std::int64_t i = 0; i < 3; ++i) {
    padded[i].narrow(1, 0, lengths[i]).copy_(mels[i]);
  }
  const std::vector<at::Tensor> together = s3gen.vocoder().decode(padded, lengths, sources);
  for (std::size_t i = 0; i < 3; ++i) {
    SCOPED_TRACE(lengths[i]);
    const at::Tensor single = s3gen.vocoder().decode(mels[i].unsqueeze(0), {&lengths[i], 1}, {&sources[i], 1}).at(0);
    EXPECT_TENSOR_NEAR(together[i], single, 5e-5);
  }
}

TEST_F(S3GenBatch, OnTheCpuCompanyDoesNotChangeABit) {
  const auto& config = tiny_config();
  S3Gen s3gen(config.flow, config.hift, engine::StateDict::synthetic("tiny", at::kCPU));
  std::vector<SpeakerPrompt> voices;
  for (const SynthesisRequest& request : requests_) {
    const SpeakerPrompt& voice = *request.prompt;
    voices.push_back({voice.prompt_token.cpu(), voice.prompt_feat.cpu(), voice.embedding.cpu()});
  }
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    requests_[i].prompt = &voices[i];
  }
  const auto together = s3gen.synthesize(requests_);
  for (std::size_t i = 0; i < requests_.size(); ++i) {
    EXPECT_TRUE(together.waveforms[i] == alone(s3gen, requests_[i])) << "utterance " << i;
  }
}

TEST_F(S3GenBatch, DrawnNoiseIsTheInjectedNoiseOfItsStream) {
  S3Gen s3gen = tiny_s3gen();
  const SynthesisRequest& drawn = requests_[5];
  const RandomStream stream = std::get<RandomStream>(drawn.noise);
  const auto tokens = static_cast<std::int64_t>(drawn.speech_tokens.size());
  InjectedNoise noise{at::empty({80, 2 * tokens + drawn.prompt->prompt_feat.size(0)}), at::empty({9}),
                      at::empty({9, 960 * tokens})};
  engine::kernels::fill_normal(noise.flow, stream, RandomPurpose::flow_noise);
  engine::kernels::fill_normal(noise.source_noise, stream, RandomPurpose::source_noise);
  for (std::uint32_t k = 0; k < 9; ++k) {
    noise.source_phase[k] = (2 * engine::uniform(stream, RandomPurpose::source_phase, 0, k) - 1) * M_PI;
  }
  SynthesisRequest injected = drawn;
  injected.noise = InjectedNoise{noise.flow.to(test_device()), noise.source_phase.to(test_device()),
                                 noise.source_noise.to(test_device())};
  expect_same_audio(alone(s3gen, injected), alone(s3gen, drawn));
}

TEST_F(S3GenBatch, SeedStepsAndVoiceAreHeard) {
  S3Gen s3gen = tiny_s3gen();
  const SynthesisRequest& original = requests_[3];
  const std::vector<float> audio = alone(s3gen, original);
  EXPECT_EQ(alone(s3gen, original), audio);
  SynthesisRequest changed = original;
  changed.noise = random_stream(8, {}, 0);
  EXPECT_NE(alone(s3gen, changed), audio);
  changed = original;
  changed.cfm_steps += 1;
  EXPECT_NE(alone(s3gen, changed), audio);
  changed = original;
  changed.prompt = original.prompt == &voices_[0] ? &voices_[1] : &voices_[0];
  EXPECT_NE(alone(s3gen, changed), audio);
}

TEST_F(S3GenBatch, StageSecondsCoverTheCall) {
  S3Gen s3gen = tiny_s3gen();
  const auto seconds = s3gen.synthesize(requests_).seconds;
  EXPECT_GT(seconds.encoder, 0);
  EXPECT_GT(seconds.cfm, 0);
  EXPECT_GT(seconds.vocoder, 0);
}

class S3GenRequests : public S3GenBatch {
protected:
  /// synthesize() of the requests with @p spoil applied to the second must refuse and say @p expected.
  void expect_refused(const std::function<void(SynthesisRequest&)>& spoil, const std::string& expected) {
    S3Gen s3gen = tiny_s3gen();
    spoil(requests_[1]);
    try {
      (void)s3gen.synthesize(requests_);
      FAIL() << "accepted; expected: " << expected;
    } catch (const std::invalid_argument& error) {
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  }
};

TEST_F(S3GenRequests, TokensOutOfRangeAreRefusedWithValueAndPosition) {
  expect_refused(
      [](SynthesisRequest& r) {
        r.speech_tokens = {5, 6, 6561};
      },
      "synthesis request 1: speech token at position 2: expected 0 to 6560, found 6561");
  expect_refused(
      [](SynthesisRequest& r) {
        r.speech_tokens = {-1, 6};
      },
      "synthesis request 1: speech token at position 0: expected 0 to 6560, found -1");
}

TEST_F(S3GenRequests, NoTokensAreRefused) {
  expect_refused([](SynthesisRequest& r) { r.speech_tokens.clear(); },
                 "synthesis request 1: expected at least one speech token");
}

TEST_F(S3GenRequests, StepCountsBelowOneAreRefused) {
  expect_refused([](SynthesisRequest& r) { r.cfm_steps = 0; }, "cfm_steps: expected at least 1, found 0");
}

TEST_F(S3GenRequests, AMissingVoiceIsRefused) {
  expect_refused([](SynthesisRequest& r) { r.prompt = nullptr; }, "prompt: expected a voice, found none");
}

TEST_F(S3GenRequests, APromptOfWrongShapeIsRefused) {
  SpeakerPrompt odd = voices_[0];
  odd.prompt_feat = odd.prompt_feat.narrow(0, 0, 9);
  expect_refused([&](SynthesisRequest& r) { r.prompt = &odd; }, "prompt_feat: expected shape [10, 80], found [9, 80]");
}

TEST_F(S3GenRequests, InjectedNoiseOfWrongShapeIsRefused) {
  expect_refused(
      [](SynthesisRequest& r) {
        r.noise = InjectedNoise{at::zeros({80, 3}), at::zeros({9}), {}};
      },
      "flow noise: expected shape [80, ");
}

TEST_F(S3GenRequests, NothingGivesNothing) {
  S3Gen s3gen = tiny_s3gen();
  EXPECT_TRUE(s3gen.synthesize({}).waveforms.empty());
}

} // namespace
} // namespace audiobookd::tests
