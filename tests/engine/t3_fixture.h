// The tiny English T3 on the device under test, made once for all its tests.
#pragma once

#include "engine/models/chatterbox/t3.h"
#include "engine/models/chatterbox/voice.h"
#include "tests/engine/golden.h"
#include "tests/engine/tiny_config.h"

namespace audiobookd::tests {

inline const engine::chatterbox::T3& tiny_t3() {
  static const engine::chatterbox::T3 model(tiny_config().t3, engine::StateDict::synthetic("tiny T3", test_device()));
  return model;
}

inline std::shared_ptr<const engine::chatterbox::Voice> tiny_voice() {
  static const auto voice = std::make_shared<const engine::chatterbox::Voice>(engine::chatterbox::Voice::from_conds(
      data_dir() / "checkpoints/tiny-english/conds.pt", tiny_config(), test_device()));
  return voice;
}

inline std::vector<std::int32_t> to_ids(const at::Tensor& tensor) {
  const at::Tensor ids = tensor.to(at::kCPU, at::kInt).flatten().contiguous();
  return {ids.const_data_ptr<std::int32_t>(), ids.const_data_ptr<std::int32_t>() + ids.numel()};
}

} // namespace audiobookd::tests
