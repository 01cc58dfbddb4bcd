// Stage, sync, rename, sync the folder.
#include "storage/publisher.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <iomanip>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

namespace audiobookd::storage {
namespace {

constexpr std::size_t piece_bytes = 64 * 1024;
constexpr std::size_t max_name_bytes = 200; // leaves room for the stage's prefix and suffix within NAME_MAX

void check_name(const std::string& name, const std::string& target) {
  const bool bad = name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos;
  if (bad || name.size() > max_name_bytes) {
    throw PermanentError("cannot publish '" + target + "': the file name must have 1 to " +
                         std::to_string(max_name_bytes) + " bytes and name a file, found " +
                         std::to_string(name.size()) + " bytes");
  }
}

constexpr std::string_view no_owner = "00000000";
constexpr std::size_t token_digits = 16;

std::string checksum(std::string_view owner) {
  const uLong crc = ::crc32(0, reinterpret_cast<const Bytef*>(owner.data()), static_cast<uInt>(owner.size()));
  std::ostringstream digits;
  digits << std::hex << std::setw(no_owner.size()) << std::setfill('0') << crc;
  return digits.str();
}

/// The owner in the name of a stage of target @p name; nothing when @p entry is none: `.NAME.<24 hex digits>.partial`.
std::optional<std::string> owner_of_stage(const std::string& name, const std::string& entry) {
  const std::string prefix = "." + name + ".";
  const std::string suffix = ".partial";
  const std::size_t end = prefix.size() + no_owner.size() + token_digits;
  if (entry.size() != end + suffix.size() || !entry.starts_with(prefix) || !entry.ends_with(suffix) ||
      entry.find_first_not_of("0123456789abcdef", prefix.size()) != end) {
    return std::nullopt;
  }
  return entry.substr(prefix.size(), no_owner.size());
}

std::vector<std::string> list_folder(const FileDescriptor& folder) {
  const int fd = ::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* dir = fd < 0 ? nullptr : ::fdopendir(fd);
  if (dir == nullptr) {
    throw_errno(errno, "cannot list", "target folder");
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) {
    names.emplace_back(entry->d_name);
  }
  ::closedir(dir);
  return names;
}

} // namespace

FilePublication::FilePublication(FileDescriptor folder, std::string name, const std::string& shown_folder,
                                 std::string_view owner)
    : folder_(std::move(folder)), name_(std::move(name)), target_(shown_folder + "/" + name_),
      owner_(owner.empty() ? "" : checksum(owner)) {
  check_name(name_, target_);
  struct stat status {};
  if (::fstatat(folder_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode)) {
    throw PermanentError("cannot publish '" + target_ + "': a folder of that name exists");
  }
  remove_other_stages();
  create_stage();
}

FilePublication::~FilePublication() { discard(); }

std::unique_ptr<FilePublication> FilePublication::at(const std::filesystem::path& target) {
  const std::filesystem::path parent = target.has_parent_path() ? target.parent_path() : ".";
  FileDescriptor folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) {
    throw_errno(errno, "cannot open output folder", parent.string());
  }
  return std::make_unique<FilePublication>(std::move(folder), target.filename().string(), parent.string(), "");
}

