// Both ends of the pipe between a program and its decoder: two numbers, then samples until the end.
#include "storage/isolated_decoder.h"

#include "storage/errors.h"
#include "storage/file_descriptor.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <span>
#include <spawn.h>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

using Clock = std::chrono::steady_clock;
using Header = std::array<std::int32_t, 2>; // sample rate, channels

constexpr std::size_t max_message_bytes = 2000;

struct Pipe {
  FileDescriptor reading, writing;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw_errno(errno, "cannot make a pipe for", "the decoder");
  }
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

FileDescriptor open_regular(const std::filesystem::path& file) {
  FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)); // no waiting for a named pipe's writer
  if (!fd) {
    throw_errno(errno, "cannot open", file.string());
  }
  if (!std::filesystem::is_regular_file(file)) {
    throw PermanentError("'" + file.string() + "' is not a file");
  }
  return fd;
}

/// A process that is killed and waited for at the latest when this goes away.
class Child {
public:
  Child(const std::filesystem::path& program, const std::vector<std::string>& arguments, int in, int out, int err) {
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    std::vector<std::string> words{program.string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) {
      argv.push_back(word.data());
    }
    argv.push_back(nullptr);
    std::array<char*, 1> environment{nullptr};
    const int error = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environment.data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      pid_ = -1;
      throw_errno(error, "cannot start the decoder", program.string());
    }
  }
  ~Child() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      (void)wait();
    }
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Its status, as waitpid() gives it. Once.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }

private:
  pid_t pid_ = -1;
};

/// Everything that comes out of two pipes until both are closed.
struct Output {
  std::string samples, message;
};

/// Appends what can be read now. @return false at the end
bool drain(int fd, std::string& to) {
  std::array<char, 1 << 16> buffer;
  const ssize_t got = ::read(fd, buffer.data(), buffer.size());
  if (got < 0 && errno != EINTR && errno != EAGAIN) {
    throw_errno(errno, "cannot read from", "the decoder");
  }
  to.append(buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  return got != 0;
}

Output collect(int samples, int message, std::size_t max_bytes, Clock::time_point deadline, const std::string& name) {
  Output output;
  std::array<pollfd, 2> waits{pollfd{samples, POLLIN, 0}, pollfd{message, POLLIN, 0}};
  while (waits[0].fd >= 0 || waits[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      throw TransientError("decoding '" + name + "' took too long");
    }
    if (::poll(waits.data(), waits.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) {
      throw_errno(errno, "cannot wait for", "the decoder");
    }
    for (pollfd& wait : waits) {
      std::string& to = wait.fd == samples ? output.samples : output.message;
      if (wait.fd >= 0 && wait.revents != 0 && !drain(wait.fd, to)) {
        wait.fd = -1;
      }
    }
    if (output.samples.size() > max_bytes || output.message.size() > max_message_bytes) {
      throw PermanentError("the decoder of '" + name + "' said more than it may");
    }
  }
  return output;
}

void check_status(int status, const Output& output, const std::string& name) {
  if (WIFSIGNALED(status)) {
    const char* signal = sigabbrev_np(WTERMSIG(status));
    throw PermanentError("'" + name + "' cannot be decoded: its decoder died of SIG" +
                         (signal == nullptr ? std::to_string(WTERMSIG(status)) : signal));
  }
  if (WEXITSTATUS(status) != 0) {
    throw PermanentError(output.message.empty() ? "'" + name + "' cannot be decoded: its decoder ended with status " +
                                                      std::to_string(WEXITSTATUS(status))
                                                : output.message);
  }
}

AudioClip parse(const std::string& bytes, const std::string& name, const DecodeLimits& limits) {
  Header header{};
  if (bytes.size() < sizeof header || (bytes.size() - sizeof header) % sizeof(float) != 0) {
    throw PermanentError("the decoder of '" + name + "' stopped in the middle of a sample");
  }
  std::memcpy(header.data(), bytes.data(), sizeof header);
  const auto [sample_rate, channels] = header;
  AudioClip clip{sample_rate, channels, std::vector<float>((bytes.size() - sizeof header) / sizeof(float))};
  if (sample_rate < 1 || sample_rate > limits.max_sample_rate || channels < 1 || channels > limits.max_channels ||
      clip.samples.size() % static_cast<std::size_t>(channels) != 0) {
    throw PermanentError("the decoder of '" + name + "' gave a clip that cannot be");
  }
  std::memcpy(clip.samples.data(), bytes.data() + sizeof header, bytes.size() - sizeof header);
  return clip;
}

/// A file in memory alone, at its beginning.
FileDescriptor file_of(std::string_view content, const std::string& name) {
  FileDescriptor fd(::memfd_create("clip", MFD_CLOEXEC));
  if (!fd) {
    throw_errno(errno, "cannot make a file in memory for", name);
  }
  write_all_at(fd.get(), 0, std::as_bytes(std::span(content)), name);
  return fd;
}

AudioClip decode(const std::filesystem::path& program, const FileDescriptor& in, const std::string& name,
                 const DecodeLimits& limits, std::chrono::seconds patience) {
  Pipe samples = make_pipe();
  Pipe message = make_pipe();
  Child child(program,
              {name, std::to_string(limits.max_seconds), std::to_string(limits.max_channels),
               std::to_string(limits.max_sample_rate), std::to_string(limits.max_samples)},
              in.get(), samples.writing.get(), message.writing.get());
  samples.writing = FileDescriptor(); // the child's are the last ones
  message.writing = FileDescriptor();
  const std::size_t max_bytes = sizeof(Header) + static_cast<std::size_t>(limits.max_samples) * sizeof(float);
  const Output output = collect(samples.reading.get(), message.reading.get(), max_bytes, Clock::now() + patience, name);
  check_status(child.wait(), output, name);
  return parse(output.samples, name, limits);
}

} // namespace

AudioClip decode_in_child(const std::filesystem::path& program, const std::filesystem::path& file,
                          const DecodeLimits& limits, std::chrono::seconds patience) {
  return decode(program, open_regular(file), file.string(), limits, patience);
}

AudioClip decode_in_child(const std::filesystem::path& program, std::string_view content, const std::string& name,
                          const DecodeLimits& limits, std::chrono::seconds patience) {
  return decode(program, file_of(content, name), name, limits, patience);
}

void send_decoded(int in, int out, const std::string& name, const DecodeLimits& limits) {
  AudioReader reader(in, name, limits);
  const Header header{reader.sample_rate(), reader.channels()};
  write_all(out, std::as_bytes(std::span(header)), "the decoder's pipe");
  for (std::span<const float> block = reader.read(); !block.empty(); block = reader.read()) {
    write_all(out, std::as_bytes(block), "the decoder's pipe");
  }
}

} // namespace audiobookd::storage
