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

/// The first that is set: systemd's list of folders, the user's folder of that kind, its default below the home.
std::filesystem::path own_folder(const char* systemd, const char* xdg, const char* below_home, const char* what) {
  if (const std::string folders = variable(systemd); !folders.empty()) {
    return folders.substr(0, folders.find(':'));
  }
  if (const std::string folder = variable(xdg); !folder.empty()) {
    return std::filesystem::path(folder) / "audiobookd";
  }
  if (const std::string home = variable("HOME"); !home.empty()) {
    return std::filesystem::path(home) / below_home / "audiobookd";
  }
  throw std::runtime_error(std::string("no folder for ") + what + ": set " + xdg + " or HOME");
}

} // namespace

std::filesystem::path cache_folder() {
  return own_folder("CACHE_DIRECTORY", "XDG_CACHE_HOME", ".cache", "cached files");
}

std::filesystem::path data_folder() { return own_folder("STATE_DIRECTORY", "XDG_DATA_HOME", ".local/share", "voices"); }

std::filesystem::path credentials_folder() { return variable("CREDENTIALS_DIRECTORY"); }

std::string redis_url_of_environment() {
  const std::string url = variable("AUDIOBOOKD_REDIS");
  return url.empty() ? variable("REDIS_URL") : url;
}

AwsEnvironment aws_environment() {
  AwsEnvironment aws;
  aws.access_key_id = variable("AWS_ACCESS_KEY_ID");
  aws.secret_access_key = variable("AWS_SECRET_ACCESS_KEY");
  aws.session_token = variable("AWS_SESSION_TOKEN");
  aws.region = variable("AWS_REGION").empty() ? variable("AWS_DEFAULT_REGION") : variable("AWS_REGION");
  aws.profile = variable("AWS_PROFILE");
  aws.credentials_file = variable("AWS_SHARED_CREDENTIALS_FILE");
  if (const std::string home = variable("HOME"); aws.credentials_file.empty() && !home.empty()) {
    aws.credentials_file = std::filesystem::path(home) / ".aws/credentials";
  }
  aws.metadata_endpoint = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  aws.metadata_disabled = variable("AWS_EC2_METADATA_DISABLED") == "true";
  return aws;
}

void let_waiting_threads_sleep(char** argv) {
  constexpr const char* policy = "OMP_WAIT_POLICY";
  if (std::getenv(policy) == nullptr && ::setenv(policy, "passive", 0) == 0) {
    ::execv("/proc/self/exe", argv);
  }
}

bool logs_to_journal() { return is_journal(std::getenv("JOURNAL_STREAM")); }

} // namespace audiobookd::daemon
