// Reading safetensors files. See the header for threading.
#include "engine/safetensors.h"

#include "engine/strict_json.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace audiobookd::engine {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and used in place");

constexpr std::size_t length_bytes = 8;
constexpr std::uint64_t max_header_bytes = 100'000'000; // the limit of the reference implementation
constexpr int max_header_depth = 3;                     // file { tensor { shape [ … ] } }

struct DtypeInfo {
  Dtype dtype;
  std::string_view name;
  std::size_t size;
};
constexpr std::array dtypes{DtypeInfo{Dtype::f64, "F64", 8}, DtypeInfo{Dtype::f32, "F32", 4},
                            DtypeInfo{Dtype::f16, "F16", 2}, DtypeInfo{Dtype::bf16, "BF16", 2},
                            DtypeInfo{Dtype::i64, "I64", 8}, DtypeInfo{Dtype::i32, "I32", 4},
                            DtypeInfo{Dtype::i16, "I16", 2}, DtypeInfo{Dtype::i8, "I8", 1},
                            DtypeInfo{Dtype::u8, "U8", 1},   DtypeInfo{Dtype::boolean, "BOOL", 1}};

const DtypeInfo& info(Dtype dtype) noexcept { return dtypes[static_cast<std::size_t>(dtype)]; }

std::string tensor_where(const std::string& file, const std::string& name) {
  return file + ": tensor \"" + name + "\"";
}

/// The JSON header and the data behind it.
struct Parts {
  std::string_view header;
  std::span<const std::byte> data;
};

Parts split(std::span<const std::byte> bytes, const std::string& file) {
  if (bytes.size() < length_bytes) {
    throw std::runtime_error(file + ": truncated: expected at least 8 bytes of header length, found " +
                             std::to_string(bytes.size()));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), length_bytes);
  if (length > max_header_bytes) {
    throw std::runtime_error(file + ": header length " + std::to_string(length) + " is above the limit of " +
                             std::to_string(max_header_bytes) + " bytes");
  }
  const auto rest = bytes.subspan(length_bytes);
  if (length > rest.size()) {
    throw std::runtime_error(file + ": truncated: header length " + std::to_string(length) + ", but only " +
                             std::to_string(rest.size()) + " bytes follow");
  }
  return {{reinterpret_cast<const char*>(rest.data()), length}, rest.subspan(length)};
}

Dtype parse_dtype(const Json& field, const std::string& where) {
  if (field.is_string()) {
    const auto found = std::ranges::find(dtypes, field.get_ref<const std::string&>(), &DtypeInfo::name);
    if (found != dtypes.end()) {
      return found->dtype;
    }
  }
  throw std::runtime_error(where + ": dtype " + field.dump() + " is not supported");
}

std::vector<std::int64_t> parse_shape(const Json& field, const std::string& where) {
  std::vector<std::int64_t> shape;
  const auto bad = [](const Json& dim) {
    return !dim.is_number_unsigned() ||
           dim.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
  };
  if (!field.is_array() || std::ranges::any_of(field, bad)) {
    throw std::runtime_error(where + ": shape: expected a list of non-negative integers, found " + field.dump());
  }
  for (const Json& dim : field) {
    shape.push_back(dim.get<std::int64_t>());
  }
  return shape;
}

/// Bytes that @p shape takes. @throws std::runtime_error when the product does not fit 63 bits.
std::uint64_t byte_count(const std::vector<std::int64_t>& shape, Dtype dtype, const std::string& where) {
  std::uint64_t count = dtype_size(dtype);
  for (const std::int64_t dim : shape) {
    if (__builtin_mul_overflow(count, static_cast<std::uint64_t>(dim), &count) || count >> 63 != 0) {
      throw std::runtime_error(where + ": shape " + Json(shape).dump() + " is too large");
    }
  }
  return count;
}

struct Extent {
  std::uint64_t begin;
  std::uint64_t end;
};

