// See cover.h. JPEG: ITU-T T.81, annex B; PNG: W3C's specification, second edition, chapters 5 and 11.
#include "jobs/document/cover.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <zlib.h>

namespace audiobookd::jobs {
namespace {

constexpr std::string_view png_signature = "\x89PNG\r\n\x1a\n";

[[noreturn]] void refuse(const std::string& why) { throw DocumentError(why); }

/// Reads big-endian numbers; nothing beyond the end.
class Bytes {
public:
  explicit Bytes(std::string_view bytes) : bytes_(bytes) {}

  [[nodiscard]] std::uint32_t number(std::size_t offset, std::size_t count) const {
    if (offset > bytes_.size() || count > bytes_.size() - offset) {
      refuse("it is cut short");
    }
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      value = value << 8 | static_cast<std::uint8_t>(bytes_[offset + i]);
    }
    return value;
  }
  [[nodiscard]] std::string_view part(std::size_t offset, std::size_t count) const {
    if (offset > bytes_.size() || count > bytes_.size() - offset) {
      refuse("it is cut short");
    }
    return bytes_.substr(offset, count);
  }

private:
  std::string_view bytes_;
};

struct Size {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
};

Size read_png(std::string_view picture) {
  const Bytes bytes(picture);
  Size size;
  bool has_pixels = false;
  for (std::size_t offset = png_signature.size();;) {
    const std::size_t length = bytes.number(offset, 4);
    const std::string_view type = bytes.part(offset + 4, 4);
    const std::string_view checked = bytes.part(offset + 4, 4 + length);
    const auto sum = crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
    if (sum != bytes.number(offset + 8 + length, 4)) {
      refuse("it is damaged (a checksum is wrong)");
    }
    const bool is_first = offset == png_signature.size();
    if (is_first != (type == "IHDR") || (is_first && length != 13)) {
      refuse("it is damaged (its header is not where it should be)");
    }
    if (is_first) {
      size = {bytes.number(offset + 8, 4), bytes.number(offset + 12, 4)};
    }
    has_pixels = has_pixels || type == "IDAT";
    if (type == "IEND") {
      break;
    }
    offset += 12 + length;
  }
  if (!has_pixels) {
    refuse("it is damaged (there are no pixels in it)");
  }
  return size;
}

/// Whether @p marker begins a frame: SOF0 to SOF15 without the tables that lie among them.
bool begins_frame(std::uint32_t marker) {
  return marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
}

Size read_jpeg(std::string_view picture) {
  const Bytes bytes(picture);
  Size size;
  for (std::size_t offset = 2;;) {
    if (bytes.number(offset, 1) != 0xff) {
      refuse("it is damaged (no marker where one should be)");
    }
    const std::uint32_t marker = bytes.number(offset + 1, 1);
    if (marker == 0xff) { // a fill byte
      ++offset;
      continue;
    }
    const std::size_t length = bytes.number(offset + 2, 2);
    (void)bytes.part(offset + 2, std::max<std::size_t>(length, 2));
    if (begins_frame(marker)) {
      size = {bytes.number(offset + 7, 2), bytes.number(offset + 5, 2)};
    }
    if (marker == 0xda) { // pixels follow
      if (size.width == 0 || picture.find("\xff\xd9", offset) == std::string_view::npos) {
        refuse(size.width == 0 ? "it is damaged (pixels before the header)" : "it is cut short");
      }
      return size;
    }
    if (marker == 0xd8 || marker == 0xd9 || length < 2) {
      refuse("it is damaged (a marker is where none should be)");
    }
    offset += 2 + length;
  }
}

} // namespace

Cover check_cover(std::string bytes, const DocumentLimits& limits) {
  if (bytes.size() > limits.max_cover_bytes) {
    refuse("it has " + std::to_string(bytes.size()) + " bytes, more than the limit of " +
           std::to_string(limits.max_cover_bytes));
  }
  const bool is_png = bytes.starts_with(png_signature);
  if (!is_png && !bytes.starts_with("\xff\xd8\xff")) {
    refuse("it is neither JPEG nor PNG");
  }
  const Size size = is_png ? read_png(bytes) : read_jpeg(bytes);
  const auto most = static_cast<std::uint32_t>(limits.max_cover_pixels);
  if (size.width == 0 || size.height == 0 || size.width > most || size.height > most) {
    refuse("it is " + std::to_string(size.width) + " × " + std::to_string(size.height) + " pixels; expected 1 to " +
           std::to_string(most) + " each way");
  }
  return {.bytes = std::move(bytes),
          .media_type = is_png ? "image/png" : "image/jpeg",
          .width = static_cast<int>(size.width),
          .height = static_cast<int>(size.height)};
}

void take_cover(Document& document, std::string bytes, const std::string& name, const DocumentLimits& limits) {
  try {
    document.cover = check_cover(std::move(bytes), limits);
  } catch (const DocumentError& error) {
    document.warnings.push_back("the cover '" + name + "' was left out: " + error.what());
  }
}

} // namespace audiobookd::jobs
