// Reading and writing the safetensors format (8-byte little-endian header length, JSON header, raw data).
//
// A file is memory-mapped and checked completely when it is opened, so that later accesses cannot run out of bounds.
// An open file is immutable; any number of threads may read it.
#pragma once

#include "engine/mapped_file.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace audiobookd::engine {

enum class Dtype { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };

/// Bytes of one element.
[[nodiscard]] std::size_t dtype_size(Dtype dtype) noexcept;
/// The name the format uses: "F32", "BF16", "I64", "BOOL", …
[[nodiscard]] std::string_view dtype_name(Dtype dtype) noexcept;

/// One tensor inside a mapped file; valid as long as the SafetensorsFile lives.
struct TensorView {
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data; // row-major, little-endian, may be unaligned
};

class SafetensorsFile {
public:
  /// Maps and checks @p file: header length, JSON, dtypes, shapes against byte counts, offsets inside the file,
  /// no overlap and no hole between tensors.
  /// @throws std::runtime_error naming the file and, where there is one, the tensor, what was expected and found.
  explicit SafetensorsFile(const std::filesystem::path& file);

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// All tensors by key, sorted.
  [[nodiscard]] const std::map<std::string, TensorView, std::less<>>& tensors() const noexcept { return tensors_; }
  /// @throws std::out_of_range naming file and tensor when it is absent.
  [[nodiscard]] const TensorView& at(std::string_view name) const;
  [[nodiscard]] bool contains(std::string_view name) const noexcept { return tensors_.find(name) != tensors_.end(); }
  /// The `__metadata__` entries.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  /// The raw bytes of the whole mapping, for hashing.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return mapping_.bytes(); }

private:
  std::filesystem::path path_;
  MappedFile mapping_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// One tensor to be written: @p write fills the given bytes (its whole data, aligned for every dtype) when its turn
/// comes, so that a file of several GB never lies in memory at once.
struct TensorSource {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
  std::function<void(std::span<std::byte>)> write;
};

/// Writes a safetensors file with the tensors in the given order (temp file, fsync, rename).
/// @throws std::runtime_error naming the file on any I/O error; std::invalid_argument for a name given twice.
void write_safetensors(const std::filesystem::path& file, const std::vector<TensorSource>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

} // namespace audiobookd::engine
