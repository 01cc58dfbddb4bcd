// Stage, sync, rename, sync the folder.
#include "storage/publisher.h"

#include "storage/stages.h"

#include <cerrno>
#include <fcntl.h>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace audiobookd::storage {

FilePublication::FilePublication(FileDescriptor folder, std::string name, const std::string& shown_folder,
                                 std::string_view owner)
    : folder_(std::move(folder)), name_(std::move(name)), target_(shown_folder + "/" + name_),
      owner_(owner_digits(owner)) {
  check_target_name(name_, target_);
  struct stat status {};
  if (::fstatat(folder_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode)) {
    throw PermanentError("cannot publish '" + target_ + "': a folder of that name exists");
  }
  remove_other_stages(folder_, name_, owner_, target_);
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
    const std::string stage_name = new_stage_name(name_, owner_);
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
  return holds_same(folder_, name_, stage_.file(), target_) ? PublishResult::identical : PublishResult::exists;
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

void FilePublication::discard() noexcept {
  if (stage_ && !stage_name_.empty()) {
    ::unlinkat(folder_.get(), stage_name_.c_str(), 0);
  }
  stage_name_.clear();
  stage_ = StagedFile();
}

} // namespace audiobookd::storage
