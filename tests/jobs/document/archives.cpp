// See archives.h.
#include "tests/jobs/document/archives.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <zip.h>
#include <zlib.h>

namespace audiobookd::jobs::testing {
namespace {

void require(bool is_fine, const char* what) {
  if (!is_fine) {
    throw std::runtime_error(what);
  }
}

std::string little_endian(std::uint64_t value, int bytes) {
  std::string result;
  for (int i = 0; i < bytes; ++i) {
    result += static_cast<char>(value >> (8 * i) & 0xff);
  }
  return result;
}

std::string big_endian(std::uint64_t value, int bytes) {
  std::string result = little_endian(value, bytes);
  std::reverse(result.begin(), result.end());
  return result;
}

std::uint32_t checksum(const std::string& bytes) {
  return static_cast<std::uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

std::string png_chunk(const std::string& type, const std::string& data) {
  return big_endian(data.size(), 4) + type + data + big_endian(checksum(type + data), 4);
}

} // namespace

std::string zip(const Members& members, const std::string& password) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* target = zip_source_buffer_create(nullptr, 0, 0, &error);
  require(target != nullptr, "zip_source_buffer_create");
  zip_source_keep(target);
  const std::unique_ptr<zip_source_t, void (*)(zip_source_t*)> keep(target, zip_source_free);
  zip_t* archive = zip_open_from_source(target, ZIP_CREATE | ZIP_TRUNCATE, &error);
  require(archive != nullptr, "zip_open_from_source");
  for (const auto& [name, bytes] : members) {
    zip_source_t* source = zip_source_buffer(archive, bytes.data(), bytes.size(), 0);
    const auto index = zip_file_add(archive, name.c_str(), source, ZIP_FL_ENC_UTF_8);
    require(index >= 0, "zip_file_add");
    if (!password.empty()) {
      require(zip_file_set_encryption(archive, static_cast<zip_uint64_t>(index), ZIP_EM_AES_256, password.c_str()) == 0,
              "zip_file_set_encryption");
    }
  }
  require(zip_close(archive) == 0, "zip_close");
  require(zip_source_open(target) == 0, "zip_source_open");
  zip_stat_t about;
  require(zip_source_stat(target, &about) == 0, "zip_source_stat");
  std::string result(about.size, '\0');
  require(zip_source_read(target, result.data(), result.size()) == static_cast<zip_int64_t>(result.size()), "read");
  zip_source_close(target);
  return result;
}

std::string raw_zip(const Members& members, std::uint32_t says_bytes) {
  std::string files;
  std::string directory;
  for (const auto& [name, bytes] : members) {
    const std::uint64_t size = says_bytes == 0 ? bytes.size() : says_bytes;
    // Version, flags, method (stored), time, date; then what both headers have in common.
    const std::string common = little_endian(20, 2) + little_endian(0, 2) + little_endian(0, 2) + little_endian(0, 4) +
                               little_endian(checksum(bytes), 4) + little_endian(bytes.size(), 4) +
                               little_endian(size, 4) + little_endian(name.size(), 2) + little_endian(0, 2);
    directory += "PK\x01\x02" + little_endian(20, 2) + common + little_endian(0, 2) + little_endian(0, 2) +
                 little_endian(0, 2) + little_endian(0, 4) + little_endian(files.size(), 4) + name;
    files += "PK\x03\x04" + common + name + bytes;
  }
  return files + directory + "PK\x05\x06" + little_endian(0, 4) + little_endian(members.size(), 2) +
         little_endian(members.size(), 2) + little_endian(directory.size(), 4) + little_endian(files.size(), 4) +
         little_endian(0, 2);
}

std::string page(const std::string& body) {
  return R"(<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml" )"
         R"(xmlns:epub="http://www.idpf.org/2007/ops"><head><title>A page</title></head><body>)" +
         body + "</body></html>";
}

