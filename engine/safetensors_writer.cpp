// Writing safetensors files: header, then tensor by tensor, into a temporary file that is renamed at the end.
// Different files may be written by different threads.
#include "engine/atomic_file.h"
#include "engine/safetensors.h"

#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

namespace audiobookd::engine {
namespace {

std::size_t byte_count(const TensorSource& tensor) {
  std::size_t count = dtype_size(tensor.dtype);
  for (const std::int64_t dim : tensor.shape) {
    count *= static_cast<std::size_t>(dim);
  }
  return count;
}

/// The JSON header, padded with spaces so that the data is 8-byte aligned.
std::string make_header(const std::vector<TensorSource>& tensors, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    header["__metadata__"] = metadata;
  }
  std::set<std::string_view> names;
  std::size_t offset = 0;
  for (const TensorSource& tensor : tensors) {
    if (!names.insert(tensor.name).second || tensor.name == "__metadata__") {
      throw std::invalid_argument("safetensors: the tensor name \"" + tensor.name + "\" cannot be used (again)");
    }
    const std::size_t end = offset + byte_count(tensor);
    // push_back keeps this linear: ordered_json's operator[] searches all earlier keys.
    header.get_ref<nlohmann::ordered_json::object_t&>().push_back(
        {tensor.name, {{"dtype", dtype_name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}}});
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

} // namespace

void write_safetensors(const std::filesystem::path& file, const std::vector<TensorSource>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string header = make_header(tensors, metadata);
  AtomicFile out(file);
  const std::uint64_t length = header.size();
  out.write(&length, sizeof length);
  out.write(header.data(), header.size());
  std::vector<std::byte> buffer;
  for (const TensorSource& tensor : tensors) {
    buffer.resize(byte_count(tensor));
    tensor.write(buffer);
    out.write(buffer.data(), buffer.size());
  }
  out.commit();
}

} // namespace audiobookd::engine
