// Job files below configured folders of this machine. Names come from strangers: the kernel resolves them with
// openat2(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS), so neither `..` nor a symbolic link leads out of a root, even when
// somebody swaps folders at that moment. Needs Linux 5.6. Immutable; any thread.
#pragma once

#include "storage/file_descriptor.h"
#include "storage/storage.h"

namespace audiobookd::storage {

class LocalStorage final : public Storage {
public:
  /// @throws PermanentError naming the root that is missing or not a folder.
  explicit LocalStorage(Roots roots);

  [[nodiscard]] std::string read_input(std::string_view name, std::uint64_t max_bytes,
                                       const std::stop_token& stop = {}) const override;
  [[nodiscard]] bool output_exists(std::string_view name, const std::stop_token& stop = {}) const override;
  void read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                   const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::unique_ptr<Publication> open_output(std::string_view name, std::string_view owner,
                                                         const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::unique_ptr<FolderPublication> open_folder(std::string_view name, std::string_view owner,
                                                               const std::stop_token& stop = {}) const override;

private:
  Roots roots_;
};

} // namespace audiobookd::storage
