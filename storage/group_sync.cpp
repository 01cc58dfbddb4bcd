// One thread that waits for a full group, an old group, or somebody who flushes.
#include "storage/group_sync.h"

#include "storage/errors.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <set>

namespace audiobookd::storage {

GroupSync::GroupSync(std::size_t max_files, std::chrono::milliseconds interval)
    : max_files_(max_files), interval_(interval), thread_([this] { run(); }) {}

GroupSync::~GroupSync() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void GroupSync::add(FileDescriptor file, std::filesystem::path path) {
  ::sync_file_range(file.get(), 0, 0, SYNC_FILE_RANGE_WRITE); // a hint: fsync reports the errors
  const std::lock_guard lock(mutex_);
  waiting_.push_back({std::move(file), std::move(path)});
  ++added_;
  if (waiting_.size() == 1 || waiting_.size() >= max_files_) {
    wake_.notify_one();
  }
  rethrow_failure();
}

void GroupSync::flush() {
  std::unique_lock lock(mutex_);
  const std::uint64_t target = added_;
  flush_wanted_ = true;
  wake_.notify_one();
  done_.wait(lock, [&] { return synced_ >= target; });
  rethrow_failure();
}

void GroupSync::rethrow_failure() {
  if (failure_) {
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

void GroupSync::run() {
  std::unique_lock lock(mutex_);
  while (!stop_ || !waiting_.empty()) {
    wake_.wait(lock, [this] { return stop_ || flush_wanted_ || !waiting_.empty(); });
    // The first file of a group is here: give others the chance to join it.
    wake_.wait_for(lock, interval_, [this] { return stop_ || flush_wanted_ || waiting_.size() >= max_files_; });
    flush_wanted_ = false;
    const std::vector<Waiting> group = std::exchange(waiting_, {});
    std::exception_ptr failure;
    lock.unlock();
    try {
      sync_group(group);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    synced_ += group.size();
    if (failure) {
      failure_ = failure;
    }
    done_.notify_all();
  }
}

void GroupSync::sync_group(const std::vector<Waiting>& group) {
  std::set<std::filesystem::path> folders;
  for (const Waiting& waiting : group) {
    sync_file(waiting.file.get(), waiting.path.string());
    folders.insert(waiting.path.parent_path());
  }
  for (const std::filesystem::path& folder : folders) {
    const FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd && errno == ENOENT) {
      continue; // somebody has removed it, and what was in it
    }
    if (!fd) {
      throw_errno(errno, "cannot open folder", folder.string());
    }
    sync_file(fd.get(), folder.string());
  }
}

} // namespace audiobookd::storage
