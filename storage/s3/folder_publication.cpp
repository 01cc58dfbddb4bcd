// Stage, upload, describe, clean up.
#include "storage/s3/folder_publication.h"

#include "storage/errors.h"
#include "storage/s3/sha256.h"
#include "storage/stages.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <unistd.h>

namespace audiobookd::storage::s3 {
namespace {

constexpr std::size_t version_digits = 8;
constexpr std::size_t max_description_bytes = std::size_t{16} << 20;
constexpr std::size_t copy_bytes = 256 * 1024;
constexpr std::chrono::hours stale_age{24};

/// Where the extension of @p name begins; its end when there is none.
std::size_t extension_of(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos || dot == 0 ? name.size() : dot;
}

bool is_version(std::string_view text) {
  return text.size() == version_digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// The names of "files" in a description.
std::vector<std::string> names_in(const std::string& description) {
  const auto json = nlohmann::json::parse(description, nullptr, false);
  const auto files = json.is_object() ? json.find("files") : json.end();
  std::vector<std::string> names;
  if (!json.is_object() || files == json.end() || !files->is_array()) {
    return names;
  }
  for (const auto& file : *files) {
    if (file.is_object() && file.contains("name") && file["name"].is_string()) {
      names.push_back(file["name"].get<std::string>());
    }
  }
  return names;
}

} // namespace

/// The part of the stage that belongs to one file.
class ObjectsPublication::Sink final : public ByteSink {
public:
  explicit Sink(StagedFile& stage) : stage_(stage), begin_(stage.size()) {}
  void append(std::span<const std::byte> bytes) override { stage_.append(bytes); }
  void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) override {
    stage_.overwrite(begin_ + offset, bytes);
  }
  void clear() override { stage_.truncate(begin_); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return stage_.size() - begin_; }

private:
  StagedFile& stage_;
  const std::uint64_t begin_;
};

ObjectsPublication::ObjectsPublication(const Client& client, Location description,
                                       std::function<FileDescriptor()> make_stage, Conditions conditions,
                                       UploadSettings settings, std::stop_token stop)
    : client_(client), description_(std::move(description)),
      prefix_(description_.key.substr(0, description_.key.rfind('/') + 1)),
      target_(Location{description_.bucket, prefix_.substr(0, prefix_.size() - 1)}.url()),
      make_stage_(std::move(make_stage)), conditions_(conditions), settings_(settings), stop_(std::move(stop)),
      stage_(make_stage_(), target_) {}

ObjectsPublication::~ObjectsPublication() = default;

Location ObjectsPublication::object(const std::string& name) const { return {description_.bucket, prefix_ + name}; }

ByteSink& ObjectsPublication::add(const std::string& name) {
  check_target_name(name, target_ + "/" + name);
  const bool is_taken = std::ranges::any_of(files_, [&](const File& file) { return file.name == name; });
  if (name == description_name || is_taken) {
    throw PermanentError("cannot publish '" + target_ + "': two of its files would be called '" + name + "'");
  }
  end_file();
  files_.push_back({.name = name, .offset = stage_.size()});
  sink_ = std::make_unique<Sink>(stage_);
  return *sink_;
}

void ObjectsPublication::end_file() {
  if (sink_) {
    files_.back().bytes = sink_->size();
    sink_.reset();
  }
}

void ObjectsPublication::clear() {
  sink_.reset();
  files_.clear();
  stage_.clear();
}

std::vector<std::string> ObjectsPublication::settle(std::string_view version) {
  end_file();
  version_ = sha256_hex(version).substr(0, version_digits);
  std::vector<std::string> names;
  for (File& file : files_) {
    const std::size_t extension = extension_of(file.name);
    file.name = file.name.substr(0, extension) + "." + version_ + file.name.substr(extension);
    names.push_back(file.name);
  }
  return names;
}

PublishResult ObjectsPublication::commit(std::string_view description, IfExists if_exists,
                                         const std::function<bool()>& still_mine) {
  if (committed_) {
    throw std::logic_error("'" + target_ + "' was committed twice");
  }
  committed_ = true;
  stage_.flush();
  if (const auto result = already_there(if_exists)) {
    return *result;
  }
  const std::set<std::string> replaced = if_exists == IfExists::replace ? described_objects() : std::set<std::string>();
  for (const File& file : files_) {
    if (!upload(file, still_mine)) {
      return PublishResult::lost;
    }
  }
  StagedFile staged(make_stage_(), target_ + "/" + description_name);
  staged.append(std::as_bytes(std::span(description)));
  ObjectPublication mark(client_, description_, std::move(staged), conditions_, settings_, stop_);
  mark.note_fingerprint(fingerprint_);
  const PublishResult result = mark.commit(if_exists, still_mine);
  if (result == PublishResult::published) {
    remove_others(replaced);
  }
  return result;
}

/// What commit() is to answer without uploading anything.
std::optional<PublishResult> ObjectsPublication::already_there(IfExists if_exists) const {
  if (if_exists == IfExists::replace) {
    return std::nullopt;
  }
  const std::optional<ObjectInfo> there = client_.head(description_, stop_);
  if (!there) {
    return std::nullopt;
  }
  if (if_exists == IfExists::skip) {
    return PublishResult::skipped;
  }
  const auto noted = there->metadata.find(fingerprint_metadata);
  const bool is_same = noted != there->metadata.end() && !fingerprint_.empty() && noted->second == fingerprint_;
  return is_same ? PublishResult::identical : PublishResult::exists;
}

/// Names of the objects that the book consists of that is there now, as far as its description says.
std::set<std::string> ObjectsPublication::described_objects() const {
  const std::optional<ObjectInfo> there = client_.head(description_, stop_);
  if (!there || there->bytes > max_description_bytes) {
    return {};
  }
  std::string content;
  client_.get(
      description_, [](const ObjectInfo&) {},
      [&](std::span<const std::byte> piece) {
        content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
      },
      stop_);
  std::set<std::string> names;
  for (const std::string& name : names_in(content)) {
    if (is_object_of_ours(name)) { // nothing else goes, whatever somebody has written there
      names.insert(name);
    }
  }
  return names;
}

/// @return false when the job is not ours any more
bool ObjectsPublication::upload(const File& file, const std::function<bool()>& still_mine) {
  const Location target = object(file.name);
  const std::optional<ObjectInfo> there = client_.head(target, stop_);
  if (there && there->bytes == file.bytes) {
    const auto noted = there->metadata.find(fingerprint_metadata);
    if (noted != there->metadata.end() && noted->second == fingerprint_) {
      return true; // of a run that died before it was done
    }
  }
  ObjectPublication publication(client_, target, copy_of(file), {}, settings_, stop_);
  publication.note_fingerprint(fingerprint_);
  return publication.commit(IfExists::replace, still_mine) == PublishResult::published;
}

StagedFile ObjectsPublication::copy_of(const File& file) const {
  StagedFile copy(make_stage_(), object(file.name).url());
  std::vector<std::byte> piece(std::min<std::uint64_t>(copy_bytes, file.bytes));
  for (std::uint64_t done = 0; done < file.bytes;) {
    const std::size_t wanted = std::min<std::uint64_t>(piece.size(), file.bytes - done);
    const ssize_t got = ::pread(stage_.get(), piece.data(), wanted, static_cast<off_t>(file.offset + done));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      throw_errno(got < 0 ? errno : EIO, "cannot read the stage of", target_);
    }
    copy.append(std::span(piece).first(static_cast<std::size_t>(got)));
    done += static_cast<std::uint64_t>(got);
  }
  return copy;
}

/// Whether @p name is one that settle() gives.
bool ObjectsPublication::is_object_of_ours(const std::string& name) const {
  const std::string stem = name.substr(0, extension_of(name));
  const std::size_t dot = stem.rfind('.');
  return dot != std::string::npos && dot > 0 && name.find('/') == std::string::npos &&
         is_version(std::string_view(stem).substr(dot + 1));
}

/// Nothing depends on it: what stays costs room.
void ObjectsPublication::remove_others(const std::set<std::string>& replaced) const noexcept {
  const auto is_kept = [&](const std::string& name) {
    return std::ranges::any_of(files_, [&](const File& file) { return file.name == name; });
  };
  try {
    for (const std::string& name : replaced) {
      if (!is_kept(name)) {
        client_.remove(object(name), stop_);
      }
    }
    for (const ListedObject& listed : client_.list(object(""), stop_)) {
      const std::string name = listed.key.substr(prefix_.size());
      const bool is_old = listed.modified < std::chrono::system_clock::now() - stale_age;
      if (is_old && is_object_of_ours(name) && !is_kept(name)) {
        client_.remove(object(name), stop_);
      }
    }
  } catch (const std::exception&) {
  }
}

} // namespace audiobookd::storage::s3
