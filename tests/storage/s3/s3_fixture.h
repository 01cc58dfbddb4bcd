// A storage on a fake S3 server, for each test a new one. Test thread only.
#pragma once

#include "storage/s3_storage.h"
#include "tests/storage/files.h"
#include "tests/storage/s3/fake_s3.h"

#include <memory>
#include <string>

namespace audiobookd::tests {

class S3Fixture : public testing::Test {
protected:
  S3Fixture() { server_.reset(); }

  /// With waits of milliseconds.
  [[nodiscard]] storage::S3Settings settings() const {
    storage::S3Settings settings;
    settings.client.region = FakeS3::region;
    settings.client.endpoint = server_.endpoint();
    settings.client.http.stall_timeout = std::chrono::seconds(1);
    settings.client.first_wait = std::chrono::milliseconds(1);
    settings.client.longest_wait = std::chrono::milliseconds(10);
    settings.client.patience = std::chrono::milliseconds(500);
    settings.upload.part_bytes = 100'000;
    settings.staging = folder_ / "stage";
    return settings;
  }
  [[nodiscard]] static std::shared_ptr<storage::s3::Wallet> wallet(const std::string& secret) {
    std::vector<std::unique_ptr<storage::s3::CredentialSource>> sources;
    sources.push_back(std::make_unique<storage::s3::GivenCredentials>(
        storage::s3::Credentials{FakeS3::access_key_id, secret, ""}, "the test"));
    return std::make_shared<storage::s3::Wallet>(std::move(sources));
  }
  [[nodiscard]] static std::unique_ptr<storage::S3Storage> make(const storage::S3Settings& settings) {
    return std::make_unique<storage::S3Storage>(
        settings,
        storage::S3Roots{{storage::s3::parse_root("s3://books/in")}, {storage::s3::parse_root("s3://books/out")}},
        wallet(FakeS3::secret_access_key));
  }

  static storage::PublishResult publish(const storage::Storage& storage, const std::string& name,
                                        const std::string& content, storage::IfExists if_exists,
                                        const std::function<bool()>& still_mine = {}) {
    const auto publication = storage.open_output(name, "");
    publication->append(std::as_bytes(std::span(content)));
    publication->note_fingerprint("fingerprint of " + std::to_string(std::hash<std::string>()(content)));
    return publication->commit(if_exists, still_mine);
  }

  static std::string read_output(const storage::Storage& storage, const std::string& name) {
    std::string content;
    storage.read_output(name, [&content](std::span<const std::byte> piece) {
      content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    });
    return content;
  }

  /// Bytes of which none repeats the ones before.
  static std::string long_content(std::size_t bytes) {
    std::string content(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i) {
      content[i] = static_cast<char>((i * 2654435761U) >> 13);
    }
    return content;
  }

  inline static FakeS3 server_; // NOLINT: one for all tests, starting it takes half a second
  ScratchFolder folder_;
};

} // namespace audiobookd::tests
