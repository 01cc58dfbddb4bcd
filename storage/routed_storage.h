// Several places behind one interface: URLs of S3 lead there, other names to the place of inputs or that of outputs.
// Immutable; any thread, as far as the places are.
#pragma once

#include "storage/storage.h"

#include <memory>
#include <utility>

namespace audiobookd::storage {

class RoutedStorage final : public Storage {
public:
  using Place = std::shared_ptr<const Storage>;

  /// The places may be the same. @param s3 null: URLs are an error.
  RoutedStorage(Place inputs, Place outputs, Place s3)
      : inputs_(std::move(inputs)), outputs_(std::move(outputs)), s3_(std::move(s3)) {}

  [[nodiscard]] std::string read_input(std::string_view name, std::uint64_t max_bytes,
                                       const std::stop_token& stop = {}) const override;
  [[nodiscard]] bool output_exists(std::string_view name, const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::optional<std::string> output_fingerprint(std::string_view name,
                                                              const std::stop_token& stop = {}) const override;
  void read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                   const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::unique_ptr<Publication> open_output(std::string_view name, std::string_view owner,
                                                         const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::unique_ptr<FolderPublication> open_folder(std::string_view name, std::string_view owner,
                                                               const std::stop_token& stop = {}) const override;

private:
  [[nodiscard]] const Storage& place_of(std::string_view name, const Place& otherwise) const;

  const Place inputs_;
  const Place outputs_;
  const Place s3_;
};

} // namespace audiobookd::storage
