#include "storage/s3/http_client.h"

#include "storage/errors.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <curl/curl.h>
#include <exception>

namespace audiobookd::storage::s3 {
namespace {

constexpr std::size_t max_collected_bytes = 1u << 20;
constexpr long slow_bytes_per_second = 1000;

void initialise_curl() {
  static const CURLcode result = ::curl_global_init(CURL_GLOBAL_DEFAULT);
  if (result != CURLE_OK) {
    throw PermanentError(std::string("libcurl cannot be initialised: ") + ::curl_easy_strerror(result));
  }
}

/// One request under way; what libcurl's callbacks are given.
struct Exchange {
  const HttpRequest& request;
  const std::stop_token& stop;
  HttpAnswer answer;
  std::uint64_t sent = 0;
  std::exception_ptr thrown;

  /// Runs @p body; what it throws is kept for after the transfer, and @p on_error is returned.
  template <typename Body, typename Result>
  Result guarded(Result on_error, const Body& body) {
    try {
      return body();
    } catch (...) {
      thrown = std::current_exception();
      return on_error;
    }
  }

  std::size_t take_header(std::string_view line) {
    if (line.starts_with("HTTP/")) { // also after 100 Continue
      answer = {};
      const std::size_t space = line.find(' ');
      answer.status = space == std::string_view::npos ? 0 : std::atoi(line.data() + space);
      return line.size();
    }
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      std::string name(line.substr(0, colon));
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      std::string_view value = line.substr(colon + 1);
      value.remove_prefix(std::min(value.find_first_not_of(" \t"), value.size()));
      answer.headers[name] = value.substr(0, value.find_last_not_of(" \t\r\n") + 1);
    }
    return line.size();
  }

  std::size_t take_data(std::span<const std::byte> part) {
    if (request.on_data && answer.status / 100 == 2) {
      request.on_data(answer, part);
    } else {
      const std::size_t room = max_collected_bytes - std::min(max_collected_bytes, answer.body.size());
      answer.body.append(reinterpret_cast<const char*>(part.data()), std::min(room, part.size()));
    }
    return part.size();
  }

  std::size_t give_data(std::span<std::byte> room) {
    const std::size_t bytes = std::min<std::uint64_t>(room.size(), request.body.bytes - sent);
    if (bytes > 0) {
      request.body.read(sent, room.first(bytes));
      sent += bytes;
    }
    return bytes;
  }
};

Exchange& exchange_of(void* user) { return *static_cast<Exchange*>(user); }

extern "C" {

std::size_t audiobookd_curl_header(char* data, std::size_t size, std::size_t count, void* user) {
  Exchange& exchange = exchange_of(user);
  return exchange.guarded(std::size_t{0}, [&] { return exchange.take_header({data, size * count}); });
}

std::size_t audiobookd_curl_write(char* data, std::size_t size, std::size_t count, void* user) {
  Exchange& exchange = exchange_of(user);
  return exchange.guarded(std::size_t{0},
                          [&] { return exchange.take_data(std::as_bytes(std::span(data, size * count))); });
}

std::size_t audiobookd_curl_read(char* data, std::size_t size, std::size_t count, void* user) {
  Exchange& exchange = exchange_of(user);
  return exchange.guarded(std::size_t{CURL_READFUNC_ABORT},
                          [&] { return exchange.give_data(std::as_writable_bytes(std::span(data, size * count))); });
}

int audiobookd_curl_seek(void* user, curl_off_t offset, int /*origin: always SEEK_SET*/) {
  exchange_of(user).sent = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

int audiobookd_curl_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return exchange_of(user).stop.stop_requested() ? 1 : 0;
}

} // extern "C"

struct FreeList {
  void operator()(curl_slist* list) const noexcept { ::curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

HeaderList make_headers(const Pairs& headers) {
  HeaderList list;
  for (const auto& [name, value] : headers) {
    const std::string line = value.empty() ? name + ";" : name + ": " + value;
    list.reset(::curl_slist_append(list.release(), line.c_str()));
  }
  return list;
}

void set_method(CURL* curl, const HttpRequest& request) {
  if (request.method == "HEAD") {
    ::curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    return;
  }
  if (request.method == "PUT" || request.method == "POST") {
    ::curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    ::curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body.bytes));
  }
  ::curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
}

void set_callbacks(CURL* curl, Exchange& exchange) {
  ::curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, audiobookd_curl_header);
  ::curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
  ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, audiobookd_curl_write);
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  ::curl_easy_setopt(curl, CURLOPT_READFUNCTION, audiobookd_curl_read);
  ::curl_easy_setopt(curl, CURLOPT_READDATA, &exchange);
  ::curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, audiobookd_curl_seek);
  ::curl_easy_setopt(curl, CURLOPT_SEEKDATA, &exchange);
  ::curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, audiobookd_curl_progress);
  ::curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
  ::curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
}

