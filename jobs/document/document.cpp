// Chooses the parser of a document by its name and its first bytes. Pure functions: any thread.
#include "jobs/document/document.h"

#include "jobs/document/text_document.h"

#include <algorithm>
#include <array>

namespace audiobookd::jobs {
namespace {

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return result;
}

struct Signature {
  std::string_view begin; ///< lower-cased
  std::string_view format;
};

constexpr std::array<Signature, 6> signatures = {{
    {"%pdf-", "a PDF"},
    {"pk\x03\x04", "a ZIP archive (EPUB, docx or ODT)"},
    {"{\\rtf", "an RTF document"},
    {"<!doctype html", "an HTML page"},
    {"<html", "an HTML page"},
    {"<?xml", "an XML document"},
}};

/// What @p bytes are, if they begin like a known format that is not plain text.
std::string_view other_format(std::string_view bytes) {
  const std::string begin = lower_case(bytes.substr(0, 16));
  const auto found = std::find_if(signatures.begin(), signatures.end(),
                                  [&](const Signature& signature) { return begin.starts_with(signature.begin); });
  return found == signatures.end() ? std::string_view() : found->format;
}

} // namespace

Document parse_document(std::string_view bytes, const std::filesystem::path& name, const DocumentLimits& limits) {
  static constexpr std::string_view supported = "; this version reads plain text (.txt)";
  const std::string extension = name.extension().string();
  if (lower_case(extension) != ".txt") {
    throw DocumentError(name.string() + ": documents of type \"" + extension + "\" are not supported" +
                        std::string(supported));
  }
  if (const std::string_view format = other_format(bytes); !format.empty()) {
    throw DocumentError(name.string() + ": its content is " + std::string(format) + std::string(supported));
  }
  return parse_text(bytes, name.string(), limits);
}

} // namespace audiobookd::jobs
