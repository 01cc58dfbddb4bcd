// The shared parts of the S3Gen tests.
#include "tests/engine/s3gen_fixture.h"

namespace audiobookd::tests {

engine::StateDict tiny_weights() { return engine::StateDict::synthetic("tiny", test_device()); }

engine::chatterbox::S3Gen tiny_s3gen(const engine::chatterbox::S3GenOptions& options) {
  const auto& config = tiny_config();
  return {config.flow, config.hift, tiny_weights(), options};
}

Probed probe_into(const std::function<void(const engine::Probe&)>& body) {
  Probed seen;
  body([&seen](std::string_view name, const at::Tensor& value) { seen.emplace(name, value.clone()); });
  return seen;
}

at::Tensor prompted_tokens(const GoldenCase& golden, const std::string& unit) {
  return at::cat({golden.at("prompt_token").flatten(), golden.at(unit + ".tokens").flatten()}).to(test_device());
}

engine::chatterbox::SpeakerPrompt golden_prompt(const GoldenCase& golden) {
  return {golden.on_device("prompt_token").squeeze(0), golden.on_device("prompt_feat").squeeze(0),
          golden.on_device("embedding").squeeze(0)};
}

engine::chatterbox::SynthesisRequest golden_request(const GoldenCase& golden, const std::string& unit,
                                                    const engine::chatterbox::SpeakerPrompt& prompt) {
  const at::Tensor tokens = golden.at(unit + ".tokens").flatten().to(at::kInt);
  engine::chatterbox::SynthesisRequest request;
  request.speech_tokens.assign(tokens.data_ptr<std::int32_t>(), tokens.data_ptr<std::int32_t>() + tokens.numel());
  request.prompt = &prompt;
  engine::chatterbox::InjectedNoise noise;
  noise.flow = golden.on_device(unit + ".z").squeeze(0);
  if (golden.contains(unit + ".phase")) {
    noise.source_phase = golden.on_device(unit + ".phase").flatten();
    noise.source_noise = golden.on_device(unit + ".noise").squeeze(0);
  }
  request.noise = noise;
  return request;
}

} // namespace audiobookd::tests
