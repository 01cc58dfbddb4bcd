// See stages.h.
#include "storage/stages.h"

#include "storage/errors.h"
#include "storage/storage.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <dirent.h>
#include <fcntl.h>
#include <iomanip>
#include <optional>
#include <span>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

namespace audiobookd::storage {
namespace {

constexpr std::size_t piece_bytes = 64 * 1024;
constexpr std::size_t max_name_bytes = 200; // leaves room for the stage's prefix and suffix within NAME_MAX

constexpr std::string_view no_owner = "00000000";
constexpr std::size_t token_digits = 16;
constexpr std::string_view stage_suffix = ".partial";
constexpr std::string_view remains_suffix = ".removed"; // of a folder that is on its way out

/// The owner in the name of a stage of target @p name, or of its remains; nothing when @p entry is none of these:
/// `.NAME.<24 hex digits><suffix>`.
std::optional<std::string> owner_of(const std::string& name, const std::string& entry, std::string_view suffix) {
  const std::string prefix = "." + name + ".";
  const std::size_t end = prefix.size() + no_owner.size() + token_digits;
  if (entry.size() != end + suffix.size() || !entry.starts_with(prefix) || !entry.ends_with(suffix) ||
      entry.find_first_not_of("0123456789abcdef", prefix.size()) != end) {
    return std::nullopt;
  }
  return entry.substr(prefix.size(), no_owner.size());
}

/// What the folder stage @p entry is called once it was taken away.
std::string remains_of(const std::string& entry) {
  return entry.substr(0, entry.size() - stage_suffix.size()) + std::string(remains_suffix);
}

bool is_folder(const FileDescriptor& folder, const std::string& entry) {
  struct stat status {};
  return ::fstatat(folder.get(), entry.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode);
}

/// Removes file or folder @p entry of @p folder, if it is there; what lies in sub-folders stays.
void remove_entry(const FileDescriptor& folder, const std::string& entry) noexcept {
  if (::unlinkat(folder.get(), entry.c_str(), 0) == 0) {
    return;
  }
  try {
    const FileDescriptor inside(::openat(folder.get(), entry.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!inside) {
      return;
    }
    for (const std::string& file : list_folder(inside, entry)) {
      ::unlinkat(inside.get(), file.c_str(), 0);
    }
  } catch (const std::exception&) { // its name tells the next run that it is to go
  }
  ::unlinkat(folder.get(), entry.c_str(), AT_REMOVEDIR);
}

/// Takes stage @p entry from its name, at once, and removes it. @return 0 or the errno of why not
int take_away(const FileDescriptor& folder, const std::string& entry) {
  if (!is_folder(folder, entry)) {
    return ::unlinkat(folder.get(), entry.c_str(), 0) == 0 || errno == ENOENT ? 0 : errno;
  }
  const std::string remains = remains_of(entry);
  if (::renameat(folder.get(), entry.c_str(), folder.get(), remains.c_str()) != 0) {
    return errno == ENOENT ? 0 : errno;
  }
  remove_entry(folder, remains);
  return 0;
}

/// Locks stage @p entry if nobody holds it; nothing when somebody does. The lock of a folder that was made just now, or
/// whose maker died before he made it, is made here, so that one of the two finds that it is not his.
FileDescriptor lock_dead(const FileDescriptor& folder, const std::string& entry) {
  const bool of_folder = is_folder(folder, entry);
  const std::string locked = of_folder ? entry + "/" + FolderPublication::description_name : entry;
  const int flags = of_folder ? O_RDWR | O_CREAT : O_RDONLY;
  FileDescriptor stage(::openat(folder.get(), locked.c_str(), flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666));
  return stage && ::flock(stage.get(), LOCK_EX | LOCK_NB) == 0 ? std::move(stage) : FileDescriptor();
}

} // namespace

void check_target_name(const std::string& name, const std::string& target) {
  const bool bad = name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos;
  if (bad || name.size() > max_name_bytes) {
    throw PermanentError("cannot publish '" + target + "': the file name must have 1 to " +
                         std::to_string(max_name_bytes) + " bytes and name a file, found " +
                         std::to_string(name.size()) + " bytes");
  }
}

std::string owner_digits(std::string_view owner) {
  if (owner.empty()) {
    return std::string(no_owner);
  }
  const uLong crc = ::crc32(0, reinterpret_cast<const Bytef*>(owner.data()), static_cast<uInt>(owner.size()));
  std::ostringstream digits;
  digits << std::hex << std::setw(no_owner.size()) << std::setfill('0') << crc;
  return digits.str();
}

std::string new_stage_name(const std::string& name, const std::string& owner) {
  return "." + name + "." + owner + random_token() + std::string(stage_suffix);
}

void remove_other_stages(const FileDescriptor& folder, const std::string& name, const std::string& owner,
                         const std::string& target) {
  for (const std::string& entry : list_folder(folder, target)) {
    if (owner_of(name, entry, remains_suffix)) {
      remove_entry(folder, entry);
      continue;
    }
    const std::optional<std::string> holder = owner_of(name, entry, stage_suffix);
    if (!holder) {
      continue;
    }
    const bool is_ours = owner != no_owner && *holder == owner;
    const FileDescriptor lock = is_ours ? FileDescriptor() : lock_dead(folder, entry); // held until it is gone
    const int error_number = is_ours || lock ? take_away(folder, entry) : 0;
    if (is_ours && error_number != 0) {
      throw_errno(error_number, "cannot take the place of an earlier run that publishes", target);
    }
  }
}

void remove_stage(const FileDescriptor& folder, const std::string& stage) noexcept {
  try {
    remove_entry(folder, stage);
    remove_entry(folder, remains_of(stage)); // somebody took it away while we wrote into it
  } catch (const std::exception&) {          // no memory for a name
  }
}

std::vector<std::string> list_folder(const FileDescriptor& folder, const std::string& shown) {
  const int fd = ::openat(folder.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* dir = fd < 0 ? nullptr : ::fdopendir(fd);
  if (dir == nullptr) {
    throw_errno(errno, "cannot list the folder of", shown);
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") {
      names.emplace_back(name);
    }
  }
  ::closedir(dir);
  return names;
}

bool holds_same(const FileDescriptor& folder, const std::string& name, const FileDescriptor& staged,
                const std::string& shown) {
  const FileDescriptor target(::openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat theirs_status {};
  struct stat ours_status {};
  if (!target || ::fstat(target.get(), &theirs_status) != 0 || !S_ISREG(theirs_status.st_mode)) {
    return false;
  }
  if (::fstat(staged.get(), &ours_status) != 0 || ::lseek(staged.get(), 0, SEEK_SET) != 0) {
    throw_errno(errno, "cannot read the stage of", shown);
  }
  if (theirs_status.st_size != ours_status.st_size) {
    return false;
  }
  std::vector<std::byte> ours(piece_bytes);
  std::vector<std::byte> theirs(piece_bytes);
  std::size_t got = 0;
  do {
    got = read_up_to(staged.get(), ours, shown);
    if (read_up_to(target.get(), theirs, shown) != got ||
        !std::equal(ours.begin(), ours.begin() + static_cast<std::ptrdiff_t>(got), theirs.begin())) {
      return false;
    }
  } while (got == piece_bytes);
  return true;
}

} // namespace audiobookd::storage
