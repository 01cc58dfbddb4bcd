// Entries as files: write aside, rename, verify on reading, evict by last use.
#include "storage/chunk_store.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t metadata_room_bytes = 4096;
constexpr std::chrono::hours claim_lifetime{7 * 24}; // of one that nobody renews
constexpr std::chrono::hours temporary_lifetime{1};
constexpr std::chrono::hours upkeep_period{1};

const char* extension(ChunkKind kind) { return kind == ChunkKind::audio ? ".audio" : ".tokens"; }

void check(const ChunkStoreOptions& options) {
  if (options.max_bytes == 0 || options.sync_entries == 0 || options.sync_interval.count() <= 0 ||
      options.renewal.count() <= 0) {
    throw std::invalid_argument(
        "chunk store options: max_bytes, sync_entries, sync_interval and renewal must be above 0");
  }
  if (options.max_age.count() < 0) {
    throw std::invalid_argument("chunk store options: max_age must not be negative");
  }
}

bool is_key(std::string_view key) {
  return key.size() == 32 && key.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

void check_key(std::string_view key) {
  if (!is_key(key)) {
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
  make_folder(options.folder / "tmp");
  return options;
}

std::string shard_name(unsigned shard) {
  constexpr char digits[] = "0123456789abcdef";
  return {digits[shard >> 4], digits[shard & 15]};
}

/// Whether @p file of folder @p shard is called as entries are.
bool is_entry(const fs::path& file, const std::string& shard) {
  const std::string stem = file.stem().string();
  const std::string extension = file.extension().string();
  return is_key(stem) && stem.starts_with(shard) && (extension == ".audio" || extension == ".tokens");
}

/// Something lies where an entry should, and it is none: a folder, a link, a file of somebody else's.
bool is_foreign(int error_number) {
  return error_number == EISDIR || error_number == ELOOP || error_number == EACCES || error_number == ENXIO ||
         error_number == ENOTDIR || error_number == EIO;
}

} // namespace

namespace {

/// What is in the file, if it is the entry that it is called.
std::optional<std::string> read_verified(const FileDescriptor& fd, ChunkKind kind, std::string_view key,
                                         bool header_only) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return std::nullopt;
  }
  try {
    const auto length = static_cast<std::uint64_t>(status.st_size);
    std::string bytes(chunk_header_bytes, '\0');
    bytes.resize(read_up_to(fd.get(), std::as_writable_bytes(std::span(bytes)), key));
    const std::optional<ChunkHeader> header = decode_chunk_header(bytes, kind, key);
    if (!header || header->num_values > length || header->file_bytes() != length) {
      return std::nullopt;
    }
    if (!header_only) {
      bytes.resize(length);
      const auto body = std::as_writable_bytes(std::span(bytes)).subspan(chunk_header_bytes);
      if (read_up_to(fd.get(), body, key) != body.size() || !body_is_intact(*header, bytes)) {
        return std::nullopt;
      }
    }
    return bytes;
  } catch (const TransientError&) { // a sector that cannot be read is rendered again like one that was damaged
    return std::nullopt;
  }
}

} // namespace

struct ChunkStore::Entry {
  fs::path path;
  std::uint64_t bytes;
  Time last_used;
};

ChunkStore::ChunkStore(ChunkStoreOptions options)
    : options_(created(std::move(options))), tmp_(options_.folder / "tmp"), jobs_(options_.folder, random_token()),
      group_sync_(options_.sync_entries, options_.sync_interval) {
  create_folders();
  upkeep();
  keeper_ = std::jthread([this](const std::stop_token& stop) { keep_up(stop); });
}

ChunkStore::~ChunkStore() = default;

void ChunkStore::create_folders() const {
  make_folder(tmp_);
  make_folder(options_.folder / "jobs");
  for (unsigned shard = 0; shard < 256; ++shard) {
    make_folder(options_.folder / shard_name(shard));
  }
  sync_file(open_folder(options_.folder).get(), options_.folder.string());
}

fs::path ChunkStore::entry_path(std::string_view key, ChunkKind kind) const {
  check_key(key);
  return options_.folder / key.substr(0, 2) / std::string(key).append(extension(kind));
}

FileDescriptor ChunkStore::write_aside(const fs::path& temporary, std::string_view bytes) const {
  FileDescriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) {
    throw_errno(errno, "cannot create", temporary.string());
  }
  try {
    write_all(fd.get(), std::as_bytes(std::span(bytes)), temporary.string());
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  return fd;
}

