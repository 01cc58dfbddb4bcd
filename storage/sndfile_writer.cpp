// libsndfile's virtual files: an exception must not pass through its C code and waits outside.
#include "storage/sndfile_writer.h"

#include "storage/errors.h"

#include <algorithm>
#include <cstdio>
#include <sndfile.h>
#include <string>
#include <utility>

namespace audiobookd::storage {

struct SndfileWriter::File {
  Output output;
  sf_count_t size = 0;
  sf_count_t position = 0;
  std::exception_ptr failure;

  static File& of(void* user) { return *static_cast<File*>(user); }
  static sf_count_t length(void* user) { return of(user).size; }
  static sf_count_t tell(void* user) { return of(user).position; }
  static sf_count_t read(void*, sf_count_t, void*) { return 0; } // a file that is being written
  static sf_count_t seek(sf_count_t offset, int whence, void* user) {
    File& file = of(user);
    file.position = offset + (whence == SEEK_SET ? 0 : whence == SEEK_CUR ? file.position : file.size);
    return file.position;
  }
  static sf_count_t write(const void* data, sf_count_t count, void* user) {
    File& file = of(user);
    if (file.failure) {
      return 0;
    }
    try {
      file.output(static_cast<std::uint64_t>(file.position),
                  {static_cast<const std::byte*>(data), static_cast<std::size_t>(count)});
    } catch (...) {
      file.failure = std::current_exception();
      return 0;
    }
    file.position += count;
    file.size = std::max(file.size, file.position);
    return count;
  }
};

SndfileWriter::SndfileWriter(int format, int sample_rate, double compression, Output output)
    : file_(std::make_unique<File>()) {
  file_->output = std::move(output);
  SF_VIRTUAL_IO io = {&File::length, &File::seek, &File::read, &File::write, &File::tell};
  SF_INFO info = {};
  info.channels = 1;
  info.samplerate = sample_rate;
  info.format = format;
  sound_ = sf_open_virtual(&io, SFM_WRITE, &info, file_.get());
  rethrow();
  if (sound_ == nullptr) {
    throw PermanentError(std::string("encoder: libsndfile refuses the settings: ") + sf_strerror(nullptr));
  }
  sf_command(sound_, SFC_SET_COMPRESSION_LEVEL, &compression, sizeof compression);
  sf_command(sound_, SFC_SET_CLIPPING, nullptr, SF_TRUE);
}

SndfileWriter::~SndfileWriter() {
  if (sound_ != nullptr) {
    file_->output = [](std::uint64_t, std::span<const std::byte>) {}; // nobody waits for the rest
    sf_close(sound_);
  }
}

void SndfileWriter::rethrow() {
  if (file_->failure) {
    std::rethrow_exception(std::exchange(file_->failure, nullptr));
  }
}

void SndfileWriter::write(std::span<const float> samples) {
  const auto count = static_cast<sf_count_t>(samples.size());
  const sf_count_t written = sf_write_float(sound_, samples.data(), count);
  rethrow();
  if (written != count) {
    throw TransientError(std::string("encoder: libsndfile failed: ") + sf_strerror(sound_));
  }
}

void SndfileWriter::finish() {
  const int code = sf_close(std::exchange(sound_, nullptr));
  rethrow();
  if (code != 0) {
    throw TransientError(std::string("encoder: libsndfile failed at the end: ") + sf_error_number(code));
  }
}

} // namespace audiobookd::storage
