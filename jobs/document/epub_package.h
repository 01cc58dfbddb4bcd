// The package document of an EPUB: what the book is called, which files it has and in which order they are read.
//
// Pure functions: any thread.
#pragma once

#include "jobs/document/document.h"
#include "jobs/document/zip_archive.h"

#include <string>
#include <unordered_set>
#include <vector>

namespace audiobookd::jobs {

/// Names of files are those of members of the archive.
struct EpubPackage {
  Document about;                         ///< what the metadata say; no chapters, no cover
  std::vector<std::string> spine;         ///< pages in reading order, each once, without those that are not linear
  std::string navigation;                 ///< EPUB 3: the navigation document; empty if there is none
  std::string ncx;                        ///< EPUB 2: the table of contents; empty if there is none
  std::string cover;                      ///< a picture; empty if there is none
  std::unordered_set<std::string> unread; ///< pages that the guide of an EPUB 2 calls cover, contents or imprint
};

/// Reads META-INF/container.xml and the package document that it names.
/// @throws DocumentError: there is none, it is not well-formed, or its spine is empty; the book's content is encrypted
/// (DRM). What else is wrong becomes a warning in EpubPackage::about.
[[nodiscard]] EpubPackage read_epub_package(const ZipArchive& archive, const DocumentLimits& limits);

} // namespace audiobookd::jobs
