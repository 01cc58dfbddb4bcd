// One request after the other until it is answered; what the answers mean.
#include "storage/s3/client.h"

#include "storage/errors.h"
#include "storage/s3/sha256.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <curl/curl.h>
#include <mutex>
#include <pugixml.hpp>
#include <random>
#include <sstream>

namespace audiobookd::storage::s3 {
namespace {

using namespace std::chrono_literals;
using SteadyClock = std::chrono::steady_clock;

constexpr std::string_view metadata_prefix = "x-amz-meta-";
constexpr std::size_t hash_piece_bytes = 256 * 1024;
/// A server may put the parts of a long book together for minutes before it answers.
constexpr std::chrono::seconds complete_stall_timeout{300};
/// Of what is as well if it fails.
constexpr std::chrono::seconds unimportant_stall_timeout{5};

/// Somebody does not want the request any more that is about to be sent.
struct Withdrawn {};

struct ServerError {
  std::string code;
  std::string message;
  std::string region;
};

ServerError parse_error(const std::string& body) {
  pugi::xml_document document;
  document.load_buffer(body.data(), body.size());
  const pugi::xml_node error = document.child("Error");
  return {error.child_value("Code"), error.child_value("Message"), error.child_value("Region")};
}

bool is_error_document(const std::string& body) {
  pugi::xml_document document;
  return document.load_buffer(body.data(), body.size()) && document.child("Error");
}

bool is_worth_another_try(const HttpAnswer& answer, const ServerError& error) {
  switch (answer.status) {
  case 408:
  case 429:
  case 500:
  case 502:
  case 503:
  case 504: return true;
  default: return error.code == "RequestTimeout" || error.code == "SlowDown" || error.code == "InternalError";
  }
}

std::string describe(const HttpAnswer& answer, const ServerError& error) {
  std::string text = "HTTP " + std::to_string(answer.status);
  if (!error.code.empty()) {
    text += " " + error.code;
  }
  if (!error.message.empty()) {
    text += " (" + error.message + ")";
  }
  return text;
}

/// What a person can do about it.
std::string advice(const HttpAnswer& answer, const ServerError& error, const std::string& method) {
  const std::string region = error.region.empty() ? answer.header("x-amz-bucket-region") : error.region;
  const bool is_elsewhere =
      answer.status == 301 || answer.status == 307 || error.code == "AuthorizationHeaderMalformed";
  if (is_elsewhere) {
    return region.empty() ? "; check the endpoint and the region in [s3]"
                          : "; the bucket is in region '" + region + "': set it in [s3]";
  }
  if (answer.status == 404) {
    return error.code == "NoSuchBucket" ? "; there is no such bucket" : "; there is no such object";
  }
  if (answer.status == 403 && method == "HEAD") {
    return "; the credentials must permit s3:GetObject and, to tell what is missing from what is forbidden, "
           "s3:ListBucket";
  }
  return "";
}

ObjectInfo parse_info(const HttpAnswer& answer) {
  ObjectInfo info;
  info.bytes = std::strtoull(answer.header("content-length").c_str(), nullptr, 10);
  info.etag = answer.header("etag");
  for (const auto& [name, value] : answer.headers) {
    if (name.starts_with(metadata_prefix)) {
      info.metadata[name.substr(metadata_prefix.size())] = value;
    }
  }
  return info;
}

void add_metadata(Pairs& headers, const WriteOptions& options) {
  for (const auto& [name, value] : options.metadata) {
    headers.emplace_back(std::string(metadata_prefix) + name, value);
  }
}

std::string hash_of(const HttpBody& body) {
  Sha256 hash;
  std::vector<std::byte> piece(std::min<std::uint64_t>(body.bytes, hash_piece_bytes));
  for (std::uint64_t offset = 0; offset < body.bytes; offset += piece.size()) {
    piece.resize(std::min<std::uint64_t>(piece.size(), body.bytes - offset));
    body.read(offset, piece);
    hash.add(piece);
  }
  return hash.hex();
}

HttpBody text_body(std::string text) {
  const std::uint64_t bytes = text.size();
  return {bytes, [text = std::move(text)](std::uint64_t offset, std::span<std::byte> part) {
            std::memcpy(part.data(), text.data() + offset, part.size());
          }};
}

std::string complete_document(const std::vector<UploadedPart>& parts) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("CompleteMultipartUpload");
  root.append_attribute("xmlns") = "http://s3.amazonaws.com/doc/2006-03-01/";
  for (const UploadedPart& part : parts) {
    pugi::xml_node node = root.append_child("Part");
    node.append_child("PartNumber").text() = part.number;
    node.append_child("ETag").text() = part.etag.c_str();
  }
  std::ostringstream text;
  document.save(text, "", pugi::format_raw);
  return text.str();
}

/// Undoes the encoding of keys in lists: %XX, and a plus for a space.
std::string decode_form(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned int byte = 0;
    const char* digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() && std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else {
      decoded += text[i] == '+' ? ' ' : text[i];
    }
  }
  return decoded;
}

