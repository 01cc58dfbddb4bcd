// Sees every file that appears in a folder under its final name, as the kernel reports it (inotify): a book that is
// published twice is seen twice, even if the second file replaces the first.
//
// One thread at a time.
#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace audiobookd::tests {

class PublishWatch {
public:
  /// @param folder must exist; its subfolders are not watched.
  explicit PublishWatch(const std::filesystem::path& folder);
  ~PublishWatch();
  PublishWatch(const PublishWatch&) = delete;
  PublishWatch& operator=(const PublishWatch&) = delete;

  /// How often each name appeared since the beginning; hidden files do not count.
  /// @throws std::runtime_error when the kernel lost events.
  [[nodiscard]] const std::map<std::string, int>& counts();
  [[nodiscard]] int count(const std::string& name);

private:
  int fd_;
  std::map<std::string, int> counts_;
};

} // namespace audiobookd::tests
