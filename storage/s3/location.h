// An object, or a place below which objects lie, and how names of jobs lead to objects. Plain values; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::storage::s3 {

/// Whether @p name is written as a URL of S3.
[[nodiscard]] bool is_url(std::string_view name) noexcept;

struct Location {
  std::string bucket;
  std::string key; ///< of an object; of a root the prefix: empty, or ending with '/'

  [[nodiscard]] std::string url() const { return "s3://" + bucket + "/" + key; }
};

/// "s3://bucket" or "s3://bucket/prefix". @throws PermanentError saying what is wrong with @p url.
[[nodiscard]] Location parse_root(std::string_view url);

/// The object that a job means by @p name: one relative to the first of @p roots, or a URL that lies below any of them.
/// @throws PermanentError: no name for an object (empty, absolute, with a `.` or `..` component, a folder, a NUL byte,
/// a key of more than 1024 bytes), below none of the roots, or there are none.
[[nodiscard]] Location resolve(std::string_view name, const std::vector<Location>& roots);

} // namespace audiobookd::storage::s3
