// Documents that were damaged in many ways: each is read or refused with a message that names it.
//
// The damage is drawn by a seeded generator: every run sees the same files.
#include "jobs/document/cover.h"
#include "tests/jobs/document/archives.h"
#include "tests/jobs/document/outline.h"

#include <algorithm>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <random>
#include <set>

namespace audiobookd::jobs {
namespace {

using testing::EpubParts;
using testing::Members;

constexpr int files_of_each_kind = 100;
constexpr DocumentLimits small_limits{.max_unpacked_bytes = 16u << 20, .max_text_bytes = 8u << 20};

/// Damages bytes in one of the ways that disks, networks and people know.
class Damage {
public:
  explicit Damage(unsigned seed) : random_(seed) {}

  std::string apply(std::string bytes) {
    for (std::size_t times = 1 + below(4); times > 0; --times) {
      apply_once(bytes);
    }
    return bytes;
  }
  std::size_t below(std::size_t end) { return std::uniform_int_distribution<std::size_t>(0, end - 1)(random_); }

private:
  void apply_once(std::string& bytes) {
    const std::size_t at = below(bytes.size() + 1);
    const std::size_t count = below(std::min<std::size_t>(bytes.size() - at, 64) + 1);
    switch (below(6)) {
    case 0: bytes.resize(at); break;
    case 1: bytes.erase(at, count); break;
    case 2: bytes.insert(at, bytes.substr(at, count)); break;
    case 3: std::generate_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), count, [&] { return letter(); }); break;
    case 4: bytes.insert(at, count, letter()); break;
    default:
      if (!bytes.empty()) {
        bytes[below(bytes.size())] ^= static_cast<char>(1 << below(8));
      }
    }
  }
  char letter() { return static_cast<char>(below(256)); }

  std::mt19937 random_;
};

EpubParts tale() {
  EpubParts parts{
      .metadata = "<dc:title>A Tale</dc:title><dc:creator>Ann</dc:creator><dc:language>en</dc:language>",
      .pages = {{"a.xhtml", "<h1 id='x'>One</h1><p>It was <b>dark</b><a epub:type='noteref' href='#n'>1</a>.</p><aside "
                            "id='n'>no</aside><table><tr><td>a</td></tr></table>"},
                {"b.xhtml", "<h1>Two</h1><p>Then&nbsp;it was light &amp; warm.</p><hr/><p>The end.</p>"}}};
  parts.more_manifest = std::string(testing::navigation_item) +
                        R"(<item id="c" href="c.png" media-type="image/png" properties="cover-image"/>)";
  parts.more = {
      {"nav.xhtml", testing::navigation("<li><a href='a.xhtml#x'>One</a></li><li><a href='b.xhtml'>Two</a></li>")},
      {"c.png", testing::png(3, 5)}};
  return parts;
}

/// An archive of @p members one of which is damaged; written anew, so that the damage is not found by a checksum.
std::string with_damaged_member(Members members, Damage& damage) {
  std::string& bytes = members[damage.below(members.size())].second;
  bytes = damage.apply(std::move(bytes));
  return testing::raw_zip(members);
}

/// Parses @p bytes and checks what comes of it. @return whether it was a document.
bool is_read(const std::string& bytes, const std::string& name) {
  try {
    const Document document = parse_document(bytes, name, small_limits);
    EXPECT_FALSE(document.chapters.empty());
    for (const Chapter& chapter : document.chapters) {
      EXPECT_FALSE(chapter.paragraphs.empty());
      for (const Paragraph& paragraph : chapter.paragraphs) {
        EXPECT_FALSE(paragraph.text.empty());
        EXPECT_EQ(paragraph.text.find('\n'), std::string::npos);
      }
    }
    return true;
  } catch (const DocumentError& error) {
    EXPECT_EQ(std::string(error.what()).find(name + ": "), 0u) << error.what();
    EXPECT_GT(std::string(error.what()).size(), name.size() + 10) << "says what is wrong";
    return false;
  }
}

/// Damages @p make's files; some are read and some are not.
template <typename Make>
void try_corpus(const std::string& name, Make make) {
  int read = 0;
  for (unsigned seed = 0; seed < files_of_each_kind; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Damage damage(seed);
    read += is_read(make(damage), name) ? 1 : 0;
  }
  EXPECT_GT(read, 0) << "not everything is damaged beyond reading";
  EXPECT_LT(read, files_of_each_kind) << "damage is noticed";
}

