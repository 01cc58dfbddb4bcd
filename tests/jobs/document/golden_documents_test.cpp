// Documents of other programs and what is read of them: tests/data/documents/NAME and NAME.json (README.md there).
#include "jobs/document/document.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <nlohmann/json.hpp>

namespace audiobookd::jobs {
namespace {

using Json = nlohmann::ordered_json;

std::string read_file(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

Json to_json(const Paragraph& paragraph) {
  switch (paragraph.kind) {
  case ParagraphKind::heading: return "# " + paragraph.text;
  case ParagraphKind::scene_break: return "~";
  case ParagraphKind::body: break;
  }
  return paragraph.text;
}

Json to_json(const Document& document) {
  Json json;
  const auto put = [&](const char* key, const std::string& value) {
    if (!value.empty()) {
      json[key] = value;
    }
  };
  put("title", document.title);
  put("author", document.author);
  put("language", document.language);
  put("series", document.series);
  put("series_index", document.series_index);
  put("publisher", document.publisher);
  put("year", document.year);
  put("description", document.description);
  put("identifier", document.identifier);
  if (const auto& cover = document.cover) {
    json["cover"] = cover->media_type + " " + std::to_string(cover->width) + " x " + std::to_string(cover->height);
  }
  json["warnings"] = document.warnings;
  json["chapters"] = Json::array();
  for (const Chapter& chapter : document.chapters) {
    Json paragraphs = Json::array();
    for (const Paragraph& paragraph : chapter.paragraphs) {
      paragraphs.push_back(to_json(paragraph));
    }
    json["chapters"].push_back({{"title", chapter.title}, {"paragraphs", paragraphs}});
  }
  return json;
}

TEST(GoldenDocuments, AreReadAsRecorded) {
  std::size_t documents = 0;
  for (const auto& entry : std::filesystem::directory_iterator(AUDIOBOOKD_SOURCE_DIR "/tests/data/documents")) {
    const std::filesystem::path& file = entry.path();
    if (file.extension() == ".json" || file.filename() == "README.md") {
      continue;
    }
    const Json read = to_json(parse_document(read_file(file), file.filename()));
    const Json expected = Json::parse(read_file(file.string() + ".json"), nullptr, false);
    EXPECT_EQ(read, expected) << file << " is read as\n"
                              << read.dump(1) << "\nif that is right: put it into " << file << ".json";
    ++documents;
  }
  EXPECT_GE(documents, 8u);
}

} // namespace
} // namespace audiobookd::jobs
