// See epub_package.h. EPUB 3.3 (W3C), chapters 4 and 5; Open Packaging Format 2.0.1 (IDPF).
#include "jobs/document/epub_package.h"

#include "jobs/document/block.h"
#include "jobs/document/html_page.h"
#include "jobs/document/html_rules.h"
#include "jobs/document/xml_tree.h"

#include <algorithm>
#include <map>
#include <unordered_map>

namespace audiobookd::jobs {
namespace {

struct Item {
  std::string member;
  std::string media_type;
  std::string properties;
};
using Manifest = std::map<std::string, Item>; ///< by id

/// EPUB 3's `<meta property refines>`: "#id property" → what is said.
using Refinements = std::unordered_map<std::string, std::string>;

std::string member_name(const ZipArchive& archive, const std::string& member) { return archive.name() + ": " + member; }

void parse_member(pugi::xml_document& tree, const ZipArchive& archive, const std::string& member,
                  const DocumentLimits& limits) {
  parse_xml(tree, archive.read(member, limits.max_bytes), member_name(archive, member), limits);
}

std::string package_member(const ZipArchive& archive, const DocumentLimits& limits) {
  const std::string container = "META-INF/container.xml";
  if (!archive.contains(container)) {
    throw DocumentError(archive.name() + ": not an EPUB: the archive has no " + container);
  }
  pugi::xml_document tree;
  parse_member(tree, archive, container, limits);
  for (const pugi::xml_node& file : child(child(tree, "container"), "rootfiles").children()) {
    std::string member = local_name(file) == "rootfile" ? resolve_member("", attribute(file, "full-path")) : "";
    if (!member.empty()) {
      return member;
    }
  }
  throw DocumentError(member_name(archive, container) + ": names no package document");
}

/// Fonts may be obfuscated; nothing else may be encrypted.
void refuse_encryption(const ZipArchive& archive, const DocumentLimits& limits) {
  const std::string member = "META-INF/encryption.xml";
  if (!archive.contains(member)) {
    return;
  }
  pugi::xml_document tree;
  parse_member(tree, archive, member, limits);
  for (const pugi::xml_node& data : child(tree, "encryption").children()) {
    const std::string_view algorithm = attribute(child(data, "EncryptionMethod"), "Algorithm");
    const bool is_font =
        algorithm == "http://www.idpf.org/2008/embedding" || algorithm == "http://ns.adobe.com/pdf/enc#RC";
    if (local_name(data) == "EncryptedData" && !is_font) {
      throw DocumentError(archive.name() + ": encrypted (DRM): '" +
                          clean_text(attribute(child(child(data, "CipherData"), "CipherReference"), "URI")) +
                          "' can only be read by the reader that it was sold for");
    }
  }
}

Manifest read_manifest(const pugi::xml_node& package, const std::string& package_member) {
  Manifest manifest;
  for (const pugi::xml_node& item : child(package, "manifest").children()) {
    if (local_name(item) == "item") {
      manifest.try_emplace(std::string(attribute(item, "id")),
                           Item{resolve_member(package_member, attribute(item, "href")),
                                std::string(attribute(item, "media-type")),
                                std::string(attribute(item, "properties"))});
    }
  }
  return manifest;
}

bool is_page(const Item& item) {
  return item.media_type == "application/xhtml+xml" || item.media_type == "text/html" ||
         item.media_type == "text/x-oeb1-document" || item.media_type == "application/xml";
}

void read_spine(const pugi::xml_node& package, const Manifest& manifest, const ZipArchive& archive,
                EpubPackage& result) {
  std::unordered_set<std::string> seen;
  const pugi::xml_node spine = child(package, "spine");
  for (const pugi::xml_node& reference : spine.children()) {
    if (local_name(reference) != "itemref" || attribute(reference, "linear") == "no") {
      continue;
    }
    const std::string id(attribute(reference, "idref"));
    const auto item = manifest.find(id);
    if (item == manifest.end() || !archive.contains(item->second.member)) {
      result.about.warnings.push_back(archive.name() + ": '" +
                                      clean_text(item == manifest.end() ? id : item->second.member) +
                                      "' is in the reading order but not in the archive: it was left out");
    } else if (!is_page(item->second)) {
      result.about.warnings.push_back(archive.name() + ": '" + clean_text(item->second.member) + "' is " +
                                      clean_text(item->second.media_type) + ", not a page of text: it was left out");
    } else if (seen.insert(item->second.member).second) {
      result.spine.push_back(item->second.member);
    }
  }
  if (const auto ncx = manifest.find(std::string(attribute(spine, "toc"))); ncx != manifest.end()) {
    result.ncx = ncx->second.member;
  }
}

/// The navigation document, the NCX if the spine does not name it, and the cover.
void read_roles(const pugi::xml_node& metadata, const Manifest& manifest, EpubPackage& result) {
  for (const auto& [id, item] : manifest) {
    if (has_word(item.properties, "nav")) {
      result.navigation = item.member;
    }
    if (item.media_type == "application/x-dtbncx+xml" && result.ncx.empty()) {
      result.ncx = item.member;
    }
    if (has_word(item.properties, "cover-image")) {
      result.cover = item.member;
    }
  }
  for (const pugi::xml_node& meta : metadata.children()) {
    if (local_name(meta) != "meta" || attribute(meta, "name") != "cover" || !result.cover.empty()) {
      continue;
    }
    const std::string content(attribute(meta, "content"));
    const auto by_id = manifest.find(content);
    const auto by_name = std::ranges::find_if(
        manifest, [&](const auto& entry) { return !content.empty() && entry.second.member.ends_with(content); });
    const auto found = by_id != manifest.end() ? by_id : by_name;
    if (found != manifest.end() && found->second.media_type.starts_with("image/")) {
      result.cover = found->second.member;
    }
  }
}

Refinements read_refinements(const pugi::xml_node& metadata) {
  Refinements refinements;
  for (const pugi::xml_node& meta : metadata.children()) {
    if (const std::string id(attribute(meta, "refines")); !id.empty()) {
      refinements.try_emplace(id + " " + std::string(attribute(meta, "property")), text_of(meta));
    }
  }
  return refinements;
}

/// What is said about @p element; empty if nothing is.
std::string refinement(const Refinements& refinements, const pugi::xml_node& element, const std::string& property) {
  const auto found = refinements.find("#" + std::string(attribute(element, "id")) + " " + property);
  return found == refinements.end() ? "" : found->second;
}

void read_creator(const Refinements& refinements, const pugi::xml_node& element, Document& about) {
  std::string role(attribute(element, "role"));
  role = role.empty() ? refinement(refinements, element, "role") : role;
  const std::string name = text_of(element);
  if ((role.empty() || role == "aut") && !name.empty()) {
    about.author += (about.author.empty() ? "" : ", ") + name;
  }
}

void read_title(const Refinements& refinements, const pugi::xml_node& element, Document& about) {
  const std::string type = refinement(refinements, element, "title-type");
  if (about.title.empty() || type == "main") {
    about.title = text_of(element);
  }
}

void read_collection(const Refinements& refinements, const pugi::xml_node& element, Document& about) {
  const std::string type = refinement(refinements, element, "collection-type");
  if (about.series.empty() && (type.empty() || type == "series")) {
    about.series = text_of(element);
    about.series_index = refinement(refinements, element, "group-position");
  }
}

/// "1.0" as "1", as calibre writes it.
std::string short_number(const std::string& number) {
  return number.ends_with(".0") ? number.substr(0, number.size() - 2) : number;
}

/// calibre's `<meta name content>`, which go before EPUB 3's collections.
void read_calibre_series(const pugi::xml_node& metadata, Document& about) {
  for (const pugi::xml_node& meta : metadata.children()) {
    const std::string content = clean_text(attribute(meta, "content"));
    if (attribute(meta, "name") == "calibre:series" && !content.empty()) {
      about.series = content;
      about.series_index.clear();
    }
  }
  for (const pugi::xml_node& meta : metadata.children()) {
    if (attribute(meta, "name") == "calibre:series_index" && !about.series.empty()) {
      about.series_index = short_number(clean_text(attribute(meta, "content")));
    }
  }
}

std::string year_of(const std::string& date) {
  const bool has_year = date.size() >= 4 && date.find_first_not_of("0123456789") >= 4;
  return has_year ? date.substr(0, 4) : "";
}

void read_metadata(const pugi::xml_node& package, const pugi::xml_node& metadata, const DocumentLimits& limits,
                   Document& about) {
  const Refinements refinements = read_refinements(metadata);
  const std::string_view identifier_id = attribute(package, "unique-identifier");
  for (const pugi::xml_node& element : metadata.children()) {
    const std::string_view name = local_name(element);
    if (name == "title") {
      read_title(refinements, element, about);
    } else if (name == "creator") {
      read_creator(refinements, element, about);
    } else if (name == "language" && about.language.empty()) {
      about.language = text_of(element);
    } else if (name == "publisher" && about.publisher.empty()) {
      about.publisher = text_of(element);
    } else if (name == "date" && (about.year.empty() || attribute(element, "event") == "publication")) {
      about.year = year_of(text_of(element));
    } else if (name == "description" && about.description.empty()) {
      for (const Block& block : read_html_page(text_of(element), "description", limits).blocks) { // often marked up
        about.description += (about.description.empty() ? "" : " ") + block.paragraph.text;
      }
    } else if (name == "identifier" && (about.identifier.empty() || attribute(element, "id") == identifier_id)) {
      about.identifier = text_of(element);
    } else if (attribute(element, "property") == "belongs-to-collection") {
      read_collection(refinements, element, about);
    }
  }
  read_calibre_series(metadata, about);
}

void read_guide(const pugi::xml_node& package, const std::string& package_member, EpubPackage& result) {
  for (const pugi::xml_node& reference : child(package, "guide").children()) {
    const std::string_view href = attribute(reference, "href");
    if (is_unread_part(attribute(reference, "type")) && href.find('#') == std::string_view::npos) {
      result.unread.insert(resolve_member(package_member, href));
    }
  }
}

} // namespace

EpubPackage read_epub_package(const ZipArchive& archive, const DocumentLimits& limits) {
  const std::string member = package_member(archive, limits);
  refuse_encryption(archive, limits);
  pugi::xml_document tree;
  parse_member(tree, archive, member, limits);
  const pugi::xml_node package = child(tree, "package");
  // OEB 1, from which EPUB 2 comes, has a level more.
  const pugi::xml_node outer = child(package, "metadata");
  const pugi::xml_node inner = child(outer, "dc-metadata");
  EpubPackage result;
  const Manifest manifest = read_manifest(package, member);
  read_spine(package, manifest, archive, result);
  if (result.spine.empty()) {
    throw DocumentError(member_name(archive, member) + ": names no page to read");
  }
  read_roles(outer, manifest, result);
  read_metadata(package, inner ? inner : outer, limits, result.about);
  read_guide(package, member, result);
  return result;
}

} // namespace audiobookd::jobs
