// Which errno values are worth another try.
#include "storage/errors.h"

#include <cerrno>
#include <cstring>
#include <string>

namespace audiobookd::storage {

bool is_transient(int error_number) noexcept {
  switch (error_number) {
  case EAGAIN:
  case EBUSY:
  case EDQUOT:
  case EINTR:
  case EIO:
  case EMFILE:
  case ENFILE:
  case ENOLCK:
  case ENOMEM:
  case ENOSPC:
  case EREMOTEIO:
  case ESTALE:
  case ETIMEDOUT: return true;
  default: return false;
  }
}

void throw_errno(int error_number, std::string_view action, std::string_view path) {
  const char* name = strerrorname_np(error_number);
  std::string message(action);
  message.append(" '").append(path).append("': ").append(strerrordesc_np(error_number));
  message.append(" (").append(name == nullptr ? std::to_string(error_number) : name).append(")");
  if (is_transient(error_number)) {
    throw TransientError(message);
  }
  throw PermanentError(message);
}

} // namespace audiobookd::storage
