// What the fuzz targets of all formats of documents have in common.
#pragma once

#include "jobs/document/document.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace audiobookd::jobs {

/// Bounds that keep one input below a second and a hundred megabytes.
inline constexpr DocumentLimits fuzz_limits{.max_bytes = 1u << 20,
                                            .max_archive_bytes = 1u << 20,
                                            .max_entries = 100,
                                            .max_entry_bytes = 1u << 20,
                                            .max_unpacked_bytes = 4u << 20,
                                            .max_text_bytes = 2u << 20,
                                            .max_xml_elements = 20'000};

/// Any bytes are read or refused with a reason; what is read keeps what Document promises.
inline int fuzz_document(const std::uint8_t* data, std::size_t size,
                         Document (*parse)(std::string_view, std::string_view, const DocumentLimits&)) {
  try {
    const Document document = parse({reinterpret_cast<const char*>(data), size}, "fuzz", fuzz_limits);
    bool is_kept = !document.chapters.empty();
    for (const Chapter& chapter : document.chapters) {
      is_kept = is_kept && !chapter.paragraphs.empty();
      for (const Paragraph& paragraph : chapter.paragraphs) {
        is_kept = is_kept && !paragraph.text.empty() && paragraph.text.find('\n') == std::string::npos;
      }
    }
    if (!is_kept) {
      std::abort();
    }
  } catch (const DocumentError& error) { // refused, with a reason
    if (std::string_view(error.what()).find("fuzz: ") != 0) {
      std::abort();
    }
  }
  return 0;
}

} // namespace audiobookd::jobs
