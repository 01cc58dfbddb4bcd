// See zip_archive.h.
#include "jobs/document/zip_archive.h"

#include "jobs/document/block.h"

#include <algorithm>
#include <array>
#include <vector>
#include <zip.h>

namespace audiobookd::jobs {
namespace {

std::string error_text(zip_error_t& error) {
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

std::string number(std::uint64_t value) { return std::to_string(value); }

std::string shown(std::string_view member) { return "'" + clean_text(member) + "'"; }

/// What is wrong with the name of a member; empty if nothing is.
std::string_view fault_of(std::string_view member) {
  if (member.empty()) {
    return "is empty";
  }
  if (member.front() == '/' || (member.size() > 1 && member[1] == ':')) {
    return "is absolute";
  }
  if (member.find('\\') != std::string_view::npos) {
    return "has a backslash in it";
  }
  if (std::ranges::any_of(member, [](char c) { return (c >= 0 && c < ' ') || c == 0x7f; })) {
    return "has control characters in it";
  }
  while (!member.empty()) {
    const std::string_view part = member.substr(0, member.find('/'));
    member.remove_prefix(std::min(member.size(), part.size() + 1));
    if (part == "..") {
      return "leads out of the archive";
    }
  }
  return {};
}

int hexadecimal_digit(char c) {
  constexpr std::string_view digits = "0123456789abcdef";
  const auto at = digits.find(static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c));
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

std::string percent_decoded(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool is_escape = text[i] == '%' && i + 2 < text.size() && hexadecimal_digit(text[i + 1]) >= 0 &&
                           hexadecimal_digit(text[i + 2]) >= 0;
    result +=
        is_escape ? static_cast<char>(16 * hexadecimal_digit(text[i + 1]) + hexadecimal_digit(text[i + 2])) : text[i];
    i += is_escape ? 2 : 0;
  }
  return result;
}

} // namespace

std::string resolve_member(std::string_view base, std::string_view reference) {
  reference = reference.substr(0, reference.find_first_of("#?"));
  const std::string path = percent_decoded(reference);
  const std::size_t colon = path.find(':');
  if (path.empty() || path.front() == '/' || (colon != std::string::npos && colon < path.find('/'))) {
    return "";
  }
  std::string whole =
      std::string(base.substr(0, base.rfind('/') == std::string_view::npos ? 0 : base.rfind('/') + 1)) + path;
  std::vector<std::string_view> parts;
  for (std::string_view rest = whole; !rest.empty();) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    if (part == ".." && parts.empty()) {
      return "";
    }
    if (part == "..") {
      parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
  }
  std::string result;
  for (const std::string_view part : parts) {
    result += (result.empty() ? "" : "/") + std::string(part);
  }
  return result;
}

void ZipArchive::Close::operator()(zip* archive) const noexcept { zip_discard(archive); }

ZipArchive::ZipArchive(std::string_view bytes, std::string name, const DocumentLimits& limits)
    : name_(std::move(name)) {
  if (bytes.size() > limits.max_archive_bytes) {
    throw DocumentError(name_ + ": " + number(bytes.size()) + " bytes, more than the limit of " +
                        number(limits.max_archive_bytes));
  }
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  archive_.reset(source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error));
  if (archive_ == nullptr) {
    zip_source_free(source);
    throw DocumentError(name_ + ": not a complete ZIP archive (" + error_text(error) + "); it may be cut short");
  }
  const auto entries = static_cast<std::uint64_t>(zip_get_num_entries(archive_.get(), 0));
  if (entries == 0) {
    throw DocumentError(name_ + ": not a complete ZIP archive (it has no entries); it may be cut short");
  }
  if (entries > limits.max_entries) {
    throw DocumentError(name_ + ": " + number(entries) + " entries in the archive, more than the limit of " +
                        number(limits.max_entries));
  }
  for (std::uint64_t index = 0; index < entries; ++index) {
    add_entry(index, limits);
  }
}

void ZipArchive::add_entry(std::uint64_t index, const DocumentLimits& limits) {
  zip_stat_t about;
  if (zip_stat_index(archive_.get(), index, 0, &about) != 0 || (about.valid & ZIP_STAT_NAME) == 0) {
    throw DocumentError(name_ + ": entry " + number(index) + " of the archive is damaged");
  }
  const std::string member = about.name;
  if (const std::string_view fault = fault_of(member); !fault.empty()) {
    throw DocumentError(name_ + ": the name of the member " + shown(member) + " " + std::string(fault));
  }
  if ((about.valid & ZIP_STAT_ENCRYPTION_METHOD) != 0 && about.encryption_method != ZIP_EM_NONE) {
    throw DocumentError(name_ + ": the member " + shown(member) + " is encrypted with a password");
  }
  if (about.size > limits.max_entry_bytes) {
    throw DocumentError(name_ + ": the member " + shown(member) + " has " + number(about.size) +
                        " bytes unpacked, more than the limit of " + number(limits.max_entry_bytes));
  }
  if (about.size >= limits.ratio_counts_from &&
      about.size / std::max<std::uint64_t>(about.comp_size, 1) > limits.max_ratio) {
    throw DocumentError(name_ + ": the member " + shown(member) + " unpacks to " + number(about.size) + " bytes from " +
                        number(about.comp_size) + ", a ratio above the limit of " + number(limits.max_ratio));
  }
  unpacked_ += about.size; // cannot overflow: entries and the size of each are bounded
  if (unpacked_ > limits.max_unpacked_bytes) {
    throw DocumentError(name_ + ": the archive unpacks to more than the limit of " + number(limits.max_unpacked_bytes) +
                        " bytes");
  }
  if (!sizes_.try_emplace(member, Member{index, about.size}).second) {
    throw DocumentError(name_ + ": the member " + shown(member) + " is in the archive twice");
  }
}

std::string ZipArchive::read(const std::string& member, std::size_t max_bytes) const {
  const auto found = sizes_.find(member);
  if (found == sizes_.end()) {
    throw DocumentError(name_ + ": the archive has no member " + shown(member));
  }
  const auto [index, size] = found->second;
  if (size > max_bytes) {
    throw DocumentError(name_ + ": the member " + shown(member) + " has " + number(size) +
                        " bytes unpacked, more than the limit of " + number(max_bytes));
  }
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(archive_.get(), index, 0), zip_fclose);
  if (file == nullptr) {
    throw DocumentError(name_ + ": the member " + shown(member) + " cannot be read: " + zip_strerror(archive_.get()));
  }
  // What the directory says of the size may be a lie: it is not believed before so many bytes have come.
  std::string bytes;
  std::array<char, 65536> block{};
  for (zip_int64_t count = 0; (count = zip_fread(file.get(), block.data(), block.size())) != 0;) {
    if (count < 0) {
      throw DocumentError(name_ + ": the member " + shown(member) + " is damaged: " + zip_file_strerror(file.get()));
    }
    bytes.append(block.data(), static_cast<std::size_t>(count));
    if (bytes.size() > size) {
      break;
    }
  }
  if (bytes.size() != size) {
    throw DocumentError(name_ + ": the member " + shown(member) + " does not have the " + number(size) +
                        " bytes that the archive says");
  }
  return bytes;
}

} // namespace audiobookd::jobs
