// One text file per fact: jobs/<job>.keys holds a key per line, jobs/<job>.bytes a number.
#include "storage/chunk_jobs.h"

#include "storage/errors.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <set>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

namespace fs = std::filesystem;

/// Replaces @p file by one with @p content, durably. The caller holds the lock, so one temporary name is enough.
void replace_file(const fs::path& file, std::string_view content) {
  const fs::path temporary = file.string() + ".new";
  {
    const FileDescriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) {
      throw_errno(errno, "cannot create", temporary.string());
    }
    write_all(fd.get(), std::as_bytes(std::span(content)), temporary.string());
    sync_file(fd.get(), temporary.string());
  }
  if (::rename(temporary.c_str(), file.c_str()) != 0) {
    throw_errno(errno, "cannot replace", file.string());
  }
  const FileDescriptor folder(::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) {
    throw_errno(errno, "cannot open folder", file.parent_path().string());
  }
  sync_file(folder.get(), file.parent_path().string());
}

void remove_file(const fs::path& file) {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
    throw_errno(errno, "cannot remove", file.string());
  }
}

std::vector<fs::path> list_files(const fs::path& folder, std::string_view extension) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == extension) {
      files.push_back(entry->path());
    }
  }
  if (error) {
    throw_errno(error.value(), "cannot list folder", folder.string());
  }
  return files;
}

} // namespace

ChunkJobs::ChunkJobs(fs::path folder) : folder_(std::move(folder)), jobs_(folder_ / "jobs") {
  if (::mkdir(jobs_.c_str(), 0700) != 0 && errno != EEXIST) {
    throw_errno(errno, "cannot create folder", jobs_.string());
  }
}

FileDescriptor ChunkJobs::lock() const {
  const fs::path file = folder_ / "lock";
  // Each call opens the file anew, so that the lock also keeps the threads of one process apart.
  FileDescriptor fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) {
    throw_errno(errno, "cannot open", file.string());
  }
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) {
      throw_errno(errno, "cannot lock", file.string());
    }
  }
  return fd;
}

fs::path ChunkJobs::job_file(std::string_view job, std::string_view extension) const {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
  };
  if (job.empty() || job.size() > 128 || !std::all_of(job.begin(), job.end(), allowed)) {
    throw std::invalid_argument("job name '" + std::string(job) + "' does not match [A-Za-z0-9_.-]{1,128}");
  }
  return jobs_ / (std::string(job).append(extension));
}

std::uint64_t ChunkJobs::reserved_by_others(std::string_view job) const {
  const fs::path own = job_file(job, ".bytes");
  std::uint64_t sum = 0;
  for (const fs::path& file : list_files(jobs_, ".bytes")) {
    std::uint64_t bytes = 0;
    if (file != own && !(std::ifstream(file) >> bytes)) {
      throw PermanentError("'" + file.string() + "' should hold a number of bytes; remove it to drop the reservation");
    }
    sum += bytes;
  }
  return sum;
}

void ChunkJobs::reserve(std::string_view job, std::uint64_t bytes, std::uint64_t max_bytes) const {
  const fs::path file = job_file(job, ".bytes");
  if (bytes > max_bytes) {
    throw PermanentError("chunk store '" + folder_.string() + "' is too small for job '" + std::string(job) +
                         "': it needs " + std::to_string(bytes) + " bytes, the store is bounded to " +
                         std::to_string(max_bytes) + "; raise the bound or split the book");
  }
  const FileDescriptor held = lock();
  const std::uint64_t others = reserved_by_others(job);
  if (others > max_bytes - bytes) {
    throw TransientError("chunk store '" + folder_.string() + "' has no room for job '" + std::string(job) +
                         "' now: it needs " + std::to_string(bytes) + " bytes, other open jobs hold " +
                         std::to_string(others) + " of " + std::to_string(max_bytes));
  }
  replace_file(file, std::to_string(bytes) + "\n");
}

void ChunkJobs::pin(std::string_view job, std::span<const std::string> keys) const {
  const fs::path file = job_file(job, ".keys");
  std::string content;
  content.reserve(keys.size() * 33);
  for (const std::string& key : keys) {
    content.append(key).append("\n");
  }
  const FileDescriptor held = lock();
  replace_file(file, content);
}

void ChunkJobs::unpin(std::string_view job) const {
  const fs::path keys = job_file(job, ".keys");
  const FileDescriptor held = lock();
  remove_file(keys);
  remove_file(job_file(job, ".bytes"));
}

std::vector<std::string> ChunkJobs::open_jobs() const {
  std::set<std::string> jobs;
  for (const std::string_view extension : {".keys", ".bytes"}) {
    for (const fs::path& file : list_files(jobs_, extension)) {
      jobs.insert(file.stem().string());
    }
  }
  return {jobs.begin(), jobs.end()};
}

std::unordered_set<std::string> ChunkJobs::pinned_keys() const {
  std::unordered_set<std::string> keys;
  for (const fs::path& file : list_files(jobs_, ".keys")) {
    std::ifstream stream(file);
    if (!stream) {
      throw PermanentError("cannot read '" + file.string() + "': pins of an open job");
    }
    for (std::string line; std::getline(stream, line);) {
      keys.insert(line);
    }
  }
  return keys;
}

} // namespace audiobookd::storage
