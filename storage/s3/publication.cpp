// Upload, ask, make visible; and find out what became of it when the server's answers do not say.
#include "storage/s3/publication.h"

#include "storage/errors.h"

#include <algorithm>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace audiobookd::storage::s3 {
namespace {

constexpr const char* token_metadata = "audiobookd-upload";
constexpr int max_rounds = 8;
constexpr std::uint64_t max_parts = 10'000; // of S3
constexpr std::chrono::hours stale_age{24};

void read_exactly(int file, std::uint64_t offset, std::span<std::byte> part, const std::string& target) {
  while (!part.empty()) {
    const ssize_t got = ::pread(file, part.data(), part.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      throw_errno(errno, "cannot read the stage of", target);
    }
    if (got == 0) {
      throw TransientError("the stage of '" + target + "' became shorter");
    }
    offset += static_cast<std::uint64_t>(got);
    part = part.subspan(static_cast<std::size_t>(got));
  }
}

/// A multipart upload that is given up unless it was completed.
class Upload {
public:
  Upload(const Client& client, const Location& object, std::string id)
      : client_(client), object_(object), id_(std::move(id)) {}
  ~Upload() {
    if (!id_.empty()) {
      try {
        client_.abort_upload(object_, id_, {});
      } catch (const std::exception&) { // its parts stay until the next upload a day later or the bucket's own rule
      }
    }
  }
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  void is_over() noexcept { id_.clear(); }

private:
  const Client& client_;
  const Location& object_;
  std::string id_;
};

} // namespace

ObjectPublication::ObjectPublication(const Client& client, Location object, StagedFile stage, Conditions conditions,
                                     UploadSettings settings, std::stop_token stop)
    : client_(client), object_(std::move(object)), target_(object_.url()), token_(random_token()),
      conditions_(conditions), settings_(settings), stop_(std::move(stop)), stage_(std::move(stage)) {}

PublishResult ObjectPublication::commit(IfExists if_exists, const std::function<bool()>& still_mine) {
  if (!stage_) {
    throw std::logic_error("'" + target_ + "' was committed twice");
  }
  stage_.flush();
  WriteOptions options{.metadata = {{token_metadata, token_}}, .still_wanted = still_mine};
  if (!fingerprint_.empty()) {
    options.metadata[fingerprint_metadata] = fingerprint_;
  }
  const PublishResult result = publish(if_exists, options);
  stage_ = StagedFile();
  return result;
}

PublishResult ObjectPublication::publish(IfExists if_exists, const WriteOptions& options) {
  const bool must_be_new = if_exists != IfExists::replace;
  for (int round = 0; round < max_rounds; ++round) {
    const Outcome outcome = upload(options, must_be_new);
    switch (outcome) {
    case Outcome::done: return PublishResult::published;
    case Outcome::withdrawn: return PublishResult::lost;
    case Outcome::refused:
      throw PermanentError("cannot publish '" + target_ + "': the server refuses the condition If-None-Match");
    case Outcome::exists:
    case Outcome::vanished:
    case Outcome::conflict: break;
    }
    // Perhaps it was we: an answer that got lost was followed by another attempt.
    const std::optional<ObjectInfo> there = client_.head(object_, stop_);
    if (there && is_from_here(*there)) {
      return PublishResult::published;
    }
    if (there && outcome == Outcome::exists) {
      if (if_exists == IfExists::skip) {
        return PublishResult::skipped;
      }
      return is_identical(*there) ? PublishResult::identical : PublishResult::exists;
    }
    client_.back_off(round, stop_);
  }
  throw TransientError("cannot publish '" + target_ + "': others write to it at the same time again and again");
}