Members epub_members(const EpubParts& parts) {
  Members members = {{"mimetype", "application/epub+zip"}, {"META-INF/container.xml", container}};
  std::string manifest = parts.more_manifest;
  std::string spine;
  for (std::size_t i = 0; i < parts.pages.size(); ++i) {
    const std::string id = "page" + std::to_string(i);
    manifest += "<item id=\"" + id + "\" href=\"" + parts.pages[i].first + "\" media-type=\"application/xhtml+xml\"/>";
    spine += "<itemref idref=\"" + id + "\"/>";
    members.emplace_back("OEBPS/" + parts.pages[i].first, page(parts.pages[i].second));
  }
  members.emplace_back("OEBPS/book.opf",
                       R"(<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version=")" +
                           parts.version +
                           R"(" unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/" )" +
                           R"(xmlns:opf="http://www.idpf.org/2007/opf">)" + parts.metadata + "</metadata><manifest>" +
                           manifest + "</manifest><spine " + parts.spine_attributes + ">" + spine + parts.more_spine +
                           "</spine>" + parts.guide + "</package>");
  for (const auto& [name, bytes] : parts.more) {
    members.emplace_back("OEBPS/" + name, bytes);
  }
  return members;
}

std::string epub(const EpubParts& parts) { return zip(epub_members(parts)); }

std::string navigation(const std::string& items) {
  return page(R"(<nav epub:type="toc"><h1>Contents</h1><ol>)" + items + "</ol></nav>");
}

std::string docx_paragraph(const std::string& text, const std::string& style) {
  const std::string properties = style.empty() ? "" : "<w:pPr><w:pStyle w:val=\"" + style + "\"/></w:pPr>";
  return "<w:p>" + properties + "<w:r><w:t xml:space=\"preserve\">" + text + "</w:t></w:r></w:p>";
}

std::string docx(const std::string& body) {
  const std::string w = R"(xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main")";
  const auto style = [](const std::string& id, const std::string& content) {
    return R"(<w:style w:type="paragraph" w:styleId=")" + id + "\">" + content + "</w:style>";
  };
  return zip(
      {{"[Content_Types].xml", "<Types/>"},
       {"word/document.xml", "<w:document " + w + "><w:body>" + body + "</w:body></w:document>"},
       {"word/styles.xml",
        "<w:styles " + w + R"(><w:docDefaults><w:rPrDefault><w:rPr><w:lang w:val="en-US"/></w:rPr></w:rPrDefault>)" +
            "</w:docDefaults>" + style("Heading1", R"(<w:name w:val="heading 1"/>)") +
            style("Heading2", R"(<w:name w:val="heading 2"/><w:basedOn w:val="Heading1"/>)") +
            style("Mine", R"(<w:name w:val="My chapter"/><w:basedOn w:val="Heading1"/>)") +
            style("Loop", R"(<w:name w:val="Loop"/><w:basedOn w:val="Loop"/>)") +
            style("Title", R"(<w:name w:val="Title"/>)") + style("TOC1", R"(<w:name w:val="toc 1"/>)") +
            style("Code", R"(<w:name w:val="Source Code"/>)") + "</w:styles>"},
       {"docProps/core.xml",
        R"(<cp:coreProperties xmlns:cp="c" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A Tale</dc:title>)"
        R"(<dc:creator>Ann Author;Ben Writer</dc:creator><dc:description>About a lamp.</dc:description>)"
        "</cp:coreProperties>"}});
}

std::string png(int width, int height) {
  std::string rows;
  for (int y = 0; y < height; ++y) {
    rows += '\0' + std::string(static_cast<std::size_t>(width), '\x80');
  }
  uLongf size = compressBound(rows.size());
  std::string packed(size, '\0');
  require(compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(rows.data()),
                   rows.size()) == Z_OK,
          "compress");
  packed.resize(size);
  const std::string header = big_endian(static_cast<std::uint64_t>(width), 4) +
                             big_endian(static_cast<std::uint64_t>(height), 4) + std::string("\x08\0\0\0\0", 5);
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + png_chunk("IDAT", packed) + png_chunk("IEND", "");
}

std::string jpeg(int width, int height) {
  return std::string("\xff\xd8\xff\xe0\x00\x04\x4a\x46\xff\xff\xc0\x00\x0b\x08", 14) +
         big_endian(static_cast<std::uint64_t>(height), 2) + big_endian(static_cast<std::uint64_t>(width), 2) +
         std::string("\x01\x01\x11\x00\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00pixels\xff\xd9", 22);
}

} // namespace audiobookd::jobs::testing
