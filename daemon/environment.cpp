#include "daemon/environment.h"

#include "daemon/log.h"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace audiobookd::daemon {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

} // namespace

std::filesystem::path cache_folder() {
  if (const std::string folders = variable("CACHE_DIRECTORY"); !folders.empty()) {
    return folders.substr(0, folders.find(':'));
  }
  if (const std::string folder = variable("XDG_CACHE_HOME"); !folder.empty()) {
    return std::filesystem::path(folder) / "audiobookd";
  }
  if (const std::string home = variable("HOME"); !home.empty()) {
    return std::filesystem::path(home) / ".cache" / "audiobookd";
  }
  throw std::runtime_error("no folder for cached files: set XDG_CACHE_HOME or HOME");
}

std::filesystem::path credentials_folder() { return variable("CREDENTIALS_DIRECTORY"); }

void let_waiting_threads_sleep(char** argv) {
  constexpr const char* policy = "OMP_WAIT_POLICY";
  if (std::getenv(policy) == nullptr && ::setenv(policy, "passive", 0) == 0) {
    ::execv("/proc/self/exe", argv);
  }
}

bool logs_to_journal() { return is_journal(std::getenv("JOURNAL_STREAM")); }

} // namespace audiobookd::daemon
