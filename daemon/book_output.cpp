// See book_output.h.
#include "daemon/book_output.h"

#include "storage/errors.h"

#include <nlohmann/json.hpp>
#include <span>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t max_description_bytes = std::size_t{64} << 20;

std::string entry_of(const std::string& name, const std::string& fingerprint) { return name + "\n" + fingerprint; }

std::string hash_of(const std::vector<std::string>& texts) {
  engine::HashBuilder hash;
  for (const std::string& text : texts) {
    hash.add(text);
  }
  return hash.finish().hex();
}

std::string fingerprint_with(std::vector<std::string> fingerprints, const std::string& description) {
  fingerprints.push_back(description);
  return "folder:" + hash_of(fingerprints);
}

/// The names in a description, in their order. @throws storage::PermanentError when it is none.
std::vector<std::string> names_in(const std::string& description, const std::string& folder) {
  std::vector<std::string> names;
  try {
    const auto json = nlohmann::json::parse(description);
    for (const auto& file : json.at("files")) {
      names.push_back(file.at("name").get<std::string>());
    }
  } catch (const nlohmann::json::exception&) {
    throw storage::PermanentError("'" + folder + "' has a description of somebody else's");
  }
  return names;
}

} // namespace

storage::ByteSink& BookFolder::begin_file(const std::string& name) {
  end_file();
  name_ = name;
  return file_.emplace(publication_.add(name));
}

void BookFolder::end_file() {
  if (file_) {
    fingerprints_.push_back(entry_of(name_, file_->fingerprint()));
    file_.reset();
  }
}

void BookFolder::clear() {
  file_.reset();
  fingerprints_.clear();
  publication_.clear();
}

void BookFolder::finish(BookDescription& book) {
  end_file();
  const std::vector<std::string> names = publication_.settle(hash_of(fingerprints_));
  for (std::size_t i = 0; i < names.size(); ++i) {
    book.files[i].name = names[i];
    const std::string& entry = fingerprints_[i];
    fingerprints_[i] = entry_of(names[i], entry.substr(entry.find('\n') + 1));
  }
  description_ = to_metadata_json(book);
  fingerprint_ = fingerprint_with(fingerprints_, description_);
}

std::string fingerprint_of_folder(const storage::Storage& storage, const std::string& name,
                                  const std::stop_token& stop) {
  const std::string description_file = name + "/" + storage::FolderPublication::description_name;
  if (auto noted = storage.output_fingerprint(description_file, stop)) {
    return std::move(*noted);
  }
  std::string description;
  storage.read_output(
      description_file,
      [&](std::span<const std::byte> piece) {
        description.append(reinterpret_cast<const char*>(piece.data()), piece.size());
        if (description.size() > max_description_bytes) {
          throw storage::PermanentError("'" + description_file + "' is too long for a description");
        }
      },
      stop);
  std::vector<std::string> fingerprints;
  for (const std::string& file : names_in(description, name)) {
    fingerprints.push_back(entry_of(file, fingerprint_of(storage, name + "/" + file, stop)));
  }
  return fingerprint_with(std::move(fingerprints), description);
}

} // namespace audiobookd::daemon