SystemTime parse_iso_time(const char* text) {
  std::tm utc{};
  if (::strptime(text, "%Y-%m-%dT%H:%M:%S", &utc) == nullptr) {
    return SystemTime::max(); // of unknown age: never old
  }
  return std::chrono::system_clock::from_time_t(::timegm(&utc));
}

/// Sleeps, but not when @p stop is or becomes requested. @throws StoppedError then.
void wait(std::chrono::milliseconds time, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, time, [] { return false; });
  if (stop.stop_requested()) {
    throw StoppedError();
  }
}

std::chrono::milliseconds jittered(std::chrono::milliseconds wait) {
  thread_local std::minstd_rand random(std::random_device{}());
  return std::chrono::milliseconds(std::uniform_int_distribution<std::int64_t>(wait.count() / 2, wait.count())(random));
}

} // namespace

struct Client::Operation {
  std::string action; ///< for messages: "cannot read"
  std::string method;
  Location object; ///< without a key: the bucket
  Pairs query{};
  Pairs headers{};
  HttpBody body{};
  std::function<bool(const HttpAnswer&, std::span<const std::byte>)> on_data{}; ///< returns whether that was progress
  std::function<void(Pairs& headers)> before_attempt{};                         ///< may add headers, or throw
  std::vector<int> answers{}; ///< statuses besides 2xx that the caller understands
  bool may_fail_late = false; ///< a body with an error may follow status 200
  std::chrono::seconds stall_timeout{0};
  bool only_once = false; ///< not worth any patience
};

/// How long a request that fails again and again is repeated.
class Client::Patience {
public:
  Patience(const ClientSettings& settings, bool only_once)
      : settings_(settings), only_once_(only_once), next_wait_(settings.first_wait) {}

  /// After a failure. @throws TransientError when it was the last.
  void wait_or_give_up(const std::string& failure, const std::stop_token& stop) {
    ++failures_;
    const auto now = SteadyClock::now();
    if (failures_ == 1) {
      deadline_ = now + settings_.patience;
    }
    const auto pause = jittered(next_wait_);
    if (only_once_ || now + pause > deadline_) {
      throw TransientError(failure + "; given up after " + std::to_string(failures_) + " attempts");
    }
    wait(pause, stop);
    next_wait_ = std::min(2 * next_wait_, settings_.longest_wait);
  }
  /// Something was achieved.
  void restore() {
    failures_ = 0;
    next_wait_ = settings_.first_wait;
  }

private:
  const ClientSettings& settings_;
  const bool only_once_;
  std::chrono::milliseconds next_wait_;
  int failures_ = 0;
  SteadyClock::time_point deadline_;
};