Outcome ObjectPublication::upload(const WriteOptions& options, bool must_be_new) {
  const bool only_put_knows = must_be_new && conditions_.put && !conditions_.complete;
  if (stage_.size() > settings_.part_bytes && !only_put_knows) {
    return upload_in_parts(options, must_be_new);
  }
  if (stage_.size() > settings_.max_put_bytes) {
    throw PermanentError("cannot publish '" + target_ + "': it has " + std::to_string(stage_.size()) +
                         " bytes, and this server keeps uploads in parts from replacing an object no longer than " +
                         std::to_string(settings_.max_put_bytes) +
                         " bytes; \"if_exists\": \"replace\" or [s3] fencing "
                         "= \"none\" does without");
  }
  if (must_be_new && !conditions_.put && exists_already()) {
    return Outcome::exists;
  }
  WriteOptions put_options = options;
  put_options.only_if_new = must_be_new && conditions_.put;
  return client_.put(object_, body(0, stage_.size()), put_options, stop_);
}

Outcome ObjectPublication::upload_in_parts(const WriteOptions& options, bool must_be_new) {
  remove_stale_uploads();
  Upload upload(client_, object_, client_.create_upload(object_, options, stop_));
  const std::uint64_t part_bytes = std::max(settings_.part_bytes, stage_.size() / max_parts + 1);
  std::vector<UploadedPart> parts;
  for (std::uint64_t offset = 0; offset < stage_.size(); offset += part_bytes) {
    const std::uint64_t bytes = std::min(part_bytes, stage_.size() - offset);
    const int number = static_cast<int>(parts.size()) + 1;
    parts.push_back(client_.upload_part(object_, upload.id(), number, body(offset, bytes), stop_));
  }
  if (must_be_new && !conditions_.complete && exists_already()) {
    return Outcome::exists;
  }
  WriteOptions complete_options = options;
  complete_options.only_if_new = must_be_new && conditions_.complete;
  const Outcome outcome = client_.complete_upload(object_, upload.id(), parts, complete_options, stop_);
  if (outcome == Outcome::done || outcome == Outcome::vanished) {
    upload.is_over();
  }
  return outcome;
}

/// For a server without conditions: what comes between this and the upload is not noticed.
bool ObjectPublication::exists_already() const { return client_.head(object_, stop_).has_value(); }

/// Of runs that died. Not having the right to list them is no reason not to publish.
void ObjectPublication::remove_stale_uploads() const {
  try {
    for (const OpenUpload& upload : client_.open_uploads(object_, stop_)) {
      if (upload.initiated < std::chrono::system_clock::now() - stale_age) {
        client_.abort_upload(object_, upload.id, stop_);
      }
    }
  } catch (const PermanentError&) {
  } catch (const TransientError&) {
  }
}

HttpBody ObjectPublication::body(std::uint64_t offset, std::uint64_t bytes) const {
  return {bytes, [this, offset](std::uint64_t position, std::span<std::byte> part) {
            read_exactly(stage_.get(), offset + position, part, target_);
          }};
}

bool ObjectPublication::is_from_here(const ObjectInfo& info) const {
  const auto token = info.metadata.find(token_metadata);
  return token != info.metadata.end() && token->second == token_;
}

bool ObjectPublication::is_identical(const ObjectInfo& info) const {
  if (info.bytes != stage_.size()) {
    return false;
  }
  const auto fingerprint = info.metadata.find(fingerprint_metadata);
  if (fingerprint != info.metadata.end() && !fingerprint_.empty()) {
    return fingerprint->second == fingerprint_;
  }
  bool is_equal = true;
  std::uint64_t offset = 0;
  std::vector<std::byte> ours;
  client_.get(
      object_, [](const ObjectInfo&) {},
      [&](std::span<const std::byte> theirs) {
        if (offset + theirs.size() > stage_.size()) { // it was replaced meanwhile
          is_equal = false;
          return;
        }
        ours.resize(theirs.size());
        read_exactly(stage_.get(), offset, ours, target_);
        is_equal = is_equal && std::ranges::equal(ours, theirs);
        offset += theirs.size();
      },
      stop_);
  return is_equal && offset == stage_.size();
}

} // namespace audiobookd::storage::s3
