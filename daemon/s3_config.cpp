// See s3_config.h.
#include "daemon/s3_config.h"

#include "daemon/config_section.h"
#include "storage/errors.h"
#include "storage/s3/client.h"

#include <regex>
#include <sstream>

namespace audiobookd::daemon {
namespace {

void check_roots(const ConfigSection& section, const char* key, const std::vector<std::string>& roots) {
  for (const std::string& root : roots) {
    try {
      (void)storage::s3::parse_root(root);
    } catch (const storage::PermanentError& error) {
      section.reject(key, std::string("s3://BUCKET or s3://BUCKET/PREFIX (") + error.what() + ")");
    }
  }
}

std::string quoted(const std::string& text) {
  std::ostringstream out;
  out << toml::value<std::string>(text);
  return out.str();
}

std::string quoted(const std::vector<std::string>& texts) {
  std::string list = "[";
  for (const std::string& text : texts) {
    list += (list.size() > 1 ? ", " : "") + quoted(text);
  }
  return list + "]";
}

} // namespace

void read_s3(ConfigSection section, S3Config& s3) {
  section.read("region", s3.region);
  section.read("endpoint", s3.endpoint);
  section.read("addressing", s3.addressing);
  section.read_path("ca_file", s3.ca_file);
  section.read("proxy", s3.proxy);
  section.read_path("credentials_file", s3.credentials_file);
  section.read("profile", s3.profile);
  section.read("instance_metadata", s3.instance_metadata);
  section.read("fencing", s3.fencing);
  section.read("retry_seconds", s3.retry_seconds, 0, 3600);
  section.read_path("staging", s3.staging);
  section.read("input_roots", s3.input_roots);
  section.read("output_roots", s3.output_roots);
  if (!std::regex_match(s3.endpoint, std::regex("|https?://[^/?#@ ]+/?"))) {
    section.reject("endpoint", "http://HOST[:PORT] or https://HOST[:PORT]");
  }
  if (!std::regex_match(s3.region, std::regex("[A-Za-z0-9_-]*"))) {
    section.reject("region", "a name like \"eu-central-1\"");
  }
  if (!std::regex_match(s3.addressing, std::regex("auto|path|host"))) {
    section.reject("addressing", "\"auto\", \"path\" or \"host\"");
  }
  if (!std::regex_match(s3.fencing, std::regex("probe|trust|none"))) {
    section.reject("fencing", "\"probe\", \"trust\" or \"none\"");
  }
  check_roots(section, "input_roots", s3.input_roots);
  check_roots(section, "output_roots", s3.output_roots);
  section.reject_unknown();
}

std::string describe(const S3Config& s3) {
  std::ostringstream out;
  out << "[s3]\nregion = " << quoted(s3.region) << "\nendpoint = " << quoted(s3.endpoint)
      << "\naddressing = " << quoted(s3.addressing) << "\nca_file = " << quoted(s3.ca_file)
      << "\nproxy = " << quoted(s3.proxy) << "\ncredentials_file = " << quoted(s3.credentials_file)
      << "\nprofile = " << quoted(s3.profile) << "\ninstance_metadata = " << (s3.instance_metadata ? "true" : "false")
      << "\nfencing = " << quoted(s3.fencing) << "\nretry_seconds = " << s3.retry_seconds
      << "\nstaging = " << quoted(s3.staging) << "\ninput_roots = " << quoted(s3.input_roots)
      << "\noutput_roots = " << quoted(s3.output_roots) << "\n";
  return out.str();
}

} // namespace audiobookd::daemon
