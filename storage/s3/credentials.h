// Who signs: where credentials may be found, and the wallet that asks these places in order, keeps what it got and
// asks again before it expires. Any thread. No secret is ever part of a message.
#pragma once

#include "storage/s3/aws_signature.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace audiobookd::storage::s3 {

using SystemTime = std::chrono::system_clock::time_point;

struct Grant {
  Credentials credentials;
  std::optional<SystemTime> expires; ///< none: never
};

/// A place where credentials may be.
class CredentialSource {
public:
  virtual ~CredentialSource() = default;
  /// Looks now. @param why receives, when there are none, why: "the file '/x' does not exist".
  /// @throws PermanentError for what is there and is wrong; StoppedError.
  [[nodiscard]] virtual std::optional<Grant> look(std::string& why, const std::stop_token& stop) const = 0;
};

/// Credentials that were given, as by environment variables. Empty ones count as none.
class GivenCredentials final : public CredentialSource {
public:
  /// @param origin for messages: "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)".
  GivenCredentials(Credentials credentials, std::string origin)
      : credentials_(std::move(credentials)), origin_(std::move(origin)) {}
  [[nodiscard]] std::optional<Grant> look(std::string& why, const std::stop_token& stop) const override;

private:
  const Credentials credentials_;
  const std::string origin_;
};

/// A profile of a shared credentials file: sections `[NAME]` with aws_access_key_id, aws_secret_access_key and perhaps
/// aws_session_token, other keys do not matter. Read anew each time.
class CredentialsFile final : public CredentialSource {
public:
  CredentialsFile(std::filesystem::path file, std::string profile)
      : file_(std::move(file)), profile_(std::move(profile)) {}
  /// @throws PermanentError naming the line that is no `[section]`, `key = value` or comment, or the key that is
  /// missing in the profile.
  [[nodiscard]] std::optional<Grant> look(std::string& why, const std::stop_token& stop) const override;

private:
  const std::filesystem::path file_;
  const std::string profile_;
};

/// What a client signs with.
class Wallet {
public:
  using Clock = std::function<SystemTime()>;

  /// @param sources asked in this order.
  explicit Wallet(
      std::vector<std::unique_ptr<CredentialSource>> sources,
      Clock clock = [] { return std::chrono::system_clock::now(); });

  /// From memory, or from the first source that has some. Those that expire are asked for again five minutes before;
  /// others every five minutes, so that a changed file is noticed. When that fails, the old ones serve as long as they
  /// are valid. @throws TransientError when there are none (any more), saying where was looked: no fault of the job
  /// that needs them; what the sources throw.
  [[nodiscard]] Credentials credentials(const std::stop_token& stop);
  /// The server did not accept @p used: the sources are asked anew by the next call.
  void reject(const Credentials& used);

private:
  [[nodiscard]] std::optional<Grant> look_everywhere(std::string& where, const std::stop_token& stop) const;

  const std::vector<std::unique_ptr<CredentialSource>> sources_;
  const Clock clock_;
  std::mutex mutex_; // protects what follows; held while sources are asked, so that one thread asks for all
  std::optional<Grant> grant_;
  SystemTime look_again_;
};

} // namespace audiobookd::storage::s3