void set_transport(CURL* curl, const HttpRequest& request, const HttpSettings& settings) {
  const auto stall = request.stall_timeout.count() > 0 ? request.stall_timeout : settings.stall_timeout;
  ::curl_easy_setopt(curl, CURLOPT_URL, request.url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
  ::curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  ::curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(curl, CURLOPT_PROXY, settings.proxy.c_str());
  ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings.connect_timeout.count()));
  ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, slow_bytes_per_second);
  ::curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall.count()));
  if (!settings.ca_file.empty()) {
    ::curl_easy_setopt(curl, CURLOPT_CAINFO, settings.ca_file.c_str());
  }
}

/// Errors that stay until a person changes something.
bool is_permanent(CURLcode code) {
  switch (code) {
  case CURLE_UNSUPPORTED_PROTOCOL:
  case CURLE_URL_MALFORMAT:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ENGINE_NOTFOUND:
  case CURLE_PEER_FAILED_VERIFICATION: return true;
  default: return false;
  }
}

[[noreturn]] void throw_failure(CURLcode code, const std::string& detail, const HttpRequest& request) {
  const std::string server = request.url.substr(0, request.url.find('/', request.url.find("://") + 3));
  const std::string message = server + ": " + (detail.empty() ? ::curl_easy_strerror(code) : detail);
  if (is_permanent(code)) {
    throw HttpRefusal(message);
  }
  throw HttpError(message);
}

} // namespace

std::string HttpAnswer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

HttpClient::HttpClient(HttpSettings settings) : settings_(std::move(settings)) { initialise_curl(); }

HttpClient::~HttpClient() {
  for (Handle* handle : idle_) {
    ::curl_easy_cleanup(handle);
  }
}

HttpClient::Handle* HttpClient::borrow() const {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Handle* handle = idle_.back();
      idle_.pop_back();
      return handle;
    }
  }
  Handle* handle = ::curl_easy_init();
  if (handle == nullptr) {
    throw TransientError("libcurl gives no handle: out of memory");
  }
  return handle;
}

void HttpClient::give_back(Handle* handle) const noexcept {
  ::curl_easy_reset(handle); // keeps its connections
  const std::lock_guard lock(mutex_);
  idle_.push_back(handle);
}

HttpAnswer HttpClient::perform(const HttpRequest& request, const std::stop_token& stop) const {
  if (stop.stop_requested()) {
    throw StoppedError();
  }
  const auto return_handle = [this](Handle* handle) { give_back(handle); };
  const std::unique_ptr<Handle, decltype(return_handle)> handle(borrow(), return_handle);
  CURL* curl = handle.get();
  Exchange exchange{request, stop, {}, 0, {}};
  const HeaderList headers = make_headers(request.headers);
  char detail[CURL_ERROR_SIZE] = {};
  set_transport(curl, request, settings_);
  set_method(curl, request);
  set_callbacks(curl, exchange);
  ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  ::curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
  const CURLcode code = ::curl_easy_perform(curl);
  if (exchange.thrown) {
    std::rethrow_exception(exchange.thrown);
  }
  if (code == CURLE_ABORTED_BY_CALLBACK && stop.stop_requested()) {
    throw StoppedError();
  }
  if (code != CURLE_OK) {
    throw_failure(code, detail, request);
  }
  return std::move(exchange.answer);
}

} // namespace audiobookd::storage::s3
