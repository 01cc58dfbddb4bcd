// Publishing one file on a local file system: staged beside the target as the hidden file `.NAME.OWNERTOKEN.partial`,
// synced, then renamed into place. One thread at a time per transaction; any number of transactions and processes may
// work on the same target, of which exactly one creates it.
//
// Opening a transaction removes stages of the same target that runs left behind that died, and those of the same owner:
// see stages.h.
#pragma once

#include "storage/file_descriptor.h"
#include "storage/staged_file.h"
#include "storage/storage.h"

#include <filesystem>
#include <string>

namespace audiobookd::storage {

class FilePublication final : public Publication {
public:
  /// Stages a file named @p name in the open folder @p folder; @p shown_folder is how messages call it. @param owner as
  /// Storage::open_output().
  /// @throws PermanentError: @p name is empty, longer than 200 bytes, contains '/', is `.` or `..` or a folder;
  /// the file system cannot lock. @throws TransientError: see errors.h.
  FilePublication(FileDescriptor folder, std::string name, const std::string& shown_folder, std::string_view owner);
  ~FilePublication() override;
  FilePublication(const FilePublication&) = delete;
  FilePublication& operator=(const FilePublication&) = delete;

  /// A transaction on @p target outside any root (a path given by the user on the command line); the folder must exist.
  [[nodiscard]] static std::unique_ptr<FilePublication> at(const std::filesystem::path& target);

  void append(std::span<const std::byte> bytes) override { stage_.append(bytes); }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override { stage_.overwrite(offset, bytes); }
  void clear() override { stage_.clear(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return stage_.size(); }
  PublishResult commit(IfExists if_exists, const std::function<bool()>& still_mine) override;
  [[nodiscard]] const std::string& target() const noexcept override { return target_; }

private:
  void create_stage();
  PublishResult publish(IfExists if_exists);
  /// Gives the stage the target's name unless something has it already, or the stage is gone.
  PublishResult rename_to_new();
  PublishResult rename_over();
  PublishResult why_not(int error_number);
  void discard() noexcept;

  FileDescriptor folder_;
  std::string name_;
  std::string target_;
  const std::string owner_; // as owner_digits()
  std::string stage_name_;
  StagedFile stage_;
};

} // namespace audiobookd::storage
