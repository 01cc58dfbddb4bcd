// See output_root.h.
#include "daemon/output_root.h"

#include "storage/errors.h"
#include "storage/s3/location.h"

namespace audiobookd::daemon {

void read_root(ConfigSection& section, const char* key, std::string& root) {
  section.read(key, root);
  if (root.find("://") == std::string::npos) {
    std::filesystem::path folder;
    section.read_path(key, folder);
    root = folder;
    return;
  }
  try {
    (void)storage::s3::parse_root(root);
  } catch (const storage::PermanentError& error) {
    section.reject(key, std::string("a folder, s3://BUCKET or s3://BUCKET/PREFIX (") + error.what() + ")");
  }
}

OutputRoot load_output_root(const std::filesystem::path& file) {
  const toml::table table = parse_toml(file);
  ConfigSection all(&table, "", file);
  ConfigSection paths = all.section("paths");
  OutputRoot output;
  paths.require("output_root");
  read_root(paths, "output_root", output.root);
  read_s3(all.section("s3"), output.s3);
  return output;
}

} // namespace audiobookd::daemon
