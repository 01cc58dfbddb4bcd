// Finished audio on disk, addressed by content key: what a job that starts again need not render, and the buffer in
// which utterances that finish in any order wait for the writer that reads them in order.
//
// Any number of threads may use one ChunkStore, and any number of processes, of one user, on any number of hosts, one
// folder:
//   00/ … ff/   entries by the first two digits of the key: <key>.audio and <key>.tokens (chunk_format.h); the
//               modification time is the last use
//   jobs/       which keys and how many bytes belong to which job (chunk_jobs.h)
//   tmp/        what is being written or removed
// Other files are left alone. Nothing is locked: entries and claims appear, change and go by rename, which is atomic on
// NFS too, and no process waits for one that hangs. Times are those that the file system gives, so hosts' clocks do not
// matter. What a file system may show too late costs work, not correctness: an entry that is missing is rendered again.
//
// The bound. Whenever a process has written 1/32 of the bound it counts the folder; above 31/32 entries are removed
// down to 15/16, the least recently used first: those that no job claims, then those of idle claims (whose job waits
// for a worker, or whose worker died), never those of jobs that are worked on. One process therefore stays below the
// bound and N processes below it by N/32 more, unless what open jobs reserve is too little, which claim() prevents.
// Entries that no open job claims also go when they were not used for max_age.
//
// What a crash can lose. An entry is written to tmp/ and renamed at once, so a reader sees it whole or not at all, and
// a process that is killed loses nothing that a put returned for. Entries are fsynced in groups (every sync_entries or
// sync_interval, and by sync()); a power failure can lose or tear what was put after the last group. Every entry
// carries checksums and is verified when read: what is torn, truncated, corrupt, unreadable or no file at all counts as
// missing, is removed, and is rendered again. That is why the rename need not wait for the fsync.
#pragma once

#include "storage/chunk_format.h"
#include "storage/chunk_jobs.h"
#include "storage/errors.h"
#include "storage/group_sync.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace audiobookd::storage {

struct ChunkStoreOptions {
  std::filesystem::path folder;  ///< created (mode 0700) when missing
  std::uint64_t max_bytes = 0;   ///< bound on the sum of entries; > 0
  std::size_t sync_entries = 64; ///< fsync after so many entries, ≥ 1 (each keeps a file open until then) …
  std::chrono::milliseconds sync_interval{500}; ///< … or after this time
  std::chrono::hours max_age{0};                ///< entries not used for longer are removed; 0: only for want of room
  /// How often claims are renewed; one that was not for three times as long is idle. The same for all processes.
  std::chrono::seconds renewal{300};
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
  std::uint64_t evicted = 0;    ///< entries removed to keep the bound, or because of their age
  std::uint64_t used_bytes = 0; ///< sum of entries, as last counted plus what this process wrote since
};

/// Keys are 32 lower-case hex digits, job names match [A-Za-z0-9_.-]{1,128}, after a `~` when no queue knows them;
/// others throw std::invalid_argument.
/// Unless said otherwise, methods throw TransientError and PermanentError naming the file.
class ChunkStore {
public:
  /// Opens or creates the store, and does upkeep(), also every hour from now on.
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

  /// Reserves @p bytes (entry_bytes() summed over its utterances) for @p job and keeps @p keys, present or not, from
  /// eviction, until end_claim() or unpin(). Replaces all earlier claims of the same job, whoever made them, and is
  /// renewed as long as this store lives. Survives this process. Check what is there afterwards, not before.
  /// @throws PermanentError when the store is smaller than @p bytes: "chunk store too small for job …".
  /// @throws NoRoomError when it would fit, were it not for other open jobs; the keys are kept all the same.
  void claim(std::string_view job, std::uint64_t bytes, std::span<const std::string> keys);
  /// The job waits for somebody who takes it up again: the claim stays, but is renewed no more.
  void leave_claim(std::string_view job);
  /// The job is over, or no longer ours: ends the claim that this store made, if it still has one.
  void end_claim(std::string_view job);
  /// Ends all claims of @p job; nothing happens when there are none.
  void unpin(std::string_view job);
  /// Jobs with claims of any process, sorted, but for those with a `~`: whoever knows that one is over unpins it. A
  /// folder therefore belongs to one queue.
  [[nodiscard]] std::vector<std::string> open_jobs() const;
  /// Removes the entries that only @p job uses, open or over, and everything that is known of it.
  void forget(std::string_view job);
  /// Renews claims and removes what is too old: entries (max_age), claims that nobody renewed for a week, temporary
  /// files of an hour ago, and the keys of jobs that are over when none of their entries is left.
  void upkeep();

  /// Bytes that an entry of @p num_samples takes, with room for its metadata.
  [[nodiscard]] static std::uint64_t entry_bytes(std::uint64_t num_samples) noexcept;
  [[nodiscard]] ChunkStoreStats stats() const;

private:
  using Time = ChunkJobs::Time;
  struct Entry;
  void create_folders() const;
  void put(const std::filesystem::path& file, std::string_view bytes);
  [[nodiscard]] FileDescriptor write_aside(const std::filesystem::path& temporary, std::string_view bytes) const;
  /// The whole verified entry, or nothing; @p header_only stops after the header and the length.
  std::optional<std::string> read(const std::filesystem::path& file, ChunkKind kind, std::string_view key,
                                  bool header_only);
  void drop_corrupt(const std::filesystem::path& file);
  void keep_bound();
  [[nodiscard]] std::vector<Entry> scan() const;
  void trim(std::vector<Entry>& entries);
  [[nodiscard]] std::vector<Entry> choose_victims(std::vector<Entry>& entries) const;
  void discard(const std::vector<Entry>& victims);
  [[nodiscard]] Time now() const;
  [[nodiscard]] Time idle_before() const;
  void renew_claims();
  void remove_abandoned(Time oldest) const;
  void keep_up(const std::stop_token& stop);
  [[nodiscard]] std::filesystem::path entry_path(std::string_view key, ChunkKind kind) const;

  const ChunkStoreOptions options_;
  const std::filesystem::path tmp_;
  const ChunkJobs jobs_;
  std::mutex claims_mutex_;
  std::set<std::string, std::less<>> claims_; // to be renewed; protected by claims_mutex_
  std::mutex scan_mutex_;                     // one thread counts and evicts
  std::atomic<std::uint64_t> used_bytes_{0};
  std::atomic<std::uint64_t> written_since_scan_{0};
  std::atomic<std::uint64_t> written_{0}, hits_{0}, misses_{0}, corrupt_{0}, evicted_{0};
  GroupSync group_sync_;
  std::mutex keeper_mutex_; // of keeper_wake_
  std::condition_variable_any keeper_wake_;
  std::jthread keeper_; // last: uses everything above
};

} // namespace audiobookd::storage
