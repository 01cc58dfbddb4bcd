#include "storage/s3/credentials.h"

#include "storage/errors.h"

#include <algorithm>
#include <fstream>
#include <map>

namespace audiobookd::storage::s3 {
namespace {

constexpr std::chrono::minutes refresh_margin{5};
constexpr std::chrono::minutes review_period{5};
constexpr std::chrono::seconds retry_period{10};

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

[[noreturn]] void reject_file(const std::filesystem::path& file, const std::string& why) {
  throw PermanentError("credentials file '" + file.string() + "'" + why);
}

/// The keys of section @p profile of a file in INI format.
std::optional<std::map<std::string, std::string>> read_profile(std::istream& stream, const std::filesystem::path& file,
                                                               const std::string& profile) {
  std::optional<std::map<std::string, std::string>> keys;
  bool inside = false;
  int number = 0;
  for (std::string whole; std::getline(stream, whole);) {
    ++number;
    const std::string_view line = trimmed(whole);
    if (line.empty() || line.front() == '#' || line.front() == ';') {
      continue;
    }
    if (line.front() == '[' && line.back() == ']') {
      inside = trimmed(line.substr(1, line.size() - 2)) == profile;
      if (inside && !keys) {
        keys.emplace();
      }
      continue;
    }
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
      reject_file(file, ":" + std::to_string(number) + ": expected [PROFILE], KEY = VALUE or a comment");
    }
    if (inside) {
      keys->insert_or_assign(std::string(trimmed(line.substr(0, equals))), trimmed(line.substr(equals + 1)));
    }
  }
  return keys;
}

} // namespace

std::optional<Grant> GivenCredentials::look(std::string& why, const std::stop_token& /*stop*/) const {
  if (credentials_.access_key_id.empty() && credentials_.secret_access_key.empty()) {
    why = origin_ + " gives none";
    return std::nullopt;
  }
  if (credentials_.access_key_id.empty() || credentials_.secret_access_key.empty()) {
    throw PermanentError("S3 credentials: " + origin_ + " gives only one of access key id and secret access key");
  }
  return Grant{credentials_, std::nullopt};
}

std::optional<Grant> CredentialsFile::look(std::string& why, const std::stop_token& /*stop*/) const {
  std::error_code ignored;
  if (!std::filesystem::exists(file_, ignored)) {
    why = "the file '" + file_.string() + "' does not exist";
    return std::nullopt;
  }
  std::ifstream stream(file_);
  if (!stream) {
    throw PermanentError("credentials file '" + file_.string() + "' cannot be read: check its permissions");
  }
  auto keys = read_profile(stream, file_, profile_);
  if (!keys) {
    why = "the file '" + file_.string() + "' has no profile '" + profile_ + "'";
    return std::nullopt;
  }
  for (const char* key : {"aws_access_key_id", "aws_secret_access_key"}) {
    if ((*keys)[key].empty()) {
      reject_file(file_, ", profile '" + profile_ + "': " + key + " is missing");
    }
  }
  return Grant{{(*keys)["aws_access_key_id"], (*keys)["aws_secret_access_key"], (*keys)["aws_session_token"]},
               std::nullopt};
}

Wallet::Wallet(std::vector<std::unique_ptr<CredentialSource>> sources, Clock clock)
    : sources_(std::move(sources)), clock_(std::move(clock)) {}

Credentials Wallet::credentials(const std::stop_token& stop) {
  const std::lock_guard lock(mutex_);
  const SystemTime now = clock_();
  if (grant_ && now < look_again_) {
    return grant_->credentials;
  }
  std::string where;
  std::optional<Grant> fresh;
  const bool is_valid = grant_ && (!grant_->expires || now < *grant_->expires);
  try {
    fresh = look_everywhere(where, stop);
  } catch (const StoppedError&) {
    throw;
  } catch (const std::exception&) {
    if (!is_valid) {
      throw;
    }
  }
  if (fresh) {
    const SystemTime next = fresh->expires ? *fresh->expires - refresh_margin : now + review_period;
    look_again_ = std::max(next, now + retry_period);
    grant_ = std::move(fresh);
  } else if (is_valid) {
    look_again_ = now + retry_period;
  } else if (grant_) {
    throw TransientError("the S3 credentials have expired, and no new ones were found: " + where);
  } else {
    throw TransientError("no S3 credentials were found: " + where);
  }
  return grant_->credentials;
}

void Wallet::reject(const Credentials& used) {
  const std::lock_guard lock(mutex_);
  if (grant_ && grant_->credentials == used) {
    look_again_ = {};
  }
}

std::optional<Grant> Wallet::look_everywhere(std::string& where, const std::stop_token& stop) const {
  for (const auto& source : sources_) {
    std::string why;
    if (auto grant = source->look(why, stop)) {
      return grant;
    }
    where += (where.empty() ? "" : "; ") + why;
  }
  return std::nullopt;
}

} // namespace audiobookd::storage::s3
