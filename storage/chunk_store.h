// Finished audio on disk, addressed by content key: what a job that starts again need not render, and the buffer in
// which utterances that finish in any order wait for the writer that reads them in order.
//
// Any number of threads may use one ChunkStore, and any number of processes one folder:
//   00/ … ff/                          entries by the first two digits of the key: <key>.audio and <key>.tokens
//                                      (chunk_format.h); the modification time is the last use
//   jobs/<job>.keys, jobs/<job>.bytes  what open jobs pin and reserve
//   tmp/<token>/                       entries being written; the folder is locked by the process that uses it
//   lock                               held while pins change or entries are evicted
//
// The bound. Whenever a process has written 1/32 of the bound it counts the folder; above 31/32 the least recently
// used entries that no job pins are removed down to 15/16. One process therefore stays below the bound and N processes
// below it by N/32 more, unless pinned entries alone exceed it, which reserve() prevents.
//
// What a crash can lose. An entry is written to tmp/ and renamed at once, so a reader sees it whole or not at all, and
// a process that is killed loses nothing that a put returned for. Entries are fsynced in groups (every sync_entries or
// sync_interval, and by sync()); a power failure can lose or tear what was put after the last group. Every entry
// carries checksums and is verified when read: a torn, truncated or corrupt one counts as missing, is removed, and is
// rendered again. That is why the rename need not wait for the fsync.
#pragma once

#include "storage/chunk_format.h"
#include "storage/chunk_jobs.h"
#include "storage/errors.h"
#include "storage/group_sync.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::storage {

struct ChunkStoreOptions {
  std::filesystem::path folder;  ///< created (mode 0700) when missing
  std::uint64_t max_bytes = 0;   ///< bound on the sum of entries; > 0
  std::size_t sync_entries = 64; ///< fsync after so many entries, ≥ 1 (each keeps a file open until then) …
  std::chrono::milliseconds sync_interval{500}; ///< … or after this time
};

/// The waveform of one utterance; samples come back bit for bit.
struct AudioChunk {
  int sample_rate = 0;
  std::vector<float> samples;
  std::string metadata; ///< as given to put_audio()
};

/// The speech tokens of an utterance that was decoded but not yet synthesised.
struct TokenChunk {
  std::vector<std::int32_t> tokens;
  std::string metadata; ///< as given to put_tokens()
};

/// Since the store was opened, by this process.
struct ChunkStoreStats {
  std::uint64_t written = 0;
  std::uint64_t hits = 0;       ///< reads, and contains_audio(), that found an entry
  std::uint64_t misses = 0;     ///< those that found none or a corrupt one
  std::uint64_t corrupt = 0;    ///< entries removed because a checksum or length was wrong
  std::uint64_t evicted = 0;    ///< entries removed to keep the bound
  std::uint64_t used_bytes = 0; ///< sum of entries, as last counted plus what this process wrote since
};

/// Keys are 32 lower-case hex digits, job names match [A-Za-z0-9_.-]{1,128}; others throw std::invalid_argument.
/// Unless said otherwise, methods throw TransientError and PermanentError naming the file.
class ChunkStore {
public:
  /// Opens or creates the store, and removes temporary files of processes that died.
  /// @throws std::invalid_argument for options out of range.
  explicit ChunkStore(ChunkStoreOptions options);
  /// Syncs what is pending; an error there is lost, call sync() to see it.
  ~ChunkStore();

  /// Stores a waveform; tokens under the same key are removed. @p metadata is JSON (attempt, gate results, tokens, …)
  /// that the store keeps without looking inside. Storing a key again replaces the entry atomically.
  /// May evict. @throws also what a background sync failed with since the last call.
  void put_audio(std::string_view key, int sample_rate, std::span<const float> samples, std::string_view metadata);
  /// The verified waveform of @p key, or nothing when it is missing or was corrupt. Marks it as used now.
  [[nodiscard]] std::optional<AudioChunk> read_audio(std::string_view key);
  /// Whether an entry is there whose header is intact and whose length is right. Cheaper than read_audio(), which may
  /// still find its samples corrupt: be ready to render after a miss there. Marks the entry as used now.
  [[nodiscard]] bool contains_audio(std::string_view key);

  /// As put_audio() and read_audio(), for speech tokens.
  void put_tokens(std::string_view key, std::span<const std::int32_t> tokens, std::string_view metadata);
  [[nodiscard]] std::optional<TokenChunk> read_tokens(std::string_view key);

  /// Removes audio and tokens of @p key; nothing happens when there are none.
  void remove(std::string_view key);
  /// Returns once everything put before is on the disk.
  void sync();

  /// Claims room for @p job before it is rendered (entry_bytes() summed over its utterances); replaces an earlier
  /// claim of the same job. Survives this process.
  /// @throws PermanentError when the store is smaller than @p bytes: "chunk store too small for job …".
  /// @throws TransientError when it would fit, were it not for other open jobs.
  void reserve(std::string_view job, std::uint64_t bytes);
  /// Keeps these keys from eviction, present or not, until unpin(); replaces earlier pins of the same job. Survives
  /// this process. Once it returns, no process evicts them: check what is there afterwards, not before.
  void pin(std::string_view job, std::span<const std::string> keys);
  /// Ends pins and reservation of @p job; nothing happens when it has none.
  void unpin(std::string_view job);
  /// Jobs with pins or a reservation, sorted: whoever knows that a job is over unpins it.
  [[nodiscard]] std::vector<std::string> open_jobs() const;

  /// Bytes that an entry of @p num_samples takes, with room for its metadata.
  [[nodiscard]] static std::uint64_t entry_bytes(std::uint64_t num_samples) noexcept;
  [[nodiscard]] ChunkStoreStats stats() const;

private:
  struct Entry;
  void create_folders();
  void put(const std::filesystem::path& file, std::string_view bytes);
  /// The whole verified entry, or nothing; @p header_only stops after the header and the length.
  std::optional<std::string> read(const std::filesystem::path& file, ChunkKind kind, std::string_view key,
                                  bool header_only);
  void drop_corrupt(const std::filesystem::path& file);
  void keep_bound();
  [[nodiscard]] std::vector<Entry> scan() const;
  void evict(std::vector<Entry> entries, std::uint64_t used_bytes);
  [[nodiscard]] std::filesystem::path entry_path(std::string_view key, ChunkKind kind) const;

  ChunkStoreOptions options_;
  ChunkJobs jobs_;
  FileDescriptor tmp_lock_;
  std::filesystem::path tmp_;
  std::mutex scan_mutex_; // one thread counts and evicts
  std::atomic<std::uint64_t> used_bytes_{0};
  std::atomic<std::uint64_t> written_since_scan_{0};
  std::atomic<std::uint64_t> written_{0}, hits_{0}, misses_{0}, corrupt_{0}, evicted_{0};
  GroupSync group_sync_;
};

} // namespace audiobookd::storage
