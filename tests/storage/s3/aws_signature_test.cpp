// What signs as botocore is understood by every server: recorded by record_signatures.py.
#include "storage/s3/aws_signature.h"
#include "tests/storage/files.h"

#include <ctime>
#include <nlohmann/json.hpp>

namespace audiobookd::storage::s3 {
namespace {

Pairs pairs(const nlohmann::json& list) {
  Pairs result;
  for (const nlohmann::json& pair : list) {
    result.emplace_back(pair[0], pair[1]);
  }
  return result;
}

std::chrono::system_clock::time_point time_of(const std::string& text) {
  std::tm utc{};
  ::strptime(text.c_str(), "%Y%m%dT%H%M%SZ", &utc);
  return std::chrono::system_clock::from_time_t(::timegm(&utc));
}

TEST(S3Signature, IsTheOneOfBotocore) {
  const auto golden =
      nlohmann::json::parse(tests::read_file(AUDIOBOOKD_SOURCE_DIR "/tests/data/golden/s3_signatures.json"));
  for (const nlohmann::json& recorded : golden.at("cases")) {
    const RequestToSign request{.method = recorded.at("method"),
                                .host = recorded.at("host"),
                                .path = percent_encode_path(recorded.at("path").get<std::string>()),
                                .query = pairs(recorded.at("query")),
                                .headers = pairs(recorded.at("headers")),
                                .payload_sha256 = recorded.at("payload_sha256")};
    const Credentials credentials{golden.at("access_key_id"), golden.at("secret_access_key"),
                                  recorded.at("session_token")};
    const Pairs headers =
        sign(request, credentials, golden.at("region").get<std::string>(), time_of(golden.at("time")));
    EXPECT_EQ(headers.back().second, recorded.at("authorization").get<std::string>()) << recorded.dump(1);
  }
  EXPECT_GE(golden.at("cases").size(), 37U);
}

TEST(S3Signature, SendsWhatItSigned) {
  const RequestToSign request{.method = "PUT",
                              .host = "h",
                              .path = "/b/k",
                              .query = {},
                              .headers = {{"x-amz-meta-a", "1"}},
                              .payload_sha256 = "hash"};
  const Pairs headers = sign(request, {"id", "secret", "token"}, "r", std::chrono::system_clock::from_time_t(0));
  const Pairs expected = {{"x-amz-meta-a", "1"},
                          {"x-amz-content-sha256", "hash"},
                          {"x-amz-date", "19700101T000000Z"},
                          {"x-amz-security-token", "token"}};
  EXPECT_EQ(Pairs(headers.begin(), headers.end() - 1), expected);
  EXPECT_EQ(headers.back().second.find("secret"), std::string::npos);
}

TEST(S3Signature, QueriesAreSortedAndEveryNameHasItsEqualsSign) {
  EXPECT_EQ(encode_query({{"uploads", ""}, {"b", "x y+z~/"}, {"a", "2"}, {"a", "1"}}),
            "a=1&a=2&b=x%20y%2Bz~%2F&uploads=");
}

} // namespace
} // namespace audiobookd::storage::s3
