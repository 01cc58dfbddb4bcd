// See job_storage.h.
#include "daemon/job_storage.h"

#include "storage/local_storage.h"
#include "storage/routed_storage.h"
#include "storage/s3/instance_credentials.h"
#include "storage/s3_storage.h"

#include <cmath>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace audiobookd::daemon {
namespace {

namespace s3 = storage::s3;

const std::string& first_of(const std::string& a, const std::string& b) { return a.empty() ? b : a; }

s3::Addressing addressing_of(const std::string& name) {
  return name == "path"   ? s3::Addressing::by_path
         : name == "host" ? s3::Addressing::by_host
                          : s3::Addressing::automatic;
}

storage::Fencing fencing_of(const std::string& name) {
  return name == "trust" ? storage::Fencing::trust : name == "none" ? storage::Fencing::none : storage::Fencing::probe;
}

std::shared_ptr<s3::Wallet> make_wallet(const S3Config& config, const AwsEnvironment& environment,
                                        const std::filesystem::path& credentials_folder) {
  std::vector<std::unique_ptr<s3::CredentialSource>> sources;
  const std::string profile = first_of(config.profile, first_of(environment.profile, "default"));
  std::filesystem::path file = config.credentials_file;
  if (file.empty() && !credentials_folder.empty() && std::filesystem::exists(credentials_folder / "s3-credentials")) {
    file = credentials_folder / "s3-credentials";
  }
  if (!file.empty()) {
    sources.push_back(std::make_unique<s3::CredentialsFile>(file, profile));
    return std::make_shared<s3::Wallet>(std::move(sources));
  }
  sources.push_back(std::make_unique<s3::GivenCredentials>(
      s3::Credentials{environment.access_key_id, environment.secret_access_key, environment.session_token},
      "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"));
  if (!environment.credentials_file.empty()) {
    sources.push_back(std::make_unique<s3::CredentialsFile>(environment.credentials_file, profile));
  }
  if (config.instance_metadata && !environment.metadata_disabled) {
    sources.push_back(environment.metadata_endpoint.empty()
                          ? std::make_unique<s3::InstanceCredentials>()
                          : std::make_unique<s3::InstanceCredentials>(environment.metadata_endpoint));
  }
  return std::make_shared<s3::Wallet>(std::move(sources));
}

storage::S3Settings settings_of(const S3Config& config, const AwsEnvironment& environment) {
  storage::S3Settings settings;
  settings.client.region = first_of(config.region, first_of(environment.region, settings.client.region));
  settings.client.endpoint = config.endpoint;
  settings.client.addressing = addressing_of(config.addressing);
  settings.client.http.ca_file = config.ca_file;
  settings.client.http.proxy = config.proxy;
  settings.client.patience = std::chrono::milliseconds(std::llround(1000 * config.retry_seconds));
  settings.fencing = fencing_of(config.fencing);
  settings.staging = config.staging.empty() ? data_folder() / "staging" : config.staging;
  return settings;
}

/// @p first if it is on S3, then @p more.
std::vector<s3::Location> s3_roots(const std::string& first, const std::vector<std::string>& more) {
  std::vector<s3::Location> roots;
  if (s3::is_url(first)) {
    roots.push_back(s3::parse_root(first));
  }
  for (const std::string& root : more) {
    roots.push_back(s3::parse_root(root));
  }
  return roots;
}

std::shared_ptr<storage::Storage> open_s3(const storage::S3Roots& roots, const S3Config& config,
                                          const AwsEnvironment& environment,
                                          const std::filesystem::path& credentials_folder) {
  if (roots.input.empty() && roots.output.empty()) {
    return nullptr;
  }
  const auto wallet = make_wallet(config, environment, credentials_folder);
  (void)wallet->credentials({}); // what is missing is said now, not to the first job
  return std::make_shared<storage::S3Storage>(settings_of(config, environment), roots, wallet);
}

std::shared_ptr<storage::Storage> open_local(const std::string& input_root, const std::string& output_root) {
  return std::make_shared<storage::LocalStorage>(storage::Roots{.input = input_root, .output = output_root});
}

} // namespace

std::unique_ptr<storage::Storage> open_job_storage(const Config& config, const AwsEnvironment& environment,
                                                   const std::filesystem::path& credentials_folder) {
  const auto& [input_root, output_root] = std::tie(config.paths.input_root, config.paths.output_root);
  const auto on_s3 =
      open_s3({s3_roots(input_root, config.s3.input_roots), s3_roots(output_root, config.s3.output_roots)}, config.s3,
              environment, credentials_folder);
  // A folder that is there for one of the two alone is never asked for the other.
  const auto inputs = s3::is_url(input_root) ? on_s3 : open_local(input_root, input_root);
  const auto outputs = s3::is_url(output_root) ? on_s3 : open_local(output_root, output_root);
  return std::make_unique<storage::RoutedStorage>(inputs, outputs, on_s3);
}

std::unique_ptr<storage::Storage> open_outputs(const OutputRoot& output, const AwsEnvironment& environment,
                                               const std::filesystem::path& credentials_folder) {
  const auto on_s3 =
      open_s3({{}, s3_roots(output.root, output.s3.output_roots)}, output.s3, environment, credentials_folder);
  const auto place = s3::is_url(output.root) ? on_s3 : open_local(output.root, output.root);
  return std::make_unique<storage::RoutedStorage>(place, place, on_s3);
}

} // namespace audiobookd::daemon
