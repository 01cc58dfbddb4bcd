#include "tests/engine/s3gen_fixture.h"

namespace audiobookd::tests {

engine::chatterbox::Config tiny_config() {
  return engine::chatterbox::Config::load(data_dir() / "checkpoints/tiny-english");
}

engine::StateDict tiny_weights() { return engine::StateDict::synthetic("tiny", test_device()); }

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

} // namespace audiobookd::tests
