// Publishing one object: staged in a local file, uploaded when all of it is known (in parts where it is large; parts
// are invisible), and made visible by one request that the server carries out only if nothing has the key yet.
// One thread at a time per transaction; any number of transactions and processes may work on the same key, of which
// exactly one creates it, as far as the server knows conditions.
#pragma once

#include "storage/s3/client.h"
#include "storage/staged_file.h"
#include "storage/storage.h"

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

namespace audiobookd::storage::s3 {

/// Which requests the server refuses with 412 when the key is taken and `If-None-Match: *` was sent.
struct Conditions {
  bool put = false;
  bool complete = false; ///< CompleteMultipartUpload
};

/// How large objects travel.
struct UploadSettings {
  std::uint64_t part_bytes = std::uint64_t{16} << 20;   ///< larger objects are sent in parts of at least this size
  std::uint64_t max_put_bytes = std::uint64_t{5} << 30; ///< what a server takes in one PUT
};

/// Metadata of what audiobookd publishes: what note_fingerprint() was told.
inline constexpr const char* fingerprint_metadata = "audiobookd-fingerprint";

class ObjectPublication final : public Publication {
public:
  /// @param client outlives the transaction.
  ObjectPublication(const Client& client, Location object, StagedFile stage, Conditions conditions,
                    UploadSettings settings, std::stop_token stop);

  void append(std::span<const std::byte> bytes) override { stage_.append(bytes); }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override { stage_.overwrite(offset, bytes); }
  void clear() override { stage_.clear(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return stage_.size(); }
  void note_fingerprint(const std::string& fingerprint) override { fingerprint_ = fingerprint; }
  PublishResult commit(IfExists if_exists, const std::function<bool()>& still_mine) override;
  [[nodiscard]] const std::string& target() const noexcept override { return target_; }

private:
  [[nodiscard]] PublishResult publish(IfExists if_exists, const WriteOptions& options);
  [[nodiscard]] Outcome upload(const WriteOptions& options, bool must_be_new);
  [[nodiscard]] Outcome upload_in_parts(const WriteOptions& options, bool must_be_new);
  [[nodiscard]] bool exists_already() const;
  void remove_stale_uploads() const;
  [[nodiscard]] HttpBody body(std::uint64_t offset, std::uint64_t bytes) const;
  [[nodiscard]] bool is_from_here(const ObjectInfo& info) const;
  [[nodiscard]] bool is_identical(const ObjectInfo& info) const;

  const Client& client_;
  const Location object_;
  const std::string target_;
  const std::string token_; // tells this transaction's object from all others
  const Conditions conditions_;
  const UploadSettings settings_;
  const std::stop_token stop_;
  StagedFile stage_;
  std::string fingerprint_;
};

} // namespace audiobookd::storage::s3