Client::Client(ClientSettings settings, std::shared_ptr<Wallet> wallet)
    : settings_(std::move(settings)), wallet_(std::move(wallet)), http_(settings_.http) {
  const std::string endpoint =
      settings_.endpoint.empty() ? "https://s3." + settings_.region + ".amazonaws.com" : settings_.endpoint;
  const std::size_t colon = endpoint.find("://");
  scheme_ = endpoint.substr(0, colon);
  host_ = colon == std::string::npos ? "" : endpoint.substr(colon + 3);
  if (host_.ends_with('/')) {
    host_.pop_back();
  }
  if ((scheme_ != "http" && scheme_ != "https") || host_.empty() || host_.find_first_of("/?#@ ") != std::string::npos) {
    throw PermanentError("S3 endpoint '" + endpoint + "': expected http://HOST[:PORT] or https://HOST[:PORT]");
  }
  const std::string_view default_port = scheme_ == "https" ? ":443" : ":80";
  if (host_.ends_with(default_port)) {
    host_.resize(host_.size() - default_port.size());
  }
}

HttpRequest Client::make_request(const Operation& operation, const std::string& payload_sha256,
                                 const Credentials& credentials) const {
  const std::string& bucket = operation.object.bucket;
  const bool by_host = settings_.addressing == Addressing::by_host ||
                       (settings_.addressing == Addressing::automatic && settings_.endpoint.empty() &&
                        bucket.find('.') == std::string::npos);
  RequestToSign to_sign;
  to_sign.method = operation.method;
  to_sign.host = by_host ? bucket + "." + host_ : host_;
  to_sign.path = (by_host ? "" : "/" + bucket) + "/" + percent_encode_path(operation.object.key);
  to_sign.query = operation.query;
  to_sign.headers = operation.headers;
  if (operation.before_attempt) {
    operation.before_attempt(to_sign.headers);
  }
  to_sign.payload_sha256 = payload_sha256;
  const std::string query = encode_query(operation.query);

  HttpRequest request;
  request.method = operation.method;
  request.url = scheme_ + "://" + to_sign.host + to_sign.path + (query.empty() ? "" : "?" + query);
  const SystemTime now = std::chrono::system_clock::now() + std::chrono::seconds(clock_offset_s_);
  request.headers = sign(to_sign, credentials, settings_.region, now);
  request.headers.emplace_back("host", to_sign.host);
  request.body = operation.body;
  request.stall_timeout = operation.stall_timeout;
  return request;
}

/// @return whether the answer shows that the clocks differ, which they do no longer.
bool Client::correct_clock(const HttpAnswer& answer) const {
  const std::time_t theirs = ::curl_getdate(answer.header("date").c_str(), nullptr);
  if (theirs == -1) {
    return false;
  }
  const auto offset = std::int64_t{theirs} - std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  const std::int64_t before = clock_offset_s_.exchange(offset);
  return std::abs(before - offset) > 60;
}

HttpAnswer Client::send(const Operation& operation, const std::stop_token& stop) const {
  const std::string what = operation.action + " '" + operation.object.url() + "': ";
  const std::string payload_sha256 = hash_of(operation.body);
  Patience patience(settings_, operation.only_once);
  for (bool was_rejected = false;;) {
    const Credentials credentials = wallet_->credentials(stop);
    HttpRequest request = make_request(operation, payload_sha256, credentials);
    if (operation.on_data) {
      request.on_data = [&](const HttpAnswer& head, std::span<const std::byte> part) {
        if (operation.on_data(head, part)) {
          patience.restore();
        }
      };
    }
    HttpAnswer answer;
    try {
      answer = http_.perform(request, stop);
    } catch (const HttpError& error) {
      patience.wait_or_give_up(what + error.what(), stop);
      continue;
    } catch (const HttpRefusal& error) {
      throw PermanentError(what + error.what());
    }
    if (operation.may_fail_late && answer.status == 200 && is_error_document(answer.body)) {
      answer.status = 500;
    }
    if (answer.status / 100 == 2 || std::ranges::find(operation.answers, answer.status) != operation.answers.end()) {
      return answer;
    }
    const ServerError error = parse_error(answer.body);
    const std::string failure = what + describe(answer, error);
    if (is_worth_another_try(answer, error)) {
      patience.wait_or_give_up(failure, stop);
      continue;
    }
    const bool is_about_identity = answer.status == 403 || error.code == "ExpiredToken" || error.code == "InvalidToken";
    if (is_about_identity && !was_rejected) {
      was_rejected = true;
      wallet_->reject(credentials);
      if (correct_clock(answer) || wallet_->credentials(stop) != credentials) {
        continue;
      }
    }
    throw PermanentError(failure + advice(answer, error, operation.method));
  }
}

