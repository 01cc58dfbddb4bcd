// Reads ZIP archives that strangers made, within limits. Nothing is written to a disk.
//
// An archive is used by one thread.
#pragma once

#include "jobs/document/document.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

struct zip;

namespace audiobookd::jobs {

/// "folder/page.xhtml", @p reference percent-encoded and relative to the folder of @p base, a member of an archive, as
/// the name of a member. What stands behind `#` or `?` is no part of it. Empty for a URL, an absolute path, and one
/// that leaves the archive.
[[nodiscard]] std::string resolve_member(std::string_view base, std::string_view reference);

class ZipArchive {
public:
  /// Reads the directory and checks every entry of it.
  /// @param bytes must outlive this. @param name the archive in messages.
  /// @throws DocumentError, each with a message of its own: not a ZIP archive, damaged or cut short; more entries,
  /// bytes or a higher compression ratio than @p limits allow; names that are absolute, climb (".."), have backslashes
  /// or control characters, or are there twice; encrypted members.
  ZipArchive(std::string_view bytes, std::string name, const DocumentLimits& limits);

  [[nodiscard]] bool contains(const std::string& member) const { return sizes_.contains(member); }
  /// The bytes of a member.
  /// @param max_bytes unpacked, besides the limits of the archive.
  /// @throws DocumentError naming archive and member: missing, damaged, longer than @p max_bytes or than it says.
  [[nodiscard]] std::string read(const std::string& member, std::size_t max_bytes) const;
  /// As messages call it: "book.epub".
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

private:
  struct Close {
    void operator()(zip* archive) const noexcept;
  };
  struct Member {
    std::uint64_t index = 0;
    std::uint64_t size = 0;
  };
  void add_entry(std::uint64_t index, const DocumentLimits& limits);

  std::string name_;
  std::unique_ptr<zip, Close> archive_;
  std::unordered_map<std::string, Member> sizes_;
  std::uint64_t unpacked_ = 0;
};

} // namespace audiobookd::jobs
