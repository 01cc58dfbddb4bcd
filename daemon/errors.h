// What ends the rendering of a book before its time, besides what jobs and storage throw. Plain types; any thread.
#pragma once

#include <stdexcept>

namespace audiobookd::daemon {

/// An utterance could not be rendered, with fresh random numbers neither: trying the job again would end the same way.
class RenderError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Rendering was told to stop (shutdown, lost lease, cancelled job). What was finished is in the chunk store.
class Interrupted : public std::runtime_error {
public:
  Interrupted() : std::runtime_error("interrupted") {}
};

} // namespace audiobookd::daemon
