// Several places behind one interface: URLs of S3 lead there, other names to the place of inputs or that of outputs.
// Immutable; any thread, as far as the places are.
#pragma once

#include "storage/storage.h"

namespace audiobookd::storage {

class RoutedStorage final : public Storage {
public:
  /// The places outlive this; they may be the same. @param s3 null: URLs are an error.
  RoutedStorage(const Storage& inputs, const Storage& outputs, const Storage* s3)
      : inputs_(inputs), outputs_(outputs), s3_(s3) {}

  [[nodiscard]] std::string read_input(std::string_view name, std::uint64_t max_bytes,
                                       const std::stop_token& stop = {}) const override;
  [[nodiscard]] bool output_exists(std::string_view name, const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::optional<std::string> output_fingerprint(std::string_view name,
                                                              const std::stop_token& stop = {}) const override;
  void read_output(std::string_view name, const std::function<void(std::span<const std::byte>)>& visit,
                   const std::stop_token& stop = {}) const override;
  [[nodiscard]] std::unique_ptr<Publication> open_output(std::string_view name, std::string_view owner,
                                                         const std::stop_token& stop = {}) const override;

private:
  [[nodiscard]] const Storage& place_of(std::string_view name, const Storage& otherwise) const;

  const Storage& inputs_;
  const Storage& outputs_;
  const Storage* s3_;
};

} // namespace audiobookd::storage
