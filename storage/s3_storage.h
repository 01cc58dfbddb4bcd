// Job files in buckets of S3, or of a server that speaks its protocol. Objects are read and written below configured
// roots; nothing else is touched but a small object `.audiobookd-probe-…` below an output root, made and removed once.
// Any thread.
#pragma once

#include "storage/s3/client.h"
#include "storage/s3/publication.h"
#include "storage/storage.h"

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace audiobookd::storage {

/// Places below which all names of jobs lie; names that are no URL lie below the first.
struct S3Roots {
  std::vector<s3::Location> input;
  std::vector<s3::Location> output;
};

/// What keeps two workers that publish the same output at the same time from replacing each other's.
enum class Fencing {
  probe, ///< conditional requests; a server that ignores the condition is found out and refused
  trust, ///< conditional requests; the server is believed to know them
  none   ///< looking first: what appears between looking and writing is replaced
};

struct S3Settings {
  s3::ClientSettings client;
  s3::UploadSettings upload;
  Fencing fencing = Fencing::probe;
  std::filesystem::path staging; ///< folder for outputs until they are uploaded; made when it is missing
};

class S3Storage final : public Storage {
public:
  /// Nothing is sent yet. @throws PermanentError for settings that cannot be.
  S3Storage(S3Settings settings, S3Roots roots, std::shared_ptr<s3::Wallet> wallet);

  [[nodiscard]] std::string read_input(std::string_view name, std::uint64_t max_bytes,
                                       const std::stop_token& stop = {}) const override;
  [[nodiscard]] bool output_exists(std::string_view name, const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::optional<std::string> output_fingerprint(std::string_view name,
                                                              const std::stop_token& stop = {}) const override;
  void read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                   const std::stop_token& stop = {}) const override;
  /// @throws PermanentError also for a server that was probed and ignores If-None-Match.
  [[nodiscard]] std::unique_ptr<Publication> open_output(std::string_view name, std::string_view owner,
                                                         const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::unique_ptr<FolderPublication> open_folder(std::string_view name, std::string_view owner,
                                                               const std::stop_token& stop = {}) const override;

private:
  [[nodiscard]] s3::Conditions conditions_at(const s3::Location& object, const std::stop_token& stop) const;

  const S3Settings settings_;
  const S3Roots roots_;
  const s3::Client client_;
  mutable std::mutex mutex_;                                 // protects conditions_; held while a bucket is probed
  mutable std::map<std::string, s3::Conditions> conditions_; // by bucket
};

} // namespace audiobookd::storage