void FilePublication::create_stage() {
  // A process that cleans up may take a new stage for a dead one until it is locked: then it is gone, make another.
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::string stage_name =
        "." + name_ + "." + (owner_.empty() ? std::string(no_owner) : owner_) + random_token() + ".partial";
    FileDescriptor stage(
        ::openat(folder_.get(), stage_name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
    if (!stage) {
      throw_errno(errno, "cannot create a stage for", target_);
    }
    if (::flock(stage.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) {
        continue;
      }
      const int error_number = errno;
      ::unlinkat(folder_.get(), stage_name.c_str(), 0);
      throw_errno(error_number, "the file system cannot lock the stage of", target_);
    }
    struct stat status {};
    if (::fstat(stage.get(), &status) == 0 && status.st_nlink > 0) {
      stage_ = StagedFile(std::move(stage), target_);
      stage_name_ = stage_name;
      return;
    }
  }
  throw TransientError("cannot create a stage for '" + target_ + "': others remove it each time");
}

void FilePublication::remove_other_stages() {
  for (const std::string& entry : list_folder(folder_)) {
    const std::optional<std::string> owner = owner_of_stage(name_, entry);
    if (!owner) {
      continue;
    }
    if (owner == owner_) {
      if (::unlinkat(folder_.get(), entry.c_str(), 0) != 0 && errno != ENOENT) {
        throw_errno(errno, "cannot take the place of an earlier run that publishes", target_);
      }
      continue;
    }
    const FileDescriptor stage(::openat(folder_.get(), entry.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (stage && ::flock(stage.get(), LOCK_EX | LOCK_NB) == 0) {
      ::unlinkat(folder_.get(), entry.c_str(), 0);
    }
  }
}

PublishResult FilePublication::commit(IfExists if_exists, const std::function<bool()>& still_mine) {
  if (!stage_) {
    throw std::logic_error("'" + target_ + "' was committed twice");
  }
  stage_.flush();
  sync_file(stage_.get(), target_);
  const PublishResult result = still_mine && !still_mine() ? PublishResult::lost : publish(if_exists);
  discard();
  if (result == PublishResult::published) {
    sync_file(folder_.get(), target_);
  }
  return result;
}

PublishResult FilePublication::publish(IfExists if_exists) {
  const PublishResult result = if_exists == IfExists::replace ? rename_over() : rename_to_new();
  if (result != PublishResult::exists) {
    return result;
  }
  if (if_exists == IfExists::skip) {
    return PublishResult::skipped;
  }
  return target_is_identical() ? PublishResult::identical : PublishResult::exists;
}

PublishResult FilePublication::rename_to_new() {
  if (::renameat2(folder_.get(), stage_name_.c_str(), folder_.get(), name_.c_str(), RENAME_NOREPLACE) == 0) {
    stage_name_.clear();
    return PublishResult::published;
  }
  // EINVAL, ENOSYS: the file system or the kernel does not know RENAME_NOREPLACE. A hard link never replaces either;
  // the stage's own name goes with discard().
  const bool unsupported = errno == EINVAL || errno == ENOSYS;
  if (unsupported && ::linkat(folder_.get(), stage_name_.c_str(), folder_.get(), name_.c_str(), 0) == 0) {
    return PublishResult::published;
  }
  return why_not(errno);
}

PublishResult FilePublication::rename_over() {
  if (::renameat(folder_.get(), stage_name_.c_str(), folder_.get(), name_.c_str()) != 0) {
    return why_not(errno);
  }
  stage_name_.clear();
  return PublishResult::published;
}

/// @param error_number of a rename. @throws unless it is part of the contract.
PublishResult FilePublication::why_not(int error_number) {
  if (error_number == EEXIST) {
    return PublishResult::exists;
  }
  if (error_number == ENOENT && ::faccessat(folder_.get(), stage_name_.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
    stage_name_.clear(); // its owner has opened the target again
    return PublishResult::lost;
  }
  throw_errno(error_number, "cannot publish", target_);
}

bool FilePublication::target_is_identical() const {
  const FileDescriptor target(::openat(folder_.get(), name_.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!target || ::fstat(target.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != stage_.size()) {
    return false;
  }
  if (::lseek(stage_.get(), 0, SEEK_SET) != 0) {
    throw_errno(errno, "cannot read the stage of", target_);
  }
  std::vector<std::byte> ours(piece_bytes);
  std::vector<std::byte> theirs(piece_bytes);
  std::size_t got = 0;
  do {
    got = read_up_to(stage_.get(), ours, target_);
    if (read_up_to(target.get(), theirs, target_) != got ||
        !std::equal(ours.begin(), ours.begin() + got, theirs.begin())) {
      return false;
    }
  } while (got == piece_bytes);
  return true;
}

void FilePublication::discard() noexcept {
  if (stage_ && !stage_name_.empty()) {
    ::unlinkat(folder_.get(), stage_name_.c_str(), 0);
  }
  stage_name_.clear();
  stage_ = StagedFile();
}

} // namespace audiobookd::storage
