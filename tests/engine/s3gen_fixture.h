// What the tests of S3Gen share: the tiny model, golden inputs in the engine's layout, a probe that keeps everything.
#pragma once

#include "engine/layers/probe.h"
#include "engine/models/chatterbox/s3gen.h"
#include "engine/models/chatterbox/voice.h"
#include "engine/state_dict.h"
#include "tests/engine/golden.h"
#include "tests/engine/tiny_config.h"

#include <functional>
#include <map>
#include <string>

namespace audiobookd::tests {

/// The weights of the tiny English checkpoint on test_device(), made by the formula.
engine::StateDict tiny_weights();

/// The tiny S3Gen on test_device().
engine::chatterbox::S3Gen tiny_s3gen(const engine::chatterbox::S3GenOptions& options = {});

/// Clones of everything that a probe saw, by name.
using Probed = std::map<std::string, at::Tensor, std::less<>>;
/// Runs @p body with a probe and returns what the probe saw.
Probed probe_into(const std::function<void(const engine::Probe&)>& body);

/// "prompt_token" of the case followed by "unit.tokens", [n] int64 on test_device().
at::Tensor prompted_tokens(const GoldenCase& golden, const std::string& unit);
/// "prompt_token", "prompt_feat" and "embedding" of the case on test_device().
engine::chatterbox::SpeakerPrompt golden_prompt(const GoldenCase& golden);
/// "unit.tokens" with its recorded noise; noise that the case does not hold stays undefined. @p prompt must outlive it.
engine::chatterbox::SynthesisRequest golden_request(const GoldenCase& golden, const std::string& unit,
                                                    const engine::chatterbox::SpeakerPrompt& prompt);

} // namespace audiobookd::tests
