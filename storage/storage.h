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
};

} // namespace audiobookd::storage
