#include "storage/s3/location.h"

#include "storage/errors.h"

#include <algorithm>

namespace audiobookd::storage::s3 {
namespace {

constexpr std::string_view scheme = "s3://";
constexpr std::size_t max_key_bytes = 1024;
constexpr std::size_t max_bucket_bytes = 255; // of servers other than Amazon's, which takes 63

[[noreturn]] void refuse(std::string_view name, const std::string& why) {
  throw PermanentError("path '" + std::string(name.substr(0, name.find('\0'))) + "' " + why);
}

bool is_bucket_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  };
  return name.size() >= 3 && name.size() <= max_bucket_bytes && name.find("..") == std::string_view::npos &&
         name.front() != '.' && name.back() != '.' && std::all_of(name.begin(), name.end(), allowed);
}

/// Some servers and proxies resolve such components, so that they would lead out of a root.
bool has_dot_component(std::string_view path) {
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part == "." || part == "..") {
      return true;
    }
    begin = end + 1;
  }
  return false;
}

void check_key(std::string_view name, std::string_view key) {
  if (key.empty()) {
    refuse(name, "is empty");
  }
  if (key.find('\0') != std::string_view::npos) {
    refuse(name, "contains a NUL byte");
  }
  if (has_dot_component(key)) {
    refuse(name, "contains a component '.' or '..'");
  }
  if (key.back() == '/') {
    refuse(name, "names a folder, not a file");
  }
}

Location split(std::string_view url) {
  const std::string_view rest = url.substr(scheme.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  Location location{std::string(rest.substr(0, slash)), std::string(rest.substr(std::min(slash + 1, rest.size())))};
  if (!is_bucket_name(location.bucket)) {
    refuse(url, "names no bucket: expected s3://BUCKET/KEY with a bucket name of 3 to 255 letters, digits, '.', '-' "
                "and '_'");
  }
  return location;
}

std::string list(const std::vector<Location>& roots) {
  std::string text;
  for (const Location& root : roots) {
    text += (text.empty() ? "'" : ", '") + root.url() + "'";
  }
  return text;
}

bool lies_below(const Location& object, const Location& root) {
  return object.bucket == root.bucket && object.key.starts_with(root.key);
}

} // namespace

bool is_url(std::string_view name) noexcept { return name.starts_with(scheme); }

Location parse_root(std::string_view url) {
  if (!is_url(url)) {
    refuse(url, "is no root on S3: expected s3://BUCKET or s3://BUCKET/PREFIX");
  }
  Location root = split(url);
  if (has_dot_component(root.key)) {
    refuse(url, "contains a component '.' or '..'");
  }
  if (!root.key.empty() && root.key.back() != '/') {
    root.key += '/';
  }
  return root;
}

Location resolve(std::string_view name, const std::vector<Location>& roots) {
  if (roots.empty()) {
    refuse(name, "is on S3, but no root there is configured");
  }
  Location object;
  if (is_url(name)) {
    object = split(name);
    check_key(name, object.key);
    if (std::none_of(roots.begin(), roots.end(), [&](const Location& root) { return lies_below(object, root); })) {
      refuse(name, "is below none of the configured roots on S3: " + list(roots));
    }
  } else {
    check_key(name, name);
    if (name.front() == '/') {
      refuse(name, "is absolute; give it relative to the configured root");
    }
    object = {roots.front().bucket, roots.front().key + std::string(name)};
  }
  if (object.key.size() > max_key_bytes) {
    refuse(name, "is too long: its key has " + std::to_string(object.key.size()) + " bytes, at most " +
                     std::to_string(max_key_bytes) + " are allowed");
  }
  return object;
}

} // namespace audiobookd::storage::s3
