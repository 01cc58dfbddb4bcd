#include "storage/staged_file.h"

#include "storage/errors.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <stdexcept>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

constexpr std::size_t buffer_bytes = 64 * 1024;
constexpr std::uint64_t write_back_bytes = 8u << 20;

} // namespace

StagedFile::StagedFile(FileDescriptor file, std::string shown) : file_(std::move(file)), shown_(std::move(shown)) {
  buffer_.reserve(buffer_bytes);
}

void StagedFile::append(std::span<const std::byte> bytes) {
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  if (buffer_.size() >= buffer_bytes) {
    flush();
  }
}

void StagedFile::flush() {
  write_all_at(file_.get(), flushed_, buffer_, shown_);
  flushed_ += buffer_.size();
  buffer_.clear();
  if (flushed_ - written_back_ >= write_back_bytes) { // a hint, so that the fsync of a long book finds little to do
    ::sync_file_range(file_.get(), static_cast<off64_t>(written_back_), 0, SYNC_FILE_RANGE_WRITE);
    written_back_ = flushed_;
  }
}

void StagedFile::overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > size() || bytes.size() > size() - offset) {
    throw std::out_of_range("overwrite of '" + shown_ + "' at " + std::to_string(offset) + " of " +
                            std::to_string(bytes.size()) + " bytes: only " + std::to_string(size()) + " are there");
  }
  flush();
  write_all_at(file_.get(), offset, bytes, shown_);
}

void StagedFile::truncate(std::uint64_t bytes) {
  if (bytes >= flushed_) {
    buffer_.resize(bytes - flushed_);
    return;
  }
  if (::ftruncate(file_.get(), static_cast<off_t>(bytes)) != 0) {
    throw_errno(errno, "cannot shorten the stage of", shown_);
  }
  buffer_.clear();
  flushed_ = bytes;
  written_back_ = std::min(written_back_, bytes);
}

} // namespace audiobookd::storage
