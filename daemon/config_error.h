// What is wrong with a configuration.
#pragma once

#include <stdexcept>

namespace audiobookd::daemon {

/// The configuration is wrong. The message names file, line and key, what was expected and what was found.
class ConfigError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

} // namespace audiobookd::daemon
