// Entries as files: write aside, rename, verify on reading, evict by last use.
#include "storage/chunk_store.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t metadata_room_bytes = 4096;

const char* extension(ChunkKind kind) { return kind == ChunkKind::audio ? ".audio" : ".tokens"; }

void check(const ChunkStoreOptions& options) {
  if (options.max_bytes == 0 || options.sync_entries == 0 || options.sync_interval.count() <= 0) {
    throw std::invalid_argument("chunk store options: max_bytes, sync_entries and sync_interval must be above 0");
  }
}

void check_key(std::string_view key) {
  if (key.size() != 32 || key.find_first_not_of("0123456789abcdef") != std::string_view::npos) {
    throw std::invalid_argument("chunk key '" + std::string(key) + "' is not 32 lower-case hex digits");
  }
}

void make_folder(const fs::path& folder) {
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    throw_errno(errno, "cannot create folder", folder.string());
  }
}

FileDescriptor open_folder(const fs::path& folder) {
  FileDescriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    throw_errno(errno, "cannot open folder", folder.string());
  }
  return fd;
}

ChunkStoreOptions created(ChunkStoreOptions options) {
  check(options);
  options.folder = fs::absolute(options.folder); // has a parent, and stays the same when the process changes folder
  std::error_code error;
  fs::create_directories(options.folder.parent_path(), error);
  if (error) {
    throw_errno(error.value(), "cannot create folder", options.folder.parent_path().string());
  }
  make_folder(options.folder);
  return options;
}

/// Removes the temporary folders whose process is gone: nobody holds their lock. Call with the store's lock held.
void remove_abandoned(const fs::path& folder) {
  std::error_code ignored; // what stays costs space only, and the next process tries again
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    const FileDescriptor fd(::open(entry->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      std::error_code not_removed;
      fs::remove_all(entry->path(), not_removed);
    }
  }
}

std::string shard_name(unsigned shard) {
  constexpr char digits[] = "0123456789abcdef";
  return {digits[shard >> 4], digits[shard & 15]};
}

} // namespace

struct ChunkStore::Entry {
  fs::path path;
  std::uint64_t bytes;
  fs::file_time_type last_used;
};

ChunkStore::ChunkStore(ChunkStoreOptions options)
    : options_(created(std::move(options))), jobs_(options_.folder),
      group_sync_(options_.sync_entries, options_.sync_interval) {
  create_folders();
  for (const Entry& entry : scan()) {
    used_bytes_ += entry.bytes;
  }
}

ChunkStore::~ChunkStore() {
  std::error_code ignored;
  fs::remove_all(tmp_, ignored);
}

void ChunkStore::create_folders() {
  const FileDescriptor held = jobs_.lock();
  for (unsigned shard = 0; shard < 256; ++shard) {
    make_folder(options_.folder / shard_name(shard));
  }
  const fs::path all_tmp = options_.folder / "tmp";
  make_folder(all_tmp);
  remove_abandoned(all_tmp);
  tmp_ = all_tmp / random_token();
  make_folder(tmp_);
  tmp_lock_ = open_folder(tmp_);
  if (::flock(tmp_lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    throw_errno(errno, "cannot lock", tmp_.string());
  }
  sync_file(open_folder(options_.folder).get(), options_.folder.string());
}

fs::path ChunkStore::entry_path(std::string_view key, ChunkKind kind) const {
  check_key(key);
  return options_.folder / key.substr(0, 2) / std::string(key).append(extension(kind));
}

void ChunkStore::put(const fs::path& file, std::string_view bytes) {
  const fs::path temporary = tmp_ / (file.filename().string() + "." + random_token());
  FileDescriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) {
    throw_errno(errno, "cannot create", temporary.string());
  }
  try {
    write_all(fd.get(), std::as_bytes(std::span(bytes)), temporary.string());
    if (::rename(temporary.c_str(), file.c_str()) != 0) {
      throw_errno(errno, "cannot store", file.string());
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  ++written_;
  used_bytes_ += bytes.size();
  written_since_scan_ += bytes.size();
  group_sync_.add(std::move(fd), file);
  keep_bound();
}

std::optional<std::string> ChunkStore::read(const fs::path& file, ChunkKind kind, std::string_view key,
                                            bool header_only) {
  const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno != ENOENT) {
    throw_errno(errno, "cannot open", file.string());
  }
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0) {
    ++misses_;
    return std::nullopt;
  }
  const auto length = static_cast<std::uint64_t>(status.st_size);
  std::string bytes(chunk_header_bytes, '\0');
  bytes.resize(read_up_to(fd.get(), std::as_writable_bytes(std::span(bytes)), file.string()));
  const std::optional<ChunkHeader> header = decode_chunk_header(bytes, kind, key);
  bool intact = header && header->file_bytes() == length;
  if (intact && !header_only) {
    bytes.resize(length);
    const auto body = std::as_writable_bytes(std::span(bytes)).subspan(chunk_header_bytes);
    intact = read_up_to(fd.get(), body, file.string()) == body.size() && body_is_intact(*header, bytes);
  }
  if (!intact) {
    drop_corrupt(file);
    return std::nullopt;
  }
  const timespec last_used[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  ::futimens(fd.get(), last_used); // only the order of eviction depends on it
  ++hits_;
  return bytes;
}

void ChunkStore::drop_corrupt(const fs::path& file) {
  ++corrupt_;
  ++misses_;
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
    throw_errno(errno, "cannot remove corrupt entry", file.string());
  }
}