void ChunkStore::put(const fs::path& file, std::string_view bytes) {
  const fs::path temporary = tmp_ / (file.filename().string() + "." + random_token());
  if (::access(tmp_.c_str(), F_OK) != 0 || ::access(file.parent_path().c_str(), F_OK) != 0) {
    create_folders(); // somebody has cleared the store
  }
  FileDescriptor fd = write_aside(temporary, bytes);
  int error_number = ::rename(temporary.c_str(), file.c_str()) == 0 ? 0 : errno;
  if (is_foreign(error_number)) { // a folder is in the way
    drop_corrupt(file);
    error_number = ::rename(temporary.c_str(), file.c_str()) == 0 ? 0 : errno;
  }
  if (error_number != 0) {
    ::unlink(temporary.c_str());
    throw_errno(error_number, "cannot store", file.string());
  }
  ++written_;
  used_bytes_ += bytes.size();
  written_since_scan_ += bytes.size();
  group_sync_.add(std::move(fd), file);
  keep_bound();
}

std::optional<std::string> ChunkStore::read(const fs::path& file, ChunkKind kind, std::string_view key,
                                            bool header_only) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && errno == ENOENT) {
    ++misses_;
    return std::nullopt;
  }
  if (!fd && !is_foreign(errno)) {
    throw_errno(errno, "cannot open", file.string());
  }
  std::optional<std::string> bytes = fd ? read_verified(fd, kind, key, header_only) : std::nullopt;
  if (!bytes) {
    ++corrupt_;
    ++misses_;
    drop_corrupt(file);
    return std::nullopt;
  }
  const timespec last_used[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
  ::futimens(fd.get(), last_used); // only the order of eviction depends on it
  ++hits_;
  return bytes;
}

