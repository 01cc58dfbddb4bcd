// Credentials of the role of the machine, from the metadata service of EC2 (IMDSv2: a session token first, then the
// role, then its credentials). Any thread.
#pragma once

#include "storage/s3/credentials.h"
#include "storage/s3/http_client.h"

namespace audiobookd::storage::s3 {

class InstanceCredentials final : public CredentialSource {
public:
  /// @param endpoint of the service; another than the machine's own is for tests.
  explicit InstanceCredentials(std::string endpoint = "http://169.254.169.254");
  /// Two seconds for each of the three requests. @throws PermanentError when the service gives something else than
  /// credentials.
  [[nodiscard]] std::optional<Grant> look(std::string& why, const std::stop_token& stop) const override;

private:
  [[nodiscard]] HttpAnswer ask(const std::string& method, const std::string& path, Pairs headers,
                               const std::stop_token& stop) const;

  const std::string endpoint_;
  const HttpClient client_;
};

} // namespace audiobookd::storage::s3
