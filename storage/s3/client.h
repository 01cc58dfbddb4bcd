// The operations of S3 that audiobookd needs, signed, and tried again where that may help.
//
// Any thread. Every function throws, besides what it says: TransientError when the server did not serve the request
// within the client's patience; PermanentError naming bucket and key for an answer that stays the same until a person
// changes something; StoppedError.
#pragma once

#include "storage/s3/credentials.h"
#include "storage/s3/http_client.h"
#include "storage/s3/location.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace audiobookd::storage::s3 {

/// How buckets are named in requests.
enum class Addressing {
  automatic, ///< by_host at Amazon's own endpoints unless the bucket's name has dots, else by_path
  by_path,   ///< https://HOST/BUCKET/KEY
  by_host    ///< https://BUCKET.HOST/KEY
};

struct ClientSettings {
  std::string region = "us-east-1";
  std::string endpoint; ///< http://HOST[:PORT] or https://…; empty: Amazon's of the region
  Addressing addressing = Addressing::automatic;
  HttpSettings http;
  std::chrono::milliseconds first_wait{200}; ///< before the second try; doubled for each further one
  std::chrono::milliseconds longest_wait{10'000};
  std::chrono::milliseconds patience{60'000}; ///< from a request's first failure until it is given up
};

struct ObjectInfo {
  std::uint64_t bytes = 0;
  std::string etag;
  std::map<std::string, std::string> metadata; ///< x-amz-meta-NAME, by NAME in lower case
};

/// What becomes of an attempt to make an object.
enum class Outcome {
  done,
  exists,    ///< 412: the condition does not hold
  conflict,  ///< 409: another request for the same key was under way; do it all again
  vanished,  ///< 404: the multipart upload does not exist (any more)
  withdrawn, ///< the question before each attempt was answered no
  refused    ///< 501: the server knows no conditions
};

/// How an object is to be made.
struct WriteOptions {
  bool only_if_new = false;                      ///< If-None-Match: *
  std::map<std::string, std::string> metadata{}; ///< see ObjectInfo
  std::function<bool()> still_wanted{};          ///< asked right before each attempt; empty: yes
};

struct UploadedPart {
  int number = 0; ///< from 1
  std::string etag;
};

struct OpenUpload {
  std::string id;
  SystemTime initiated;
};

struct ListedObject {
  std::string key;
  SystemTime modified;
};

class Client {
public:
  /// @throws PermanentError for an endpoint that is none.
  Client(ClientSettings settings, std::shared_ptr<Wallet> wallet);

  /// Waits as before try number @p round + 2 of a request.
  void back_off(int round, const std::stop_token& stop) const;

  /// Nothing when there is no such object.
  [[nodiscard]] std::optional<ObjectInfo> head(const Location& object, const std::stop_token& stop) const;
  /// Passes the object's content to @p visit, piece by piece in order. A connection that breaks is made up for from
  /// where it broke. @param on_info called once before. @throws what they throw; TransientError also when the object
  /// changes meanwhile.
  void get(const Location& object, const std::function<void(const ObjectInfo&)>& on_info,
           const std::function<void(std::span<const std::byte>)>& visit, const std::stop_token& stop) const;
  [[nodiscard]] Outcome put(const Location& object, const HttpBody& body, const WriteOptions& options,
                            const std::stop_token& stop) const;
  void remove(const Location& object, const std::stop_token& stop) const;

  /// Begins a multipart upload. @return its id.
  [[nodiscard]] std::string create_upload(const Location& object, const WriteOptions& options,
                                          const std::stop_token& stop) const;
  [[nodiscard]] UploadedPart upload_part(const Location& object, const std::string& upload_id, int number,
                                         const HttpBody& body, const std::stop_token& stop) const;
  /// Makes the object of its parts. Metadata was given to create_upload().
  [[nodiscard]] Outcome complete_upload(const Location& object, const std::string& upload_id,
                                        const std::vector<UploadedPart>& parts, const WriteOptions& options,
                                        const std::stop_token& stop) const;
  /// As all that follows tried only once: somebody will clean up later.
  void abort_upload(const Location& object, const std::string& upload_id, const std::stop_token& stop) const;
  /// Uploads of exactly this object that were begun and not ended; the first thousand.
  [[nodiscard]] std::vector<OpenUpload> open_uploads(const Location& object, const std::stop_token& stop) const;
  /// Objects whose key begins with that of @p prefix and has no '/' behind it; the first thousand.
  [[nodiscard]] std::vector<ListedObject> list(const Location& prefix, const std::stop_token& stop) const;

private:
  struct Operation;
  class Patience;
  HttpAnswer send(const Operation& operation, const std::stop_token& stop) const;
  [[nodiscard]] HttpRequest make_request(const Operation& operation, const std::string& payload_sha256,
                                         const Credentials& credentials) const;
  [[nodiscard]] Outcome write(const Operation& operation, const std::stop_token& stop) const;
  bool correct_clock(const HttpAnswer& answer) const;

  const ClientSettings settings_;
  const std::shared_ptr<Wallet> wallet_;
  const HttpClient http_;
  std::string scheme_;
  std::string host_;                                    // with port
  mutable std::atomic<std::int64_t> clock_offset_s_{0}; // of the server's clock
};

} // namespace audiobookd::storage::s3