/// Makes room for an entry: whatever lies there goes.
void ChunkStore::drop_corrupt(const fs::path& file) {
  if (::unlink(file.c_str()) == 0 || errno == ENOENT) {
    return;
  }
  const fs::path aside = tmp_ / (file.filename().string() + "." + random_token()); // a folder; removed an hour later
  if (::rename(file.c_str(), aside.c_str()) != 0 && errno != ENOENT) {
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

void ChunkStore::claim(std::string_view job, std::uint64_t bytes, std::span<const std::string> keys) {
  for (const std::string& key : keys) {
    check_key(key);
  }
  {
    const std::lock_guard lock(claims_mutex_);
    claims_.emplace(job);
  }
  jobs_.claim(job, bytes, keys, options_.max_bytes, idle_before());
}

void ChunkStore::leave_claim(std::string_view job) {
  const std::lock_guard lock(claims_mutex_);
  if (const auto found = claims_.find(job); found != claims_.end()) {
    claims_.erase(found);
  }
}

void ChunkStore::end_claim(std::string_view job) {
  leave_claim(job);
  jobs_.end_claim(job);
}

void ChunkStore::unpin(std::string_view job) {
  leave_claim(job);
  jobs_.unpin(job);
}

std::vector<std::string> ChunkStore::open_jobs() const { return jobs_.open_jobs(); }

void ChunkStore::forget(std::string_view job) {
  for (const std::string& key : jobs_.keys_of_only(job)) {
    remove(key);
  }
  leave_claim(job);
  jobs_.remove(job);
}

std::uint64_t ChunkStore::entry_bytes(std::uint64_t num_samples) noexcept {
  return chunk_header_bytes + metadata_room_bytes + sizeof(float) * num_samples;
}

std::vector<ChunkStore::Entry> ChunkStore::scan() const {
  std::vector<Entry> entries;
  for (unsigned shard = 0; shard < 256; ++shard) {
    const std::string name = shard_name(shard);
    const fs::path folder = options_.folder / name;
    std::error_code error;
    for (fs::directory_iterator file(folder, error), end; !error && file != end; file.increment(error)) {
      std::error_code vanished; // another process may evict meanwhile
      const std::uint64_t bytes = file->file_size(vanished);
      const Time last_used = file->last_write_time(vanished);
      if (!vanished && is_entry(file->path(), name)) {
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
  written_since_scan_ = 0;
  std::vector<Entry> entries = scan();
  trim(entries);
}

/// Removes what is too old or too much, and counts the others. @p entries are in no order afterwards.
void ChunkStore::trim(std::vector<Entry>& entries) {
  std::uint64_t used_bytes = 0;
  for (const Entry& entry : entries) {
    used_bytes += entry.bytes;
  }
  const std::vector<Entry> victims = choose_victims(entries);
  for (const Entry& victim : victims) {
    used_bytes -= victim.bytes;
  }
  discard(victims);
  used_bytes_ = used_bytes;
}

std::vector<ChunkStore::Entry> ChunkStore::choose_victims(std::vector<Entry>& entries) const {
  const std::uint64_t step = options_.max_bytes / 32;
  std::uint64_t used_bytes = 0;
  for (const Entry& entry : entries) {
    used_bytes += entry.bytes;
  }
  const bool has_too_much = used_bytes > options_.max_bytes - step;
  const Time oldest = options_.max_age.count() > 0 ? now() - options_.max_age : Time::min();
  std::vector<Entry> victims;
  if (!has_too_much &&
      std::none_of(entries.begin(), entries.end(), [oldest](const Entry& entry) { return entry.last_used < oldest; })) {
    return victims;
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.last_used < b.last_used; });
  const ChunkJobs::Pins pins = jobs_.pins(idle_before());
  const auto choose = [&](const auto& is_candidate) {
    for (const Entry& entry : entries) {
      const bool is_excess = has_too_much && used_bytes > options_.max_bytes - 2 * step;
      if ((is_excess || entry.last_used < oldest) && is_candidate(entry.path.stem().string())) {
        victims.push_back(entry);
        used_bytes -= entry.bytes;
      }
    }
  };
  choose([&](const std::string& key) { return !pins.busy.contains(key) && !pins.idle.contains(key); });
  if (used_bytes > options_.max_bytes - step) {
    choose([&](const std::string& key) { return pins.idle.contains(key) && !pins.busy.contains(key); });
  }
  return victims;
}

/// Removes @p victims, but for those that a job has claimed meanwhile: they are put aside first, so that whoever claims
/// them either finds them gone or is seen here.
void ChunkStore::discard(const std::vector<Entry>& victims) {
  if (victims.empty()) {
    return;
  }
  std::vector<std::pair<fs::path, fs::path>> aside; // where it is, where it was
  for (const Entry& victim : victims) {
    fs::path place = tmp_ / (victim.path.filename().string() + "." + random_token());
    if (::rename(victim.path.c_str(), place.c_str()) == 0) { // else somebody else removes it
      aside.emplace_back(std::move(place), victim.path);
    }
  }
  const ChunkJobs::Pins pins = jobs_.pins(idle_before());
  for (const auto& [place, entry] : aside) {
    if (pins.busy.contains(entry.stem().string())) {
      ::rename(place.c_str(), entry.c_str());
    } else {
      ::unlink(place.c_str());
      ++evicted_;
    }
  }
}

/// As the file system sees it, which may be on another host.
ChunkStore::Time ChunkStore::now() const {
  const fs::path probe = tmp_ / random_token();
  static_cast<void>(write_aside(probe, "now"));
  const Time time = fs::last_write_time(probe);
  ::unlink(probe.c_str());
  return time;
}

ChunkStore::Time ChunkStore::idle_before() const { return now() - 3 * options_.renewal; }

void ChunkStore::upkeep() {
  renew_claims();
  const Time present = now();
  jobs_.end_claims_before(present - claim_lifetime);
  remove_abandoned(present - temporary_lifetime);
  const std::lock_guard only_one(scan_mutex_);
  std::vector<Entry> entries = scan();
  trim(entries);
  jobs_.remove_past_without([this](const std::string& key) {
    return ::access(entry_path(key, ChunkKind::audio).c_str(), F_OK) == 0 ||
           ::access(entry_path(key, ChunkKind::tokens).c_str(), F_OK) == 0;
  });
}

void ChunkStore::renew_claims() {
  const std::lock_guard lock(claims_mutex_);
  for (const std::string& job : claims_) {
    jobs_.renew(job);
  }
}

/// Temporary files of processes that died.
void ChunkStore::remove_abandoned(Time oldest) const {
  std::error_code ignored; // what stays costs space only, and the next time tries again
  for (fs::directory_iterator entry(tmp_, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    std::error_code vanished;
    if (entry->last_write_time(vanished) < oldest && !vanished) {
      fs::remove_all(entry->path(), vanished);
    }
  }
}

void ChunkStore::keep_up(const std::stop_token& stop) {
  auto next_upkeep = std::chrono::steady_clock::now() + upkeep_period;
  std::unique_lock lock(keeper_mutex_);
  while (!keeper_wake_.wait_for(lock, stop, options_.renewal, [&stop] { return stop.stop_requested(); })) {
    try {
      renew_claims();
      if (std::chrono::steady_clock::now() >= next_upkeep) {
        next_upkeep = std::chrono::steady_clock::now() + upkeep_period;
        upkeep();
      }
    } catch (const std::exception&) { // a put meets the same fault and says so
    }
  }
}

ChunkStoreStats ChunkStore::stats() const { return {written_, hits_, misses_, corrupt_, evicted_, used_bytes_}; }

} // namespace audiobookd::storage
