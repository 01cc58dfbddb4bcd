#include "storage/s3_storage.h"

#include "storage/errors.h"
#include "storage/s3/folder_publication.h"
#include "storage/s3/probe.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace audiobookd::storage {
namespace {

/// A file without a name, so that it goes with its process.
FileDescriptor open_stage(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  FileDescriptor file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file && (errno == EOPNOTSUPP || errno == EISDIR)) {
    const std::string path = folder / ("stage-" + random_token());
    file = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    ::unlink(path.c_str());
  }
  if (!file) {
    throw_errno(errno, "cannot stage an output in", folder.string());
  }
  return file;
}

} // namespace

S3Storage::S3Storage(S3Settings settings, S3Roots roots, std::shared_ptr<s3::Wallet> wallet)
    : settings_(std::move(settings)), roots_(std::move(roots)), client_(settings_.client, std::move(wallet)) {}

std::string S3Storage::read_input(std::string_view name, std::uint64_t max_bytes, const std::stop_token& stop) const {
  const s3::Location object = s3::resolve(name, roots_.input);
  std::string content;
  const auto check = [&](std::uint64_t bytes) {
    if (bytes > max_bytes) {
      throw PermanentError("'" + object.url() + "' is too large: " + std::to_string(bytes) + " bytes, at most " +
                           std::to_string(max_bytes) + " are allowed");
    }
  };
  client_.get(
      object,
      [&](const s3::ObjectInfo& info) {
        check(info.bytes);
        content.reserve(info.bytes);
      },
      [&](std::span<const std::byte> piece) {
        content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
        check(content.size()); // a server may not say the length
      },
      stop);
  return content;
}

bool S3Storage::output_exists(std::string_view name, const std::stop_token& stop) const {
  return client_.head(s3::resolve(name, roots_.output), stop).has_value();
}

std::optional<std::string> S3Storage::output_fingerprint(std::string_view name, const std::stop_token& stop) const {
  const s3::ObjectInfo info = client_.head(s3::resolve(name, roots_.output), stop).value_or(s3::ObjectInfo());
  const auto found = info.metadata.find(s3::fingerprint_metadata);
  return found == info.metadata.end() ? std::nullopt : std::optional(found->second);
}

void S3Storage::read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                            const std::stop_token& stop) const {
  client_.get(
      s3::resolve(name, roots_.output), [](const s3::ObjectInfo&) {}, visit, stop);
}

std::unique_ptr<Publication> S3Storage::open_output(std::string_view name, std::string_view /*owner*/,
                                                    const std::stop_token& stop) const {
  s3::Location object = s3::resolve(name, roots_.output);
  const s3::Conditions conditions = conditions_at(object, stop);
  StagedFile stage(open_stage(settings_.staging), object.url());
  return std::make_unique<s3::ObjectPublication>(client_, std::move(object), std::move(stage), conditions,
                                                 settings_.upload, stop);
}

std::unique_ptr<FolderPublication> S3Storage::open_folder(std::string_view name, std::string_view /*owner*/,
                                                          const std::stop_token& stop) const {
  (void)s3::resolve(name, roots_.output); // what is wrong with the name is said of the name
  s3::Location description = s3::resolve(std::string(name) + "/" + FolderPublication::description_name, roots_.output);
  const s3::Conditions conditions = conditions_at(description, stop);
  return std::make_unique<s3::ObjectsPublication>(
      client_, std::move(description), [this] { return open_stage(settings_.staging); }, conditions, settings_.upload,
      stop);
}

s3::Conditions S3Storage::conditions_at(const s3::Location& object, const std::stop_token& stop) const {
  if (settings_.fencing != Fencing::probe) {
    const bool known = settings_.fencing == Fencing::trust;
    return {.put = known, .complete = known};
  }
  const std::lock_guard lock(mutex_);
  const auto known = conditions_.find(object.bucket);
  if (known != conditions_.end()) {
    return known->second;
  }
  const auto root = std::ranges::find_if(roots_.output, [&](const s3::Location& candidate) {
    return candidate.bucket == object.bucket && object.key.starts_with(candidate.key);
  });
  const s3::Conditions found = s3::probe_conditions(client_, *root, stop);
  if (!found.put) {
    throw PermanentError(
        "cannot write to bucket '" + object.bucket +
        "': its server ignores If-None-Match, so that two workers could replace each other's outputs; [s3] fencing = "
        "\"none\" allows that");
  }
  conditions_.emplace(object.bucket, found);
  return found;
}

} // namespace audiobookd::storage
