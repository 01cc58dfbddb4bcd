// fsync in groups: files are collected and made durable together by one background thread, so that a put need not
// wait for the disk. All methods may be called by any thread.
#pragma once

#include "storage/file_descriptor.h"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace audiobookd::storage {

class GroupSync {
public:
  /// Syncs when @p max_files are waiting or the oldest has waited @p interval.
  GroupSync(std::size_t max_files, std::chrono::milliseconds interval);
  /// Syncs what is waiting and joins the thread.
  ~GroupSync();

  /// Takes a written file over; its folder is synced with it. Starts its write-back without waiting.
  /// @throws what an earlier group failed with (once).
  void add(FileDescriptor file, std::filesystem::path path);
  /// Returns once all files added before are durable. @throws TransientError, PermanentError, also of earlier groups.
  void flush();

private:
  struct Waiting {
    FileDescriptor file;
    std::filesystem::path path;
  };
  void run();
  void rethrow_failure();
  static void sync_group(const std::vector<Waiting>& group);

  const std::size_t max_files_;
  const std::chrono::milliseconds interval_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::vector<Waiting> waiting_; // protected by mutex_, as are all below
  std::uint64_t added_ = 0;
  std::uint64_t synced_ = 0;
  bool flush_wanted_ = false;
  bool stop_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

} // namespace audiobookd::storage
