// fake_s3.py as a process: an S3 server in memory whose signatures botocore checks, with faults. One thread at a time,
// but for storages that use it.
#pragma once

#include "storage/s3/http_client.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <sys/types.h>

namespace audiobookd::tests {

class FakeS3 {
public:
  /// As the server knows them from the start.
  static constexpr const char* region = "eu-test-1";
  static constexpr const char* access_key_id = "AKIATEST";
  static constexpr const char* secret_access_key = "secret/key+";

  /// Starts a server and waits until it listens.
  FakeS3() : FakeS3(std::filesystem::path()) {}
  /// One that speaks TLS only. @param tls_folder it writes its certificate there, as cert.pem.
  explicit FakeS3(const std::filesystem::path& tls_folder);
  ~FakeS3();
  FakeS3(const FakeS3&) = delete;
  FakeS3& operator=(const FakeS3&) = delete;

  [[nodiscard]] std::string endpoint() const { return scheme_ + "://127.0.0.1:" + std::to_string(port_); }

  /// Forgets everything.
  void reset() { order({{"op", "reset"}}); }
  /// One of control_… in fake_s3.py, as "op", with its arguments.
  nlohmann::json order(const nlohmann::json& order);
  /// The next requests that match `method`, `key` (a part of the path), `query` (a part) meet with this.
  void fault(nlohmann::json fault);
  /// How many requests have met with a fault.
  [[nodiscard]] int sprung() { return order({{"op", "sprung"}}).get<int>(); }
  void put(const std::string& bucket, const std::string& key, const std::string& data);
  /// Of "BUCKET/KEY": bytes, metadata, sha256, written (how often); null when there is none.
  [[nodiscard]] nlohmann::json object(const std::string& path);
  /// Of "BUCKET/KEY"; empty when there is none.
  [[nodiscard]] std::string content(const std::string& path) const;
  [[nodiscard]] nlohmann::json state() { return order({{"op", "state"}}); }
  /// How many requests of this method came, whose query contains @p query.
  [[nodiscard]] int count(const std::string& method, const std::string& query = "");

private:
  const std::string scheme_;
  pid_t pid_ = -1;
  int lifeline_ = -1; // its standard input
  int port_ = 0;
  storage::s3::HttpClient client_;
};

} // namespace audiobookd::tests
