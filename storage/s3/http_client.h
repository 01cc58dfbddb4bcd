// HTTP by libcurl: one request at a time for each call, connections kept alive between calls. Nothing is taken from
// the environment (no proxy, no netrc) and no redirect is followed.
//
// Any thread. A request that is under way ends within a second when its stop is requested.
#pragma once

#include "storage/s3/aws_signature.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

namespace audiobookd::storage::s3 {

/// There is no answer, or only a part of one: no connection, no name, reset, timed out. Another try may help.
class HttpError : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// There will be no answer until a person changes something: a certificate that is not trusted, a URL that is none.
class HttpRefusal : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

struct HttpSettings {
  std::filesystem::path ca_file; ///< PEM; empty: the system's
  std::string proxy;             ///< http://host:port; empty: none
  std::chrono::milliseconds connect_timeout{10'000};
  std::chrono::seconds stall_timeout{30}; ///< with less than 1000 bytes a second sent or received
};

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers; ///< names in lower case
  std::string body;                           ///< at most 1 MiB of it

  /// Empty when there is none.
  [[nodiscard]] std::string header(const std::string& name) const;
};

/// What is sent after the headers. read() may be asked for any part again.
struct HttpBody {
  std::uint64_t bytes = 0;
  std::function<void(std::uint64_t offset, std::span<std::byte> part)> read; ///< fills @p part
};

struct HttpRequest {
  std::string method;
  std::string url;
  Pairs headers;
  HttpBody body;
  /// Takes the body of a 2xx answer instead of HttpAnswer::body. What it throws ends the request and is thrown on.
  std::function<void(const HttpAnswer& head, std::span<const std::byte> part)> on_data;
  std::chrono::seconds stall_timeout{0}; ///< 0: as HttpSettings
};

class HttpClient {
public:
  explicit HttpClient(HttpSettings settings);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// @return whatever the server answered. @throws HttpError, HttpRefusal, StoppedError; what @p request's functions
  /// throw.
  [[nodiscard]] HttpAnswer perform(const HttpRequest& request, const std::stop_token& stop) const;

private:
  using Handle = void; // CURL
  [[nodiscard]] Handle* borrow() const;
  void give_back(Handle* handle) const noexcept;

  const HttpSettings settings_;
  mutable std::mutex mutex_;
  mutable std::vector<Handle*> idle_; // protected by mutex_; each keeps its connections
};

} // namespace audiobookd::storage::s3
