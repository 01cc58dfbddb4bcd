#include "storage/s3/instance_credentials.h"

#include "storage/errors.h"

#include <ctime>
#include <nlohmann/json.hpp>

namespace audiobookd::storage::s3 {
namespace {

constexpr const char* roles = "/latest/meta-data/iam/security-credentials/";
constexpr const char* token_lifetime_s = "21600";

/// "2026-01-02T03:04:05Z"
std::optional<SystemTime> parse_time(const std::string& text) {
  std::tm utc{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (end == nullptr) {
    return std::nullopt;
  }
  return std::chrono::system_clock::from_time_t(::timegm(&utc));
}

Grant parse_grant(const std::string& body, const std::string& endpoint) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
  const auto text = [&json](const char* key) {
    return json.is_object() && json.contains(key) && json[key].is_string() ? json[key].get<std::string>() : "";
  };
  Grant grant{{text("AccessKeyId"), text("SecretAccessKey"), text("Token")}, parse_time(text("Expiration"))};
  if (grant.credentials.access_key_id.empty() || grant.credentials.secret_access_key.empty() || !grant.expires) {
    throw PermanentError("the instance metadata at " + endpoint +
                         " gives no credentials of its role: AccessKeyId, SecretAccessKey or Expiration is missing");
  }
  return grant;
}

} // namespace

InstanceCredentials::InstanceCredentials(std::string endpoint)
    : endpoint_(std::move(endpoint)), client_({.ca_file = {},
                                               .proxy = {},
                                               .connect_timeout = std::chrono::seconds(2),
                                               .stall_timeout = std::chrono::seconds(2)}) {}

HttpAnswer InstanceCredentials::ask(const std::string& method, const std::string& path, Pairs headers,
                                    const std::stop_token& stop) const {
  HttpRequest request;
  request.method = method;
  request.url = endpoint_ + path;
  request.headers = std::move(headers);
  return client_.perform(request, stop);
}

std::optional<Grant> InstanceCredentials::look(std::string& why, const std::stop_token& stop) const {
  const auto none = [&](const std::string& what) {
    why = "the instance metadata at " + endpoint_ + " " + what;
    return std::nullopt;
  };
  try {
    const HttpAnswer token =
        ask("PUT", "/latest/api/token", {{"x-aws-ec2-metadata-token-ttl-seconds", token_lifetime_s}}, stop);
    if (token.status != 200) {
      return none("gives no session token (HTTP " + std::to_string(token.status) + ")");
    }
    const Pairs headers = {{"x-aws-ec2-metadata-token", token.body}};
    const HttpAnswer list = ask("GET", roles, headers, stop);
    const std::string role = list.body.substr(0, list.body.find_first_of("\r\n"));
    if (list.status != 200 || role.empty()) {
      return none("knows no role of this machine (HTTP " + std::to_string(list.status) + ")");
    }
    const HttpAnswer answer = ask("GET", roles + percent_encode_path(role), headers, stop);
    if (answer.status != 200) {
      return none("gives no credentials of role '" + role + "' (HTTP " + std::to_string(answer.status) + ")");
    }
    return parse_grant(answer.body, endpoint_);
  } catch (const HttpError& error) {
    return none("does not answer (" + std::string(error.what()) + ")");
  }
}

} // namespace audiobookd::storage::s3