void ChunkStore::put_audio(std::string_view key, int sample_rate, std::span<const float> samples,
                           std::string_view metadata) {
  const fs::path file = entry_path(key, ChunkKind::audio);
  put(file, encode_chunk(ChunkKind::audio, key, sample_rate, metadata, std::as_bytes(samples)));
  ::unlink(entry_path(key, ChunkKind::tokens).c_str()); // tokens that stay are harmless
}

void ChunkStore::put_tokens(std::string_view key, std::span<const std::int32_t> tokens, std::string_view metadata) {
  const fs::path file = entry_path(key, ChunkKind::tokens);
  put(file, encode_chunk(ChunkKind::tokens, key, 0, metadata, std::as_bytes(tokens)));
}

namespace {

/// The values at the end of the verified entry @p bytes.
template <typename Value>
std::vector<Value> values_of(const ChunkHeader& header, std::string_view bytes) {
  std::vector<Value> values(header.num_values);
  if (!values.empty()) {
    std::memcpy(values.data(), bytes.data() + chunk_header_bytes + header.metadata_bytes, 4 * values.size());
  }
  return values;
}

std::string metadata_of(const ChunkHeader& header, const std::string& bytes) {
  return bytes.substr(chunk_header_bytes, header.metadata_bytes);
}

} // namespace

std::optional<AudioChunk> ChunkStore::read_audio(std::string_view key) {
  const auto bytes = read(entry_path(key, ChunkKind::audio), ChunkKind::audio, key, false);
  if (!bytes) {
    return std::nullopt;
  }
  const ChunkHeader header = decode_chunk_header(*bytes, ChunkKind::audio, key).value();
  return AudioChunk{static_cast<int>(header.sample_rate), values_of<float>(header, *bytes),
                    metadata_of(header, *bytes)};
}

std::optional<TokenChunk> ChunkStore::read_tokens(std::string_view key) {
  const auto bytes = read(entry_path(key, ChunkKind::tokens), ChunkKind::tokens, key, false);
  if (!bytes) {
    return std::nullopt;
  }
  const ChunkHeader header = decode_chunk_header(*bytes, ChunkKind::tokens, key).value();
  return TokenChunk{values_of<std::int32_t>(header, *bytes), metadata_of(header, *bytes)};
}

bool ChunkStore::contains_audio(std::string_view key) {
  return read(entry_path(key, ChunkKind::audio), ChunkKind::audio, key, true).has_value();
}

void ChunkStore::remove(std::string_view key) {
  for (const ChunkKind kind : {ChunkKind::audio, ChunkKind::tokens}) {
    const fs::path file = entry_path(key, kind);
    if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
      throw_errno(errno, "cannot remove", file.string());
    }
  }
}

void ChunkStore::sync() { group_sync_.flush(); }

void ChunkStore::reserve(std::string_view job, std::uint64_t bytes) { jobs_.reserve(job, bytes, options_.max_bytes); }

void ChunkStore::pin(std::string_view job, std::span<const std::string> keys) {
  for (const std::string& key : keys) {
    check_key(key);
  }
  jobs_.pin(job, keys);
}

void ChunkStore::unpin(std::string_view job) { jobs_.unpin(job); }

std::vector<std::string> ChunkStore::open_jobs() const { return jobs_.open_jobs(); }

std::uint64_t ChunkStore::entry_bytes(std::uint64_t num_samples) noexcept {
  return chunk_header_bytes + metadata_room_bytes + sizeof(float) * num_samples;
}

std::vector<ChunkStore::Entry> ChunkStore::scan() const {
  std::vector<Entry> entries;
  for (unsigned shard = 0; shard < 256; ++shard) {
    const fs::path folder = options_.folder / shard_name(shard);
    std::error_code error;
    for (fs::directory_iterator file(folder, error), end; !error && file != end; file.increment(error)) {
      std::error_code vanished; // another process may evict meanwhile
      const std::uint64_t bytes = file->file_size(vanished);
      const fs::file_time_type last_used = file->last_write_time(vanished);
      if (!vanished) {
        entries.push_back({file->path(), bytes, last_used});
      }
    }
    if (error) {
      throw_errno(error.value(), "cannot list folder", folder.string());
    }
  }
  return entries;
}

void ChunkStore::keep_bound() {
  if (written_since_scan_ < options_.max_bytes / 32) {
    return;
  }
  const std::unique_lock only_one(scan_mutex_, std::try_to_lock);
  if (!only_one) {
    return;
  }
  const FileDescriptor held = jobs_.lock();
  written_since_scan_ = 0;
  std::vector<Entry> entries = scan();
  std::uint64_t used_bytes = 0;
  for (const Entry& entry : entries) {
    used_bytes += entry.bytes;
  }
  evict(std::move(entries), used_bytes);
}

void ChunkStore::evict(std::vector<Entry> entries, std::uint64_t used_bytes) {
  const std::uint64_t step = options_.max_bytes / 32;
  if (used_bytes > options_.max_bytes - step) {
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.last_used < b.last_used; });
    const std::unordered_set<std::string> pinned = jobs_.pinned_keys();
    for (const Entry& entry : entries) {
      if (used_bytes <= options_.max_bytes - 2 * step) {
        break;
      }
      if (!pinned.contains(entry.path.stem().string()) && ::unlink(entry.path.c_str()) == 0) {
        used_bytes -= entry.bytes;
        ++evicted_;
      }
    }
  }
  used_bytes_ = used_bytes;
}

ChunkStoreStats ChunkStore::stats() const { return {written_, hits_, misses_, corrupt_, evicted_, used_bytes_}; }

} // namespace audiobookd::storage
