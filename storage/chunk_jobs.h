// Which keys and how many bytes of the chunk store belong to open jobs: small files, so that a claim survives the
// process that made it. Any thread, any number of processes: changes are made under an exclusive lock on one file.
#pragma once

#include "storage/file_descriptor.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace audiobookd::storage {

class ChunkJobs {
public:
  /// Uses @p folder/jobs (created when missing) and @p folder/lock.
  explicit ChunkJobs(std::filesystem::path folder);

  /// Waits for and holds the lock of the store until the result is destroyed. Not recursive.
  [[nodiscard]] FileDescriptor lock() const;

  /// As the methods of ChunkStore. They take the lock.
  void reserve(std::string_view job, std::uint64_t bytes, std::uint64_t max_bytes) const;
  void pin(std::string_view job, std::span<const std::string> keys) const;
  void unpin(std::string_view job) const;
  [[nodiscard]] std::vector<std::string> open_jobs() const;
  /// Every pinned key; call with the lock held when it must stay true.
  [[nodiscard]] std::unordered_set<std::string> pinned_keys() const;

private:
  [[nodiscard]] std::filesystem::path job_file(std::string_view job, std::string_view extension) const;
  [[nodiscard]] std::uint64_t reserved_by_others(std::string_view job) const;

  std::filesystem::path folder_;
  std::filesystem::path jobs_;
};

} // namespace audiobookd::storage
