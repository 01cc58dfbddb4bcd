// Checks pictures that want to be the cover of a book.
//
// Pure functions: any thread.
#pragma once

#include "jobs/document/document.h"

#include <string>

namespace audiobookd::jobs {

/// Reads the headers of a JPEG or PNG from end to end; no pixel is decoded.
/// @throws DocumentError saying why @p bytes are no cover: another format, damaged, cut short, over max_cover_bytes or
/// max_cover_pixels. The message does not name the picture.
[[nodiscard]] Cover check_cover(std::string bytes, const DocumentLimits& limits = {});

/// Gives @p document the cover @p bytes if they are one, else a warning that names the picture, @p name.
void take_cover(Document& document, std::string bytes, const std::string& name, const DocumentLimits& limits);

} // namespace audiobookd::jobs
