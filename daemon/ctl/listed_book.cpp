// See listed_book.h.
#include "daemon/ctl/listed_book.h"

#include "daemon/fingerprint_sink.h"
#include "storage/local_storage.h"

#include <charconv>
#include <regex>
#include <stdexcept>

namespace audiobookd::daemon {
namespace {

constexpr std::size_t most_bytes = std::size_t{512} << 20;
constexpr std::string_view redo_mark = ".redo-";

std::string quoted(const std::string& name) { return "'" + name + "'"; }

std::string read_whole(const storage::Storage& storage, const std::string& name) {
  std::string content;
  storage.read_output(name, [&](std::span<const std::byte> piece) {
    content.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    if (content.size() > most_bytes) {
      throw std::runtime_error(quoted(name) + " is too long");
    }
  });
  return content;
}

/// On S3 the names of the files in a folder have a mark of their version.
std::string listing_in_folder(const storage::Storage& storage, const std::string& folder) {
  const std::string description = folder + "/" + storage::FolderPublication::description_name;
  if (!storage.output_exists(description)) {
    throw std::runtime_error("the book " + quoted(folder) + " is not there: it has no " +
                             storage::FolderPublication::description_name +
                             "; if it was moved, name its folder instead of the job");
  }
  static const std::regex name_of_listing(R"(utterances(\.[0-9a-f]{8})?\.json)");
  const auto json = nlohmann::json::parse(read_whole(storage, description), nullptr, false);
  if (json.is_object() && json.contains("files") && json["files"].is_array()) {
    for (const auto& file : json["files"]) {
      const std::string name = file.is_object() ? file.value("name", "") : "";
      if (std::regex_match(name, name_of_listing)) {
        return folder + "/" + name;
      }
    }
  }
  throw std::runtime_error("the book " + quoted(folder) +
                           " has no listing of its utterances; render it anew with `listing` (`--listing true`)");
}

void check_beside(const storage::Storage& storage, const std::string& name, const BookListing& listing) {
  if (fingerprint_of(storage, name) != listing.fingerprint) {
    throw std::runtime_error(quoted(name) + " is not the file that " + quoted(listing_name(name, false)) +
                             " describes: it was changed or replaced, or a worker is just publishing it, or was "
                             "killed while it did. Ask again when its job is done; if there is none, render the book "
                             "anew");
  }
}

/// The text of a field of the result; empty if there is none.
std::string text_in(const nlohmann::json& result, const char* field) {
  return result.is_object() && result.contains(field) && result[field].is_string() ? result[field].get<std::string>()
                                                                                   : "";
}

void require_done(const jobs::JobRecord& record) {
  const std::string state(record.state());
  if (state == "dead" || state == "cancelled") {
    throw std::runtime_error("job " + record.id + " is " + state + " and has made no book" +
                             (state == "dead" ? ": " + std::string(record.text("error")) : ""));
  }
  if (state != "done") {
    throw std::runtime_error("job " + record.id + " is " + state +
                             "; its utterances are listed when it is done: "
                             "audiobookctl follow " +
                             record.id);
  }
}

} // namespace

std::string first_job(const std::string& id) {
  const std::size_t mark = id.rfind(redo_mark);
  return redo_number(id) > 0 ? id.substr(0, mark) : id;
}

int redo_number(const std::string& id) {
  const std::size_t mark = id.rfind(redo_mark);
  int number = 0;
  if (mark == std::string::npos || mark == 0) {
    return 0;
  }
  const char* end = id.data() + id.size();
  const auto [rest, error] = std::from_chars(id.data() + mark + redo_mark.size(), end, number);
  return error == std::errc() && rest == end && number > 0 ? number : 0;
}

BookListing read_listing(const storage::Storage& storage, const std::string& name, bool is_folder) {
  if (is_folder) {
    const std::string file = listing_in_folder(storage, name);
    return parse_listing(read_whole(storage, file), file);
  }
  if (!storage.output_exists(name)) {
    throw std::runtime_error("the book " + quoted(name) +
                             " is not there; if it was moved, name its file instead of the job");
  }
  const std::string file = listing_name(name, false);
  if (!storage.output_exists(file)) {
    throw std::runtime_error("the book " + quoted(name) + " has no listing of its utterances beside it (" +
                             quoted(file) + "); render it anew with `listing` (`--listing true`)");
  }
  BookListing listing = parse_listing(read_whole(storage, file), file);
  check_beside(storage, name, listing);
  return listing;
}

BookListing read_listing(const std::filesystem::path& path) {
  const std::filesystem::path absolute =
      std::filesystem::weakly_canonical(path.has_filename() ? path : path.parent_path());
  if (!std::filesystem::exists(absolute)) {
    throw std::runtime_error(quoted(path.string()) + " does not exist");
  }
  const storage::LocalStorage storage({.input = absolute.parent_path(), .output = absolute.parent_path()});
  const std::string name = absolute.filename().string();
  if (std::filesystem::is_directory(absolute)) {
    return read_listing(storage, name, true);
  }
  if (absolute.extension() != ".json") {
    return read_listing(storage, name, false);
  }
  BookListing listing = parse_listing(read_whole(storage, name), path.string());
  const std::string audio = listing.output.substr(listing.output.rfind('/') + 1);
  if (!listing.fingerprint.empty() && storage.output_exists(audio) && listing_name(audio, false) == name) {
    check_beside(storage, audio, listing);
  }
  return listing;
}

BookListing read_listing(const storage::Storage& storage, const jobs::JobRecord& record) {
  require_done(record);
  const auto result = nlohmann::json::parse(record.text("result"), nullptr, false);
  const std::string output = text_in(result, "output");
  const std::string noted = text_in(result, "listing");
  if (noted.empty()) {
    const bool skipped = result.is_object() && result.contains("skipped");
    throw std::runtime_error("job " + record.id +
                             (skipped ? " was skipped, because its output existed"
                                      : " has made no listing of its utterances; render the book anew with `listing` "
                                        "(`--listing true --if-exists replace`)"));
  }
  const bool is_folder = noted.substr(noted.rfind('/') + 1).front() != '.';
  BookListing listing = read_listing(storage, output, is_folder);
  if (first_job(listing.job) != first_job(record.id)) {
    throw std::runtime_error("the book of job " + record.id + ", " + quoted(output) + ", was replaced by job " +
                             listing.job + ": audiobookctl utterances " + listing.job);
  }
  return listing;
}

} // namespace audiobookd::daemon