TEST(MalformedCorpus, EpubArchives) {
  const std::string book = testing::epub(tale());
  ASSERT_TRUE(is_read(book, "tale.epub"));
  try_corpus("tale.epub", [&](Damage& damage) { return damage.apply(book); });
}

TEST(MalformedCorpus, EpubMembers) {
  const Members members = testing::epub_members(tale());
  try_corpus("tale.epub", [&](Damage& damage) { return with_damaged_member(members, damage); });
}

TEST(MalformedCorpus, EpubsWithoutOneOfTheirMembers) {
  const Members members = testing::epub_members(tale());
  for (std::size_t left_out = 0; left_out < members.size(); ++left_out) {
    Members rest = members;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(left_out));
    const std::string& name = members[left_out].first;
    const bool is_needed = name == "META-INF/container.xml" || name == "OEBPS/book.opf";
    EXPECT_EQ(is_read(testing::zip(rest), "tale.epub"), !is_needed) << name;
  }
}

TEST(MalformedCorpus, WordDocuments) {
  const std::string book =
      testing::docx(testing::docx_paragraph("One", "Heading1") + testing::docx_paragraph("It was dark."));
  try_corpus("tale.docx", [&](Damage& damage) { return damage.apply(book); });
}

TEST(MalformedCorpus, WordMembers) {
  const std::string text = "<w:document xmlns:w='w'><w:body>" + testing::docx_paragraph("One", "Heading1") +
                           "<w:tbl><w:tr><w:tc>" + testing::docx_paragraph("It was dark.") +
                           "</w:tc></w:tr></w:tbl></w:body></w:document>";
  try_corpus("tale.docx", [&](Damage& damage) {
    return testing::raw_zip({{"word/document.xml", damage.apply(text)}});
  });
}

TEST(MalformedCorpus, Pages) {
  const std::string text =
      "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>A Tale</title><body><h1>One</h1><p>It "
      "was <b>d\xc3\xa4rk</b> &mdash; and<br>cold.<ul><li>a<li>b</ul><!-- c --><pre>x</pre>";
  try_corpus("tale.html", [&](Damage& damage) { return damage.apply(text); });
}

TEST(MalformedCorpus, Markdown) {
  const std::string text =
      "---\ntitle: A Tale\nauthor: [Ann, Ben]\n---\n# One\n\nIt *was* d\xc3\xa4rk[^1].\n\n| a | b |\n|---|"
      "---|\n| c | d |\n\n```c\nx\n```\n\n<div>\n<p>y</div>\n\n[^1]: No.\n";
  try_corpus("tale.md", [&](Damage& damage) { return damage.apply(text); });
}

TEST(MalformedCorpus, Texts) {
  const std::string text =
      "CHAPTER I\n\nIt was d\xc3\xa4rk and\nstormy.\n\n* * *\n\n\xe2\x80\x9cYes.\xe2\x80\x9d\n\nCHAPTER II\n\nx\n";
  try_corpus("tale.txt", [&](Damage& damage) { return damage.apply(text); });
}

TEST(MalformedCorpus, Covers) {
  std::set<std::string> reasons;
  for (const std::string& picture : {testing::png(30, 50), testing::jpeg(600, 800)}) {
    for (unsigned seed = 0; seed < files_of_each_kind; ++seed) {
      Damage damage(seed);
      try {
        const Cover cover = check_cover(damage.apply(picture));
        EXPECT_GT(cover.width, 0);
        EXPECT_GT(cover.height, 0);
      } catch (const DocumentError& error) {
        reasons.insert(error.what());
      }
    }
  }
  EXPECT_GE(reasons.size(), 4u) << "each kind of damage has its message";
}

/// What fuzzing found, what else once went wrong, and what the fuzzers begin with: tests/data/fuzz/EXTENSION/*.
TEST(MalformedCorpus, FilesThatFuzzingFound) {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(AUDIOBOOKD_SOURCE_DIR "/tests/data/fuzz")) {
    if (!entry.is_regular_file() || entry.path().parent_path().filename() == "cover") {
      continue;
    }
    SCOPED_TRACE(entry.path().string());
    std::ifstream stream(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    (void)is_read(bytes, "found." + entry.path().parent_path().filename().string());
    ++files;
  }
  EXPECT_GE(files, 5u);
}

} // namespace
} // namespace audiobookd::jobs
