// Inputs that are read whole and outputs that appear whole: the interface of a place where job files live.
//
// A Storage may be used by any number of threads; a Publication belongs to one thread at a time.
#pragma once

#include "storage/byte_sink.h"
#include "storage/errors.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::storage {

/// The folders below which all names of a job lie. Both must exist; they may be the same.
struct Roots {
  std::filesystem::path input;
  std::filesystem::path output;
};

/// What to do when the target is already there.
enum class IfExists { fail, replace, skip };

enum class PublishResult {
  published, ///< the target now holds the staged bytes
  identical, ///< the target was there and holds exactly the staged bytes: an earlier run published and then died
  exists,    ///< the target was there with other bytes and IfExists::fail was asked for; it is untouched
  skipped,   ///< the target was there and IfExists::skip was asked for; it is untouched
  lost,      ///< still_mine said no, or the owner has opened the target again; nothing was published
};

/// A transaction on one output: bytes are staged where nobody sees them, and the target appears complete or not at
/// all. The destructor discards what was not committed.
class Publication : public ByteSink {
public:
  /// Makes the staged bytes durable, asks @p still_mine (last thing before the target becomes visible, again before it
  /// is tried again; empty means yes), and publishes. Afterwards the transaction is closed, whatever the result.
  /// @throws TransientError, PermanentError naming the target; what @p still_mine throws. Then nothing was published,
  /// except that a failure to sync the folder after the rename leaves a complete target behind.
  /// @throws std::logic_error when called twice.
  virtual PublishResult commit(IfExists if_exists, const std::function<bool()>& still_mine) = 0;
  /// What output_fingerprint() is to answer once this is published, where a place can keep it. ASCII, before commit().
  virtual void note_fingerprint(const std::string& /*fingerprint*/) {}
  /// The target as shown in messages.
  [[nodiscard]] virtual const std::string& target() const noexcept = 0;
};

/// A transaction on one output that is a folder of files: they are staged where nobody sees them, and the folder
/// appears complete, with its description, or not at all; of a folder that it replaces nothing is seen with it. The
/// destructor discards what was not committed. One thread at a time, as for Publication.
class FolderPublication {
public:
  /// The file that says what is in the folder; it is in every one.
  static constexpr const char* description_name = "metadata.json";

  FolderPublication() = default;
  virtual ~FolderPublication() = default;
  FolderPublication(const FolderPublication&) = delete;
  FolderPublication& operator=(const FolderPublication&) = delete;

  /// Begins a file, which ends when the next one begins or with settle(). The sink lives until then.
  /// @param name 1 to 200 bytes without '/', not added before, not description_name.
  /// @throws PermanentError for another name; TransientError, PermanentError as the medium does.
  virtual ByteSink& add(const std::string& name) = 0;
  /// Forgets all files. @throws as add().
  virtual void clear() = 0;
  /// Ends the last file. @param version tells this content from any other that the folder had or will have.
  /// @return the names that the files will have, in the order in which they were added: as they were given, or with a
  /// mark of @p version before the extension, where old and new cannot be kept apart otherwise. Call once.
  /// @throws as add().
  virtual std::vector<std::string> settle(std::string_view version) = 0;
  /// As Publication::commit(), after settle(). @param description content of description_name. Files are looked at as
  /// names: other files in a folder that is there do not make it different. PermanentError also where @p if_exists is
  /// replace and what is there is no folder with a description, or has folders in it: nothing of it is removed.
  virtual PublishResult commit(std::string_view description, IfExists if_exists,
                               const std::function<bool()>& still_mine) = 0;
  /// What Storage::output_fingerprint() is to answer for the folder's description, as Publication::note_fingerprint().
  virtual void note_fingerprint(const std::string& /*fingerprint*/) {}
  /// The folder as shown in messages.
  [[nodiscard]] virtual const std::string& target() const noexcept = 0;
};

/// Where a place may wait for others (a server that does not answer), a stop ends the waiting: StoppedError.
class Storage {
public:
  virtual ~Storage() = default;
  /// The whole content of input @p name, a path relative to the input root or, where that is on S3, a URL below it.
  /// @throws PermanentError: empty, absolute or with a `..` component; leaves the root through a symbolic link;
  /// missing; a folder or not a regular file; no permission; larger than @p max_bytes. @throws TransientError: see
  /// errors.h.
  [[nodiscard]] virtual std::string read_input(std::string_view name, std::uint64_t max_bytes,
                                               const std::stop_token& stop = {}) const = 0;
  /// Whether output @p name exists now (whatever it is). @throws as read_input() for bad names.
  [[nodiscard]] virtual bool output_exists(std::string_view name, const std::stop_token& stop = {}) const = 0;
  /// What Publication::note_fingerprint() was told of output @p name as it is now; nothing when that is not known.
  /// @throws as output_exists().
  [[nodiscard]] virtual std::optional<std::string> output_fingerprint(std::string_view /*name*/,
                                                                      const std::stop_token& /*stop*/ = {}) const {
    return std::nullopt;
  }
  /// Passes the content of output @p name to @p visit, piece by piece in order; memory does not grow with it.
  /// @throws as read_input(); PermanentError also for a symbolic link; what @p visit throws.
  virtual void read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                           const std::stop_token& stop = {}) const = 0;
  /// Opens a transaction on output @p name, named as inputs are; missing folders are created.
  /// @param owner who publishes, for example a job. Of the transactions that one owner has opened on a target in a
  /// local folder, anywhere, only the last can publish from now on: what another run of a job has not published yet, it
  /// never will. Empty: this transaction and no other. @param stop also ends the transaction's waiting.
  /// @throws as read_input() for bad names; PermanentError when the target is a folder or the place cannot lock files.
  [[nodiscard]] virtual std::unique_ptr<Publication> open_output(std::string_view name, std::string_view owner,
                                                                 const std::stop_token& stop = {}) const = 0;
  /// Opens a transaction on the folder @p name, in the same way. On S3 its objects lie below this key; files that are
  /// published and no longer part of it are removed then.
  /// @throws as open_output(); PermanentError when the target is a file.
  [[nodiscard]] virtual std::unique_ptr<FolderPublication> open_folder(std::string_view name, std::string_view owner,
                                                                       const std::stop_token& stop = {}) const = 0;
};

} // namespace audiobookd::storage
