// What ends the rendering of a book before its time, besides what jobs and storage throw, and the family of errors in
// files. Stateless; any thread.
#pragma once

#include "storage/errors.h"

#include <stdexcept>
#include <string>
#include <system_error>

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

protected:
  explicit Interrupted(const std::string& what) : std::runtime_error(what) {}
};

/// The engine's device failed while it worked on this book, and perhaps on others: one of them may have been the
/// reason.
class DeviceFailure : public Interrupted {
public:
  explicit DeviceFailure(const std::string& why) : Interrupted("the device failed: " + why) {}
};

/// Gives what @p read gives, which reads files of the engine. What is wrong with a file's content stays wrong.
/// @throws storage::PermanentError for std::runtime_error of @p read, but TransientError for a system error that may
/// pass; other exceptions as they are.
template <class Read>
auto reading_files(const Read& read) -> decltype(read()) {
  try {
    return read();
  } catch (const storage::TransientError&) {
    throw;
  } catch (const std::system_error& error) {
    if (storage::is_transient(error.code().value())) {
      throw storage::TransientError(error.what());
    }
    throw storage::PermanentError(error.what());
  } catch (const std::runtime_error& error) {
    throw storage::PermanentError(error.what());
  }
}

} // namespace audiobookd::daemon
