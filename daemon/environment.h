// Everything the program reads from its environment, and the one thing it puts there. Before other threads start, or
// where nobody changes it.
#pragma once

#include <filesystem>
#include <string>

namespace audiobookd::daemon {

/// Where re-creatable files may lie: $CACHE_DIRECTORY (systemd), $XDG_CACHE_HOME/audiobookd or ~/.cache/audiobookd.
/// @throws std::runtime_error when none of the variables is set.
[[nodiscard]] std::filesystem::path cache_folder();

/// Where what people entrusted to the program lies: $STATE_DIRECTORY (systemd), $XDG_DATA_HOME/audiobookd or
/// ~/.local/share/audiobookd. @throws std::runtime_error when none of the variables is set.
[[nodiscard]] std::filesystem::path data_folder();

/// systemd's $CREDENTIALS_DIRECTORY, or empty.
[[nodiscard]] std::filesystem::path credentials_folder();

/// $AUDIOBOOKD_REDIS, else $REDIS_URL, else empty.
[[nodiscard]] std::string redis_url_of_environment();

/// What Amazon's own tools read of the environment.
struct AwsEnvironment {
  std::string access_key_id;              ///< AWS_ACCESS_KEY_ID
  std::string secret_access_key;          ///< AWS_SECRET_ACCESS_KEY
  std::string session_token;              ///< AWS_SESSION_TOKEN
  std::string region;                     ///< AWS_REGION, else AWS_DEFAULT_REGION
  std::string profile;                    ///< AWS_PROFILE
  std::filesystem::path credentials_file; ///< AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials; empty: no home
  std::string metadata_endpoint;          ///< AWS_EC2_METADATA_SERVICE_ENDPOINT
  bool metadata_disabled = false;         ///< AWS_EC2_METADATA_DISABLED is "true"
};
[[nodiscard]] AwsEnvironment aws_environment();

/// Whether the log goes to the journal ($JOURNAL_STREAM).
[[nodiscard]] bool logs_to_journal();

/// Starts the program anew, once, with OMP_WAIT_POLICY=passive, unless the user has set that variable. Arithmetic
/// threads that spin while they wait make everything several times slower as soon as the cores are shared (measured:
/// six times), and the OpenMP runtime reads the variable before main(). Call before anything else was started.
/// Returns when the variable is set, or when the system cannot start the program again.
void let_waiting_threads_sleep(char** argv);

} // namespace audiobookd::daemon
