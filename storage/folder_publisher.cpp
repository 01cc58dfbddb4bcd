// Stage a folder, sync what is in it, rename or exchange, sync the folder around it.
#include "storage/folder_publisher.h"

#include "storage/stages.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

constexpr int max_stages = 100;

FileDescriptor open_folder_in(const FileDescriptor& parent, const std::string& name) {
  return FileDescriptor(::openat(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

/// Whether @p name in @p parent is the very folder @p folder.
bool is_same(const FileDescriptor& parent, const std::string& name, const FileDescriptor& folder) {
  struct stat there {};
  struct stat ours {};
  return ::fstatat(parent.get(), name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && ::fstat(folder.get(), &ours) == 0 &&
         there.st_ino == ours.st_ino && there.st_dev == ours.st_dev;
}

} // namespace

LocalFolderPublication::LocalFolderPublication(FileDescriptor parent, std::string name, const std::string& shown_parent,
                                               std::string_view owner)
    : parent_(std::move(parent)), name_(std::move(name)), target_(shown_parent + "/" + name_),
      owner_(owner_digits(owner)) {
  check_target_name(name_, target_);
  struct stat status {};
  if (::fstatat(parent_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(status.st_mode)) {
    throw PermanentError("cannot publish the folder '" + target_ + "': a file of that name exists");
  }
  remove_other_stages(parent_, name_, owner_, target_);
  create_stage();
}

LocalFolderPublication::~LocalFolderPublication() { discard(); }

std::unique_ptr<LocalFolderPublication> LocalFolderPublication::at(const std::filesystem::path& target) {
  const std::filesystem::path parent = target.has_parent_path() ? target.parent_path() : ".";
  FileDescriptor folder(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) {
    throw_errno(errno, "cannot open output folder", parent.string());
  }
  return std::make_unique<LocalFolderPublication>(std::move(folder), target.filename().string(), parent.string(), "");
}

void LocalFolderPublication::create_stage() {
  for (int attempt = 0; attempt < max_stages; ++attempt) {
    if (try_create_stage()) {
      return;
    }
  }
  throw TransientError("cannot create a stage for '" + target_ + "': others remove it each time");
}

/// @return false when somebody who cleans up took the stage for a dead one before it was locked
bool LocalFolderPublication::try_create_stage() {
  stage_name_ = new_stage_name(name_, owner_);
  if (::mkdirat(parent_.get(), stage_name_.c_str(), 0777) != 0) {
    const int error_number = errno;
    stage_name_.clear();
    throw_errno(error_number, "cannot create a stage for", target_);
  }
  stage_ = open_folder_in(parent_, stage_name_);
  lock_ = FileDescriptor(
      stage_ ? ::openat(stage_.get(), description_name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666) : -1);
  const bool is_locked = lock_ && ::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0;
  const int error_number = errno;
  const bool is_ours = stage_ && is_same(parent_, stage_name_, stage_);
  if (is_locked && is_ours) {
    return true;
  }
  const std::string_view action = lock_ ? "the file system cannot lock the stage of" : "cannot write into the stage of";
  const bool was_taken = !is_ours || error_number == EWOULDBLOCK || error_number == EEXIST;
  discard();
  if (!was_taken) {
    throw_errno(error_number, action, target_);
  }
  return false;
}

ByteSink& LocalFolderPublication::add(const std::string& name) {
  check_target_name(name, target_ + "/" + name);
  if (name == description_name || std::ranges::find(names_, name) != names_.end()) {
    throw PermanentError("cannot publish '" + target_ + "': two of its files would be called '" + name + "'");
  }
  end_file();
  FileDescriptor file(::openat(stage_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!file && errno == ENOENT) {
    throw TransientError("the stage of '" + target_ + "' is gone: another run took its place");
  }
  if (!file) {
    throw_errno(errno, "cannot create", target_ + "/" + name);
  }
  names_.push_back(name);
  file_ = StagedFile(std::move(file), target_ + "/" + name);
  return file_;
}

void LocalFolderPublication::end_file() {
  if (file_) {
    file_.flush();
    sync_file(file_.get(), target_ + "/" + names_.back());
    file_ = StagedFile();
  }
}

void LocalFolderPublication::clear() {
  file_ = StagedFile();
  for (const std::string& name : names_) {
    if (::unlinkat(stage_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
      throw_errno(errno, "cannot remove the staged", target_ + "/" + name);
    }
  }
  names_.clear();
}

std::vector<std::string> LocalFolderPublication::settle(std::string_view /*version*/) {
  end_file();
  return names_;
}

PublishResult LocalFolderPublication::commit(std::string_view description, IfExists if_exists,
                                             const std::function<bool()>& still_mine) {
  if (committed_) {
    throw std::logic_error("'" + target_ + "' was committed twice");
  }
  committed_ = true;
  end_file();
  write_description(description);
  const PublishResult result = still_mine && !still_mine() ? PublishResult::lost : publish(if_exists);
  discard();
  if (result == PublishResult::published) {
    sync_file(parent_.get(), target_);
  }
  return result;
}

void LocalFolderPublication::write_description(std::string_view description) {
  const std::string shown = target_ + "/" + description_name;
  write_all_at(lock_.get(), 0, std::as_bytes(std::span(description)), shown);
  sync_file(lock_.get(), shown);
  sync_file(stage_.get(), target_);
}

PublishResult LocalFolderPublication::publish(IfExists if_exists) {
  const PublishResult result = rename_to_new();
  if (result != PublishResult::exists) {
    return result;
  }
  if (if_exists == IfExists::replace) {
    return exchange();
  }
  if (if_exists == IfExists::skip) {
    return PublishResult::skipped;
  }
  return target_is_identical() ? PublishResult::identical : PublishResult::exists;
}

PublishResult LocalFolderPublication::rename_to_new() {
  const char* from = stage_name_.c_str();
  int failed = ::renameat2(parent_.get(), from, parent_.get(), name_.c_str(), RENAME_NOREPLACE);
  if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) {
    // The file system does not know that; without it a folder never replaces a file, or a folder with files in it.
    failed = ::renameat(parent_.get(), from, parent_.get(), name_.c_str());
  }
  if (failed == 0) {
    stage_name_.clear();
    return PublishResult::published;
  }
  return why_not(errno);
}

/// The old folder gets the stage's name, under which discard() or, after a crash, the next transaction removes it.
PublishResult LocalFolderPublication::exchange() {
  require_replaceable();
  if (::renameat2(parent_.get(), stage_name_.c_str(), parent_.get(), name_.c_str(), RENAME_EXCHANGE) == 0) {
    return PublishResult::published;
  }
  if (errno == EINVAL || errno == ENOSYS) {
    throw PermanentError("cannot replace the folder '" + target_ +
                         "': its file system cannot exchange two folders at once; remove it, or choose another name");
  }
  return why_not(errno);
}

/// @param error_number of a rename. @throws unless it is part of the contract.
PublishResult LocalFolderPublication::why_not(int error_number) {
  if (error_number == EEXIST || error_number == ENOTEMPTY || error_number == ENOTDIR) {
    return PublishResult::exists;
  }
  if (error_number == ENOENT && ::faccessat(parent_.get(), stage_name_.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
    stage_name_.clear(); // its owner has opened the target again
    return PublishResult::lost;
  }
  throw_errno(error_number, "cannot publish", target_);
}

/// A folder that this program did not make is nobody's to remove.
void LocalFolderPublication::require_replaceable() const {
  const std::string refusal = "the folder '" + target_ + "' is not replaced: ";
  const FileDescriptor folder = open_folder_in(parent_, name_);
  if (!folder) {
    throw PermanentError(refusal + "it is no folder, or cannot be opened");
  }
  bool is_described = false;
  for (const std::string& name : list_folder(folder, target_)) {
    struct stat status {};
    if (::fstatat(folder.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode)) {
      throw PermanentError(refusal + "there is a folder '" + name + "' in it, so that it is more than a book");
    }
    is_described = is_described || name == description_name;
  }
  if (!is_described) {
    throw PermanentError(refusal + "there is no " + description_name + " in it, so that it may not be a book");
  }
}

bool LocalFolderPublication::target_is_identical() const {
  const FileDescriptor target = open_folder_in(parent_, name_);
  if (!target) {
    return false;
  }
  const auto is_there = [&](const std::string& name) {
    const FileDescriptor staged(::openat(stage_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    return staged && holds_same(target, name, staged, target_ + "/" + name);
  };
  return is_there(description_name) && std::ranges::all_of(names_, is_there);
}

void LocalFolderPublication::discard() noexcept {
  file_ = StagedFile();
  if (!stage_name_.empty()) {
    remove_stage(parent_, stage_name_);
  }
  stage_name_.clear();
  lock_ = FileDescriptor();
  stage_ = FileDescriptor();
}

} // namespace audiobookd::storage