Extent parse_offsets(const Json& field, std::uint64_t data_size, const std::string& where) {
  if (!field.is_array() || field.size() != 2 || !field[0].is_number_unsigned() || !field[1].is_number_unsigned()) {
    throw std::runtime_error(where + ": data_offsets: expected two non-negative integers, found " + field.dump());
  }
  const Extent extent{field[0].get<std::uint64_t>(), field[1].get<std::uint64_t>()};
  if (extent.begin > extent.end || extent.end > data_size) {
    throw std::runtime_error(where + ": data_offsets " + field.dump() + ": expected begin <= end <= " +
                             std::to_string(data_size) + ", the bytes of data in the file");
  }
  return extent;
}

TensorView parse_tensor(const Json& entry, std::span<const std::byte> data, const std::string& where) {
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets")) {
    throw std::runtime_error(where + ": expected an object of dtype, shape and data_offsets, found " + entry.dump());
  }
  TensorView view;
  view.dtype = parse_dtype(entry["dtype"], where);
  view.shape = parse_shape(entry["shape"], where);
  const Extent extent = parse_offsets(entry["data_offsets"], data.size(), where);
  const std::uint64_t expected = byte_count(view.shape, view.dtype, where);
  if (extent.end - extent.begin != expected) {
    throw std::runtime_error(where + ": shape " + entry["shape"].dump() + " of " + std::string(dtype_name(view.dtype)) +
                             ": expected " + std::to_string(expected) + " bytes, found " +
                             std::to_string(extent.end - extent.begin));
  }
  view.data = data.subspan(extent.begin, expected);
  return view;
}

std::map<std::string, std::string> parse_metadata(const Json& entry, const std::string& file) {
  if (!entry.is_object() || !std::ranges::all_of(entry, [](const Json& value) { return value.is_string(); })) {
    throw std::runtime_error(file + ": __metadata__: expected an object of strings, found " + entry.dump());
  }
  return entry.get<std::map<std::string, std::string>>();
}

/// The data must be covered by the tensors exactly: no byte twice, no byte unclaimed.
void check_coverage(const std::map<std::string, TensorView, std::less<>>& tensors, std::span<const std::byte> data,
                    const std::string& file) {
  struct Piece {
    std::size_t begin;
    std::size_t end;
    const std::string* name;
  };
  std::vector<Piece> pieces;
  for (const auto& [name, view] : tensors) {
    const auto begin = static_cast<std::size_t>(view.data.data() - data.data());
    pieces.push_back({begin, begin + view.data.size(), &name});
  }
  std::ranges::sort(pieces, {}, [](const Piece& piece) { return std::pair(piece.begin, piece.end); });
  std::size_t covered = 0;
  for (const Piece& piece : pieces) {
    if (piece.begin != covered) {
      throw std::runtime_error(tensor_where(file, *piece.name) + ": data begins at " + std::to_string(piece.begin) +
                               ", expected " + std::to_string(covered) +
                               (piece.begin < covered ? " (tensors overlap)" : " (a hole between tensors)"));
    }
    covered = piece.end;
  }
  if (covered != data.size()) {
    throw std::runtime_error(file + ": the tensors end at byte " + std::to_string(covered) + " of " +
                             std::to_string(data.size()) + " bytes of data");
  }
}

} // namespace

std::size_t dtype_size(Dtype dtype) noexcept { return info(dtype).size; }

std::string_view dtype_name(Dtype dtype) noexcept { return info(dtype).name; }

SafetensorsFile::SafetensorsFile(const std::filesystem::path& file) : path_(file), mapping_(file) {
  const std::string name = file.string();
  const auto [header, data] = split(mapping_.bytes(), name);
  const Json entries = parse_strict_json(header, name, max_header_depth);
  if (!entries.is_object()) {
    throw std::runtime_error(name + ": header: expected a JSON object");
  }
  for (const auto& [key, entry] : entries.items()) {
    if (key == "__metadata__") {
      metadata_ = parse_metadata(entry, name);
    } else {
      tensors_.emplace(key, parse_tensor(entry, data, tensor_where(name, key)));
    }
  }
  check_coverage(tensors_, data, name);
}

const TensorView& SafetensorsFile::at(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    throw std::out_of_range(path_.string() + ": has no tensor \"" + std::string(name) + "\"");
  }
  return found->second;
}

} // namespace audiobookd::engine
