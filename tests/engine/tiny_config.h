// The dimensions of the tiny English checkpoint, read once for all tests.
#pragma once

#include "engine/models/chatterbox/config.h"
#include "tests/engine/golden.h"

namespace audiobookd::tests {

inline const engine::chatterbox::Config& tiny_config() {
  static const auto config = engine::chatterbox::Config::load(data_dir() / "checkpoints/tiny-english");
  return config;
}

} // namespace audiobookd::tests
