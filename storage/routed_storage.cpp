#include "storage/routed_storage.h"

#include "storage/s3/location.h"

namespace audiobookd::storage {

const Storage& RoutedStorage::place_of(std::string_view name, const Place& otherwise) const {
  if (!s3::is_url(name)) {
    return *otherwise;
  }
  if (s3_ == nullptr) {
    throw PermanentError("path '" + std::string(name) +
                         "' is on S3, but this worker has no root there: [paths] input_root and output_root, [s3] "
                         "input_roots and output_roots may name some");
  }
  return *s3_;
}

std::string RoutedStorage::read_input(std::string_view name, std::uint64_t max_bytes,
                                      const std::stop_token& stop) const {
  return place_of(name, inputs_).read_input(name, max_bytes, stop);
}

bool RoutedStorage::output_exists(std::string_view name, const std::stop_token& stop) const {
  return place_of(name, outputs_).output_exists(name, stop);
}

std::optional<std::string> RoutedStorage::output_fingerprint(std::string_view name, const std::stop_token& stop) const {
  return place_of(name, outputs_).output_fingerprint(name, stop);
}

void RoutedStorage::read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                                const std::stop_token& stop) const {
  place_of(name, outputs_).read_output(name, visit, stop);
}

std::unique_ptr<Publication> RoutedStorage::open_output(std::string_view name, std::string_view owner,
                                                        const std::stop_token& stop) const {
  return place_of(name, outputs_).open_output(name, owner, stop);
}

std::unique_ptr<FolderPublication> RoutedStorage::open_folder(std::string_view name, std::string_view owner,
                                                              const std::stop_token& stop) const {
  return place_of(name, outputs_).open_folder(name, owner, stop);
}

} // namespace audiobookd::storage
