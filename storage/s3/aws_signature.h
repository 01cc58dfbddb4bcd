// Signature Version 4 of a request to S3 ("Authenticating Requests: Using the Authorization Header" of its API
// reference), with the hash of the payload and, for temporary credentials, the session token.
//
// Not left to libcurl: Debian 12's 7.88 signs queries in the order given and parameters without a value without their
// `=`, and later versions differ from it in what they sign. Pure functions; any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace audiobookd::storage::s3 {

/// Names and values, in any order.
using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token; ///< empty: not temporary

  bool operator==(const Credentials&) const = default;
};

struct RequestToSign {
  std::string method;
  std::string host;           ///< as sent: with the port unless it is the scheme's own
  std::string path;           ///< as sent: percent-encoded, begins with '/'
  Pairs query;                ///< not encoded
  Pairs headers;              ///< all of them are signed; besides `host` and those that sign() adds
  std::string payload_sha256; ///< hexadecimal
};

/// Percent-encodes every byte but A-Z a-z 0-9 - . _ ~.
[[nodiscard]] std::string percent_encode(std::string_view text);
/// The same, but '/' stays as it is: for the path of a key.
[[nodiscard]] std::string percent_encode_path(std::string_view key);
/// `a=1&b=&c=x%20y`, sorted: as it is signed, and therefore as it should be sent.
[[nodiscard]] std::string encode_query(const Pairs& query);

/// The headers to send: those of @p request, x-amz-date, x-amz-content-sha256, x-amz-security-token if there is one,
/// and authorization. The names of @p request's headers must be in lower case.
[[nodiscard]] Pairs sign(const RequestToSign& request, const Credentials& credentials, std::string_view region,
                         std::chrono::system_clock::time_point now);

} // namespace audiobookd::storage::s3
