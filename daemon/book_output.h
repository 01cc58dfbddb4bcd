// Where the files of a book are written: one file, or a folder with its description.
//
// One thread at a time per output.
#pragma once

#include "daemon/book_description.h"
#include "daemon/fingerprint_sink.h"
#include "storage/byte_sink.h"
#include "storage/storage.h"

#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace audiobookd::daemon {

class BookOutput {
public:
  virtual ~BookOutput() = default;
  /// Begins a file, which ends when the next one begins or with finish(). @throws what the medium throws.
  virtual storage::ByteSink& begin_file(const std::string& name) = 0;
  /// Forgets all files. @throws what the medium throws.
  virtual void clear() = 0;
  /// After the last file. @param book its files are given the names that they get. @throws what the medium throws.
  virtual void finish(BookDescription& book) = 0;
};

/// A book that is one file.
class SingleFile final : public BookOutput {
public:
  explicit SingleFile(storage::ByteSink& sink) : sink_(sink) {}
  storage::ByteSink& begin_file(const std::string& /*name*/) override { return sink_; }
  void clear() override { sink_.clear(); }
  void finish(BookDescription& /*book*/) override {}

private:
  storage::ByteSink& sink_;
};

/// A book that is a folder.
class BookFolder final : public BookOutput {
public:
  explicit BookFolder(storage::FolderPublication& publication) : publication_(publication) {}

  storage::ByteSink& begin_file(const std::string& name) override;
  void clear() override;
  void finish(BookDescription& book) override;

  /// After finish(): the content of metadata.json.
  [[nodiscard]] const std::string& description() const noexcept { return description_; }
  /// After finish(): of all files and the description.
  [[nodiscard]] const std::string& fingerprint() const noexcept { return fingerprint_; }

private:
  void end_file();

  storage::FolderPublication& publication_;
  std::string name_;
  std::optional<FingerprintSink> file_;
  std::vector<std::string> fingerprints_; // of the files that have ended, each with its name
  std::string description_;
  std::string fingerprint_;
};

/// The fingerprint() of the output folder @p name as it is now: what was noted with it, else that of what its
/// description lists. Other files in it do not count.
/// @throws as Storage::read_output(), also for a file that is listed and not there, or no folder.
[[nodiscard]] std::string fingerprint_of_folder(const storage::Storage& storage, const std::string& name,
                                                const std::stop_token& stop = {});

} // namespace audiobookd::daemon
