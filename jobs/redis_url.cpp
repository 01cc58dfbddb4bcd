// parse_redis_url(); see redis_connection.h.
#include "jobs/redis_connection.h"

#include <charconv>

namespace audiobookd::jobs {
namespace {

constexpr std::string_view expected_form =
    "expected redis://[[user]:password@]host[:port][/db] or unix://[[user]:password@]/path[?db=N]";

/// The URL's text is not shown: it may hold a password.
[[noreturn]] void refuse(const std::string& what) {
  throw QueueError("Redis URL: " + what + "; " + std::string(expected_form));
}

int number(std::string_view text, int highest, const char* what) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > highest)
    refuse(std::string(what) + " \"" + std::string(text) + "\" is not a number in [0, " + std::to_string(highest) +
           "]");
  return value;
}

std::string decode(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned code = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, 16);
    if (digits.size() != 2 || error != std::errc() || end != digits.data() + 2 || code == 0)
      refuse("a '%' is not followed by two hexadecimal digits (write '%' itself as %25)");
    decoded += static_cast<char>(code);
    i += 2;
  }
  return decoded;
}

/// Takes "[user]:password@" off the front of @p rest.
void take_credentials(std::string_view& rest, RedisEndpoint& endpoint) {
  const std::size_t at = rest.rfind('@');
  if (at == std::string_view::npos)
    return;
  const std::string_view credentials = rest.substr(0, at);
  const std::size_t colon = credentials.find(':');
  if (colon == std::string_view::npos)
    refuse("the part before '@' has no ':' before the password");
  endpoint.user = decode(credentials.substr(0, colon));
  endpoint.password = decode(credentials.substr(colon + 1));
  rest.remove_prefix(at + 1);
}

RedisEndpoint parse_tcp(std::string_view rest) {
  RedisEndpoint endpoint;
  take_credentials(rest, endpoint);
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    if (slash + 1 < rest.size())
      endpoint.database = number(rest.substr(slash + 1), 1 << 20, "database");
    rest = rest.substr(0, slash);
  }
  const std::size_t bracket = rest.starts_with('[') ? rest.find(']') : std::string_view::npos;
  const std::size_t colon = rest.find(':', bracket == std::string_view::npos ? 0 : bracket);
  if (colon != std::string_view::npos)
    endpoint.port = number(rest.substr(colon + 1), 65535, "port");
  endpoint.host = bracket == std::string_view::npos ? rest.substr(0, colon) : rest.substr(1, bracket - 1);
  if (endpoint.host.empty())
    refuse("no host");
  return endpoint;
}

RedisEndpoint parse_unix(std::string_view rest) {
  RedisEndpoint endpoint;
  take_credentials(rest, endpoint);
  if (const std::size_t question = rest.find('?'); question != std::string_view::npos) {
    const std::string_view query = rest.substr(question + 1);
    if (!query.starts_with("db="))
      refuse("the only parameter of unix:// is db");
    endpoint.database = number(query.substr(3), 1 << 20, "database");
    rest = rest.substr(0, question);
  }
  if (!rest.starts_with('/'))
    refuse("the path of unix:// is not absolute");
  endpoint.unix_path = decode(rest);
  return endpoint;
}

RedisEndpoint parse_url(std::string_view url) {
  const std::size_t scheme_end = url.find("://");
  const std::string_view scheme = url.substr(0, scheme_end == std::string_view::npos ? 0 : scheme_end);
  const std::string_view rest = scheme.empty() ? "" : url.substr(scheme_end + 3);
  if (scheme == "redis")
    return parse_tcp(rest);
  if (scheme == "unix")
    return parse_unix(rest);
  if (scheme == "rediss")
    throw QueueError("Redis URL: rediss:// (TLS) is not supported; run stunnel (client = yes, accept = "
                     "127.0.0.1:6380, connect = your server) and use redis://127.0.0.1:6380");
  refuse("unknown scheme \"" + std::string(scheme) + "\"");
}

} // namespace

std::string RedisEndpoint::display() const {
  const std::string place = host.empty() ? unix_path : host + ":" + std::to_string(port);
  return database == 0 ? place : place + " (database " + std::to_string(database) + ")";
}

RedisEndpoint parse_redis_url(std::string_view url, const std::string& password) {
  RedisEndpoint endpoint = parse_url(url);
  if (!password.empty())
    endpoint.password = password;
  return endpoint;
}

} // namespace audiobookd::jobs