void Client::back_off(int round, const std::stop_token& stop) const {
  wait(jittered(std::min(settings_.longest_wait, settings_.first_wait * (1 << std::min(round, 10)))), stop);
}

std::optional<ObjectInfo> Client::head(const Location& object, const std::stop_token& stop) const {
  const HttpAnswer answer =
      send({.action = "cannot look at", .method = "HEAD", .object = object, .answers = {404}}, stop);
  return answer.status == 404 ? std::nullopt : std::optional(parse_info(answer));
}

void Client::get(const Location& object, const std::function<void(const ObjectInfo&)>& on_info,
                 const std::function<void(std::span<const std::byte>)>& visit, const std::stop_token& stop) const {
  std::optional<ObjectInfo> info;
  std::uint64_t visited = 0;
  std::uint64_t to_skip = 0; // of this attempt: a server may begin anew
  const auto begin = [&](const HttpAnswer& head) {
    if (!info) {
      info = parse_info(head);
      on_info(*info);
    }
  };
  bool is_beginning = true;
  Operation operation{.action = "cannot read", .method = "GET", .object = object, .answers = {412}};
  operation.before_attempt = [&](Pairs& headers) {
    is_beginning = true;
    if (visited > 0) {
      headers.emplace_back("range", "bytes=" + std::to_string(visited) + "-");
      headers.emplace_back("if-match", info->etag);
    }
  };
  operation.on_data = [&](const HttpAnswer& head, std::span<const std::byte> part) {
    begin(head);
    if (std::exchange(is_beginning, false)) {
      to_skip = head.status == 206 ? 0 : visited;
      if (head.header("etag") != info->etag) {
        throw TransientError("cannot read '" + object.url() + "': it was changed while it was read");
      }
    }
    const std::size_t skipped = std::min<std::uint64_t>(to_skip, part.size());
    to_skip -= skipped;
    part = part.subspan(skipped);
    visited += part.size();
    if (!part.empty()) {
      visit(part);
    }
    return !part.empty();
  };
  const HttpAnswer answer = send(operation, stop);
  if (answer.status == 412) {
    throw TransientError("cannot read '" + object.url() + "': it was changed while it was read");
  }
  begin(answer); // an empty object
}

/// Sends what makes an object visible.
Outcome Client::write(const Operation& operation, const std::stop_token& stop) const {
  try {
    switch (send(operation, stop).status) {
    case 412: return Outcome::exists;
    case 409: return Outcome::conflict;
    case 404: return Outcome::vanished;
    case 501: return Outcome::refused;
    default: return Outcome::done;
    }
  } catch (const Withdrawn&) {
    return Outcome::withdrawn;
  }
}

Outcome Client::put(const Location& object, const HttpBody& body, const WriteOptions& options,
                    const std::stop_token& stop) const {
  Operation operation{.action = "cannot write", .method = "PUT", .object = object};
  operation.body = body;
  operation.headers = {{"content-type", "audio/mpeg"}};
  operation.answers = {409};
  add_metadata(operation.headers, options);
  if (options.only_if_new) {
    operation.headers.emplace_back("if-none-match", "*");
    operation.answers = {409, 412, 501};
  }
  operation.before_attempt = [&options](Pairs&) {
    if (options.still_wanted && !options.still_wanted()) {
      throw Withdrawn();
    }
  };
  return write(operation, stop);
}

void Client::remove(const Location& object, const std::stop_token& stop) const {
  (void)send({.action = "cannot remove", .method = "DELETE", .object = object}, stop);
}

std::string Client::create_upload(const Location& object, const WriteOptions& options,
                                  const std::stop_token& stop) const {
  Operation operation{
      .action = "cannot begin to write", .method = "POST", .object = object, .query = {{"uploads", ""}}};
  operation.headers = {{"content-type", "audio/mpeg"}};
  add_metadata(operation.headers, options);
  const HttpAnswer answer = send(operation, stop);
  pugi::xml_document document;
  document.load_buffer(answer.body.data(), answer.body.size());
  std::string id = document.child("InitiateMultipartUploadResult").child_value("UploadId");
  if (id.empty()) {
    throw PermanentError("cannot begin to write '" + object.url() +
                         "': the server gave no UploadId; is the endpoint one of S3?");
  }
  return id;
}

