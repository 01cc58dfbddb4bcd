// Publishing a folder on S3, where nothing is renamed: objects get names that no other content has, and the
// description, written last as any single object is, makes them a book. What an earlier book consisted of is removed
// afterwards. One thread at a time per transaction.
//
// A file `01 - One.mp3` becomes the object `01 - One.1a2b3c4d.mp3`, with the first digits of a hash of the folder's
// version, so that a run that comes after one that died finds or replaces what that has uploaded, and old and new never
// mix. Objects of a run that died, and that no other run of the same job followed, are removed by a publication in the
// same folder a day later.
#pragma once

#include "storage/s3/client.h"
#include "storage/s3/publication.h"
#include "storage/staged_file.h"
#include "storage/storage.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::storage::s3 {

class ObjectsPublication final : public FolderPublication {
public:
  /// @param client outlives the transaction. @param description the object FolderPublication::description_name.
  /// @param make_stage makes an empty file for staging.
  ObjectsPublication(const Client& client, Location description, std::function<FileDescriptor()> make_stage,
                     Conditions conditions, UploadSettings settings, std::stop_token stop);
  ~ObjectsPublication() override;

  ByteSink& add(const std::string& name) override;
  void clear() override;
  std::vector<std::string> settle(std::string_view version) override;
  PublishResult commit(std::string_view description, IfExists if_exists,
                       const std::function<bool()>& still_mine) override;
  void note_fingerprint(const std::string& fingerprint) override { fingerprint_ = fingerprint; }
  [[nodiscard]] const std::string& target() const noexcept override { return target_; }

private:
  /// A part of the stage.
  struct File {
    std::string name;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0; ///< once it has ended
  };
  class Sink;

  void end_file();
  [[nodiscard]] Location object(const std::string& name) const;
  [[nodiscard]] std::optional<PublishResult> already_there(IfExists if_exists) const;
  [[nodiscard]] std::set<std::string> described_objects() const;
  [[nodiscard]] bool upload(const File& file, const std::function<bool()>& still_mine);
  [[nodiscard]] StagedFile copy_of(const File& file) const;
  void remove_others(const std::set<std::string>& replaced) const noexcept;
  [[nodiscard]] bool is_object_of_ours(const std::string& name) const;

  const Client& client_;
  const Location description_;
  const std::string prefix_; // of all keys
  const std::string target_;
  const std::function<FileDescriptor()> make_stage_;
  const Conditions conditions_;
  const UploadSettings settings_;
  const std::stop_token stop_;
  StagedFile stage_; // all files, one after the other
  std::vector<File> files_;
  std::unique_ptr<Sink> sink_; // of the last of them
  std::string version_;        // digits in names
  std::string fingerprint_;
  bool committed_ = false;
};

} // namespace audiobookd::storage::s3
