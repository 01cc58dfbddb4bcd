// Which keys and how many bytes of the chunk store belong to which job: one small text file a claim, so that a claim
// survives the process that made it.
//
//   jobs/<job>.<holder>.claim  of an open job: the bytes that it reserves, then a key a line. The modification time is
//                              the last time that its holder renewed it; one that was not renewed of late is idle:
//                              the job waits for a worker, or its worker died
//   jobs/<job>.past            of a job that is over: the same, kept so that forget() knows its keys
//
// Nothing is locked: files appear and change by rename, which is atomic on NFS too, and no host waits for another one
// that hangs. A holder is one ChunkStore: what it ends is its own claim, never that of a successor. A file that cannot
// be understood counts as empty. Any thread, any number of processes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace audiobookd::storage {

class ChunkJobs {
public:
  /// Uses @p folder/jobs (created when missing) and @p folder/tmp. @param holder 16 lower-case hex digits.
  ChunkJobs(std::filesystem::path folder, std::string holder);

  using Time = std::filesystem::file_time_type;

  /// As the methods of ChunkStore. @param idle_before claims renewed before that are idle: what they reserve is free.
  void claim(std::string_view job, std::uint64_t bytes, std::span<const std::string> keys, std::uint64_t max_bytes,
             Time idle_before) const;
  void end_claim(std::string_view job) const;
  void unpin(std::string_view job) const;
  [[nodiscard]] std::vector<std::string> open_jobs() const;

  struct Pins {
    std::unordered_set<std::string> busy; ///< keys of claims that are renewed
    std::unordered_set<std::string> idle; ///< of the others
  };
  [[nodiscard]] Pins pins(Time idle_before) const;
  /// The keys of @p job, open or over, that no other job has.
  [[nodiscard]] std::vector<std::string> keys_of_only(std::string_view job) const;
  /// Forgets that there was @p job.
  void remove(std::string_view job) const;

  /// Says that this holder still works on @p job.
  void renew(std::string_view job) const;
  /// Ends the claims that were renewed before @p oldest for the last time: their holders are gone.
  void end_claims_before(Time oldest) const;
  /// Forgets the jobs that are over and have no key for which @p exists.
  void remove_past_without(const std::function<bool(const std::string&)>& exists) const;

private:
  /// A file of this folder.
  struct File {
    std::filesystem::path path;
    std::string job;
    std::string holder; ///< empty: of a job that is over
    Time changed;
  };
  [[nodiscard]] std::vector<File> list() const;
  [[nodiscard]] std::filesystem::path claim_file(std::string_view job) const;
  [[nodiscard]] std::filesystem::path past_file(std::string_view job) const;
  [[nodiscard]] std::uint64_t reserved_by_others(std::string_view job, Time idle_before) const;
  void replace(const std::filesystem::path& file, std::uint64_t bytes, std::span<const std::string> keys) const;
  void end(const File& claim) const;

  std::filesystem::path folder_;
  std::filesystem::path jobs_;
  std::string holder_;
};

} // namespace audiobookd::storage
