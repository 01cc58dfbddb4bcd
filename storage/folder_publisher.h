// Publishing a folder on a local file system: its files are written into a hidden folder beside the target, everything
// is synced, and the folder gets the target's name by one rename; a folder that is replaced changes names with it
// (RENAME_EXCHANGE) and is removed afterwards. Whoever is killed on the way leaves the old folder or the new one, and a
// stage that the next transaction on this target removes. Stages: see stages.h. One thread at a time per transaction;
// any number of transactions and processes may work on the same target.
#pragma once

#include "storage/file_descriptor.h"
#include "storage/staged_file.h"
#include "storage/storage.h"

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::storage {

class LocalFolderPublication final : public FolderPublication {
public:
  /// Stages a folder named @p name in the open folder @p parent; @p shown_parent is how messages call it. @param owner
  /// as Storage::open_folder().
  /// @throws PermanentError: @p name is none for a target (stages.h), or that of a file; the file system cannot lock.
  /// @throws TransientError: see errors.h.
  LocalFolderPublication(FileDescriptor parent, std::string name, const std::string& shown_parent,
                         std::string_view owner);
  ~LocalFolderPublication() override;

  /// A transaction on @p target outside any root (a path given by the user on the command line); the folder that it is
  /// to lie in must exist.
  [[nodiscard]] static std::unique_ptr<LocalFolderPublication> at(const std::filesystem::path& target);

  ByteSink& add(const std::string& name) override;
  void clear() override;
  std::vector<std::string> settle(std::string_view version) override;
  PublishResult commit(std::string_view description, IfExists if_exists,
                       const std::function<bool()>& still_mine) override;
  [[nodiscard]] const std::string& target() const noexcept override { return target_; }

private:
  void create_stage();
  bool try_create_stage();
  void end_file();
  void write_description(std::string_view description);
  PublishResult publish(IfExists if_exists);
  PublishResult rename_to_new();
  PublishResult exchange();
  PublishResult why_not(int error_number);
  void require_replaceable() const;
  [[nodiscard]] bool target_is_identical() const;
  void discard() noexcept;

  FileDescriptor parent_;
  std::string name_;
  std::string target_;
  const std::string owner_; // as owner_digits()
  std::string stage_name_;  // empty: there is none any more
  FileDescriptor stage_;
  FileDescriptor lock_; // the description, empty until commit()
  std::vector<std::string> names_;
  StagedFile file_; // the last of them, while it is written
  bool committed_ = false;
};

} // namespace audiobookd::storage