UploadedPart Client::upload_part(const Location& object, const std::string& upload_id, int number, const HttpBody& body,
                                 const std::stop_token& stop) const {
  const HttpAnswer answer = send({.action = "cannot write a part of",
                                  .method = "PUT",
                                  .object = object,
                                  .query = {{"partNumber", std::to_string(number)}, {"uploadId", upload_id}},
                                  .body = body,
                                  .answers = {404}},
                                 stop);
  if (answer.status == 404) {
    throw TransientError("cannot write a part of '" + object.url() +
                         "': somebody has ended its multipart upload meanwhile");
  }
  return {number, answer.header("etag")};
}

Outcome Client::complete_upload(const Location& object, const std::string& upload_id,
                                const std::vector<UploadedPart>& parts, const WriteOptions& options,
                                const std::stop_token& stop) const {
  Operation operation{
      .action = "cannot finish", .method = "POST", .object = object, .query = {{"uploadId", upload_id}}};
  operation.body = text_body(complete_document(parts));
  operation.headers = {{"content-type", "application/xml"}};
  operation.answers = {404, 409};
  operation.may_fail_late = true;
  operation.stall_timeout = complete_stall_timeout;
  if (options.only_if_new) {
    operation.headers.emplace_back("if-none-match", "*");
    operation.answers = {404, 409, 412, 501};
  }
  operation.before_attempt = [&options](Pairs&) {
    if (options.still_wanted && !options.still_wanted()) {
      throw Withdrawn();
    }
  };
  return write(operation, stop);
}

void Client::abort_upload(const Location& object, const std::string& upload_id, const std::stop_token& stop) const {
  (void)send({.action = "cannot give up the upload of",
              .method = "DELETE",
              .object = object,
              .query = {{"uploadId", upload_id}},
              .answers = {404},
              .stall_timeout = unimportant_stall_timeout,
              .only_once = true},
             stop);
}

std::vector<OpenUpload> Client::open_uploads(const Location& object, const std::stop_token& stop) const {
  const HttpAnswer answer = send({.action = "cannot list the uploads to",
                                  .method = "GET",
                                  .object = {object.bucket, ""},
                                  .query = {{"uploads", ""}, {"prefix", object.key}, {"encoding-type", "url"}},
                                  .stall_timeout = unimportant_stall_timeout,
                                  .only_once = true},
                                 stop);
  pugi::xml_document document;
  document.load_buffer(answer.body.data(), answer.body.size());
  std::vector<OpenUpload> uploads;
  for (const pugi::xml_node upload : document.child("ListMultipartUploadsResult").children("Upload")) {
    const std::string key = upload.child_value("Key");
    if (key == object.key || key == percent_encode_path(object.key) || key == percent_encode(object.key)) {
      uploads.push_back({upload.child_value("UploadId"), parse_iso_time(upload.child_value("Initiated"))});
    }
  }
  return uploads;
}

std::vector<ListedObject> Client::list(const Location& prefix, const std::stop_token& stop) const {
  const HttpAnswer answer =
      send({.action = "cannot list the objects below",
            .method = "GET",
            .object = {prefix.bucket, ""},
            .query = {{"delimiter", "/"}, {"encoding-type", "url"}, {"list-type", "2"}, {"prefix", prefix.key}},
            .stall_timeout = unimportant_stall_timeout,
            .only_once = true},
           stop);
  pugi::xml_document document;
  document.load_buffer(answer.body.data(), answer.body.size());
  std::vector<ListedObject> objects;
  for (const pugi::xml_node object : document.child("ListBucketResult").children("Contents")) {
    const std::string key = decode_form(object.child_value("Key"));
    if (key.starts_with(prefix.key)) {
      objects.push_back({key, parse_iso_time(object.child_value("LastModified"))});
    }
  }
  return objects;
}

} // namespace audiobookd::storage::s3
