// Claims as text files: written aside, synced, renamed.
#include "storage/chunk_jobs.h"

#include "storage/errors.h"
#include "storage/file_descriptor.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fcntl.h>
#include <fstream>
#include <set>
#include <stdexcept>
#include <sys/stat.h>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view claim_extension = ".claim";
constexpr std::string_view past_extension = ".past";
constexpr std::size_t holder_digits = 16;
constexpr std::size_t key_digits = 32;

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// [A-Za-z0-9_.-]{1,128}, perhaps after a `~`.
void check_job(std::string_view job) {
  const std::string_view id = job.starts_with('~') ? job.substr(1) : job;
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
  };
  if (id.empty() || id.size() > 128 || !std::all_of(id.begin(), id.end(), allowed)) {
    throw std::invalid_argument("job name '" + std::string(job) + "' does not match ~?[A-Za-z0-9_.-]{1,128}");
  }
}

void remove_file(const fs::path& file) {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
    throw_errno(errno, "cannot remove", file.string());
  }
}

void sync_folder(const fs::path& folder) {
  const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    throw_errno(errno, "cannot open folder", folder.string());
  }
  sync_file(fd.get(), folder.string());
}

struct Content {
  std::uint64_t bytes = 0;
  std::vector<std::string> keys;
};

/// What is left of @p file: nothing when it has gone meanwhile.
Content read(const fs::path& file) {
  Content content;
  std::ifstream stream(file);
  std::string line;
  if (std::getline(stream, line)) {
    std::from_chars(line.data(), line.data() + line.size(), content.bytes);
  }
  while (std::getline(stream, line)) {
    if (is_hex(line, key_digits)) {
      content.keys.push_back(line);
    }
  }
  return content;
}

} // namespace

ChunkJobs::ChunkJobs(fs::path folder, std::string holder)
    : folder_(std::move(folder)), jobs_(folder_ / "jobs"), holder_(std::move(holder)) {
  if (::mkdir(jobs_.c_str(), 0700) != 0 && errno != EEXIST) {
    throw_errno(errno, "cannot create folder", jobs_.string());
  }
}

fs::path ChunkJobs::claim_file(std::string_view job) const {
  check_job(job);
  return jobs_ / (std::string(job) + "." + holder_).append(claim_extension);
}

fs::path ChunkJobs::past_file(std::string_view job) const {
  check_job(job);
  return jobs_ / (std::string(job).append(past_extension));
}

std::vector<ChunkJobs::File> ChunkJobs::list() const {
  std::vector<File> files;
  std::error_code error;
  for (fs::directory_iterator entry(jobs_, error), end; !error && entry != end; entry.increment(error)) {
    const std::string stem = entry->path().stem().string();
    const std::string extension = entry->path().extension().string();
    const std::size_t dot = stem.rfind('.');
    std::error_code vanished;
    const Time changed = entry->last_write_time(vanished);
    if (vanished) {
      continue;
    }
    if (extension == past_extension) {
      files.push_back({entry->path(), stem, "", changed});
    } else if (extension == claim_extension && dot != std::string::npos &&
               is_hex(std::string_view(stem).substr(dot + 1), holder_digits)) {
      files.push_back({entry->path(), stem.substr(0, dot), stem.substr(dot + 1), changed});
    } // else: not one of ours
  }
  if (error) {
    throw_errno(error.value(), "cannot list folder", jobs_.string());
  }
  return files;
}

void ChunkJobs::replace(const fs::path& file, std::uint64_t bytes, std::span<const std::string> keys) const {
  std::string content = std::to_string(bytes) + "\n";
  content.reserve(content.size() + keys.size() * (key_digits + 1));
  for (const std::string& key : keys) {
    content.append(key).append("\n");
  }
  const fs::path temporary = folder_ / "tmp" / (random_token() + ".claim");
  {
    const FileDescriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) {
      throw_errno(errno, "cannot create", temporary.string());
    }
    try {
      write_all(fd.get(), std::as_bytes(std::span(content)), temporary.string());
      sync_file(fd.get(), temporary.string());
    } catch (...) {
      ::unlink(temporary.c_str());
      throw;
    }
  }
  if (::rename(temporary.c_str(), file.c_str()) != 0) {
    const int error_number = errno;
    ::unlink(temporary.c_str());
    throw_errno(error_number, "cannot replace", file.string());
  }
  sync_folder(jobs_);
}

