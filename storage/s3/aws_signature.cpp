#include "storage/s3/aws_signature.h"

#include "storage/s3/sha256.h"

#include <algorithm>
#include <ctime>

namespace audiobookd::storage::s3 {
namespace {

bool is_unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

std::string encode(std::string_view text, bool keep_slashes) {
  std::string encoded;
  for (const char c : text) {
    if (is_unreserved(c) || (keep_slashes && c == '/')) {
      encoded += c;
    } else {
      encoded += '%';
      encoded += "0123456789ABCDEF"[static_cast<unsigned char>(c) >> 4];
      encoded += "0123456789ABCDEF"[static_cast<unsigned char>(c) & 15];
    }
  }
  return encoded;
}

/// "20260102T030405Z"
std::string timestamp(std::chrono::system_clock::time_point now) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return {text, length};
}

/// Without spaces around it, and with single ones inside.
std::string canonical_value(std::string_view value) {
  std::string canonical;
  for (const char c : value) {
    if (c != ' ' || (!canonical.empty() && canonical.back() != ' ')) {
      canonical += c;
    }
  }
  if (!canonical.empty() && canonical.back() == ' ') {
    canonical.pop_back();
  }
  return canonical;
}

struct CanonicalHeaders {
  std::string lines;
  std::string names;
};

CanonicalHeaders canonical(Pairs headers) {
  std::sort(headers.begin(), headers.end());
  CanonicalHeaders result;
  for (const auto& [name, value] : headers) {
    result.lines += name + ":" + canonical_value(value) + "\n";
    result.names += (result.names.empty() ? "" : ";") + name;
  }
  return result;
}

} // namespace

std::string percent_encode(std::string_view text) { return encode(text, false); }

std::string percent_encode_path(std::string_view key) { return encode(key, true); }

std::string encode_query(const Pairs& query) {
  Pairs encoded;
  for (const auto& [name, value] : query) {
    encoded.emplace_back(percent_encode(name), percent_encode(value));
  }
  std::sort(encoded.begin(), encoded.end());
  std::string text;
  for (const auto& [name, value] : encoded) {
    text += (text.empty() ? "" : "&") + name + "=" + value;
  }
  return text;
}

Pairs sign(const RequestToSign& request, const Credentials& credentials, std::string_view region,
           std::chrono::system_clock::time_point now) {
  const std::string time = timestamp(now);
  const std::string date = time.substr(0, 8);
  Pairs headers = request.headers;
  headers.emplace_back("x-amz-content-sha256", request.payload_sha256);
  headers.emplace_back("x-amz-date", time);
  if (!credentials.session_token.empty()) {
    headers.emplace_back("x-amz-security-token", credentials.session_token);
  }
  Pairs signed_headers = headers;
  signed_headers.emplace_back("host", request.host);
  const auto [lines, names] = canonical(std::move(signed_headers));
  const std::string canonical_request = request.method + "\n" + request.path + "\n" + encode_query(request.query) +
                                        "\n" + lines + "\n" + names + "\n" + request.payload_sha256;

  const std::string scope = date + "/" + std::string(region) + "/s3/aws4_request";
  const std::string to_sign = "AWS4-HMAC-SHA256\n" + time + "\n" + scope + "\n" + sha256_hex(canonical_request);
  std::string key = hmac_sha256("AWS4" + credentials.secret_access_key, date);
  for (const std::string_view part : {region, std::string_view("s3"), std::string_view("aws4_request")}) {
    key = hmac_sha256(key, part);
  }
  headers.emplace_back("authorization", "AWS4-HMAC-SHA256 Credential=" + credentials.access_key_id + "/" + scope +
                                            ", SignedHeaders=" + names +
                                            ", Signature=" + hex(hmac_sha256(key, to_sign)));
  return headers;
}

} // namespace audiobookd::storage::s3
