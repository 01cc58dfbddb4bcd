// The two families of storage errors, what a stop is told by, and how errno values fall into them. Stateless; any
// thread.
#pragma once

#include <stdexcept>
#include <string_view>

namespace audiobookd::storage {

/// The same call may succeed later: disk full, I/O error, stale NFS handle, out of file descriptors. Try the job again.
class TransientError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// The chunk store has no room for a job as long as others are open.
class NoRoomError : public TransientError {
public:
  using TransientError::TransientError;
};

/// The same call fails again until a person changes something: missing file, no permission, bad path or setting.
class PermanentError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// Somebody asked for the work to stop before it was done: neither a success nor a failure.
class StoppedError : public std::runtime_error {
public:
  StoppedError() : std::runtime_error("stopped") {}
};

/// Whether @p error_number (an errno value) belongs to TransientError.
[[nodiscard]] bool is_transient(int error_number) noexcept;

/// Throws the matching family with the message "@p action '@p path': reason (errno name)".
[[noreturn]] void throw_errno(int error_number, std::string_view action, std::string_view path);

} // namespace audiobookd::storage