std::uint64_t ChunkJobs::reserved_by_others(std::string_view job, Time idle_before) const {
  std::uint64_t sum = 0;
  for (const File& file : list()) {
    if (!file.holder.empty() && file.job != job && file.changed >= idle_before) {
      sum += read(file.path).bytes;
    }
  }
  return sum;
}

void ChunkJobs::claim(std::string_view job, std::uint64_t bytes, std::span<const std::string> keys,
                      std::uint64_t max_bytes, Time idle_before) const {
  const fs::path own = claim_file(job);
  if (bytes > max_bytes) {
    throw PermanentError("chunk store '" + folder_.string() + "' is too small for job '" + std::string(job) +
                         "': it needs " + std::to_string(bytes) + " bytes, the store is bounded to " +
                         std::to_string(max_bytes) + "; raise the bound or split the book");
  }
  // Ours first, then the sum: of two that claim the last room at the same time both may step back, but never neither.
  replace(own, bytes, keys);
  const std::uint64_t others = reserved_by_others(job, idle_before);
  if (others > max_bytes - bytes) {
    replace(own, 0, keys); // what is there already stays until the job has room
    throw NoRoomError("chunk store '" + folder_.string() + "' has no room for job '" + std::string(job) +
                      "' now: it needs " + std::to_string(bytes) + " bytes, other open jobs hold " +
                      std::to_string(others) + " of " + std::to_string(max_bytes));
  }
  for (const File& file : list()) {
    if (file.job == job && file.path != own) { // of earlier runs
      remove_file(file.path);
    }
  }
}

void ChunkJobs::end(const File& claim) const {
  const fs::path past = past_file(claim.job);
  if (::rename(claim.path.c_str(), past.c_str()) != 0 && errno != ENOENT) {
    throw_errno(errno, "cannot replace", past.string());
  }
}

void ChunkJobs::end_claim(std::string_view job) const { end({claim_file(job), std::string(job), holder_, {}}); }

void ChunkJobs::unpin(std::string_view job) const {
  check_job(job);
  for (const File& file : list()) {
    if (file.job == job && !file.holder.empty()) {
      end(file);
    }
  }
}

std::vector<std::string> ChunkJobs::open_jobs() const {
  std::set<std::string> jobs;
  for (const File& file : list()) {
    if (!file.holder.empty() && !file.job.starts_with('~')) {
      jobs.insert(file.job);
    }
  }
  return {jobs.begin(), jobs.end()};
}

ChunkJobs::Pins ChunkJobs::pins(Time idle_before) const {
  Pins pins;
  for (const File& file : list()) {
    if (!file.holder.empty()) {
      const Content content = read(file.path);
      (file.changed < idle_before ? pins.idle : pins.busy).insert(content.keys.begin(), content.keys.end());
    }
  }
  return pins;
}

std::vector<std::string> ChunkJobs::keys_of_only(std::string_view job) const {
  check_job(job);
  std::unordered_set<std::string> keys;
  std::vector<std::string> keys_of_others;
  for (const File& file : list()) {
    const Content content = read(file.path);
    if (file.job == job) {
      keys.insert(content.keys.begin(), content.keys.end());
    } else {
      keys_of_others.insert(keys_of_others.end(), content.keys.begin(), content.keys.end());
    }
  }
  for (const std::string& key : keys_of_others) {
    keys.erase(key);
  }
  return {keys.begin(), keys.end()};
}

void ChunkJobs::remove(std::string_view job) const {
  check_job(job);
  for (const File& file : list()) {
    if (file.job == job) {
      remove_file(file.path);
    }
  }
}

void ChunkJobs::renew(std::string_view job) const {
  ::utimensat(AT_FDCWD, claim_file(job).c_str(), nullptr, 0); // gone: a successor has the job, or it is over
}

void ChunkJobs::end_claims_before(Time oldest) const {
  for (const File& file : list()) {
    if (!file.holder.empty() && file.changed < oldest) {
      end(file);
    }
  }
}

void ChunkJobs::remove_past_without(const std::function<bool(const std::string&)>& exists) const {
  for (const File& file : list()) {
    if (!file.holder.empty()) {
      continue;
    }
    const Content content = read(file.path);
    if (std::none_of(content.keys.begin(), content.keys.end(), exists)) {
      remove_file(file.path);
    }
  }
}

} // namespace audiobookd::storage
