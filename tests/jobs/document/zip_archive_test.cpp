// Archives of strangers: each limit has its message.
#include "jobs/document/zip_archive.h"
#include "tests/jobs/document/archives.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

using testing::Members;
using testing::raw_zip;
using testing::zip;

std::string fault(const std::string& bytes, const DocumentLimits& limits = {}) {
  try {
    const ZipArchive archive(bytes, "b.zip", limits);
  } catch (const DocumentError& error) {
    return error.what();
  }
  return "";
}

std::string read_fault(const std::string& bytes, const std::string& member, std::size_t max_bytes = 1000) {
  const ZipArchive archive(bytes, "b.zip", {});
  try {
    (void)archive.read(member, max_bytes);
  } catch (const DocumentError& error) {
    return error.what();
  }
  return "";
}

TEST(ZipArchive, MembersAreReadAsTheyWere) {
  const std::string text(5000, 'x');
  const std::string bytes = zip({{"a/b.txt", "Hello"}, {"long", text}});
  const ZipArchive archive(bytes, "b.zip", {});
  EXPECT_TRUE(archive.contains("a/b.txt"));
  EXPECT_FALSE(archive.contains("b.txt"));
  EXPECT_EQ(archive.read("a/b.txt", 5), "Hello");
  EXPECT_EQ(archive.read("long", 5000), text);
}

TEST(ZipArchive, TheNumberOfEntriesIsLimited) {
  const std::string bytes = zip({{"a", "1"}, {"b", "2"}, {"c", "3"}});
  EXPECT_EQ(fault(bytes, {.max_entries = 3}), "");
  EXPECT_EQ(fault(bytes, {.max_entries = 2}), "b.zip: 3 entries in the archive, more than the limit of 2");
}

TEST(ZipArchive, SizesAreLimitedEachAndAll) {
  const std::string bytes = zip({{"a", std::string(600, 'a')}, {"b", std::string(400, 'b')}});
  EXPECT_EQ(fault(bytes, {.max_entry_bytes = 600, .max_unpacked_bytes = 1000}), "");
  EXPECT_EQ(fault(bytes, {.max_entry_bytes = 599}),
            "b.zip: the member 'a' has 600 bytes unpacked, more than the limit of 599");
  EXPECT_EQ(fault(bytes, {.max_unpacked_bytes = 999}),
            "b.zip: the archive unpacks to more than the limit of 999 bytes");
  EXPECT_EQ(
      fault(bytes, {.max_archive_bytes = 10}).find("b.zip: " + std::to_string(bytes.size()) + " bytes, more than"), 0u);
  EXPECT_EQ(read_fault(bytes, "a", 599), "b.zip: the member 'a' has 600 bytes unpacked, more than the limit of 599");
}

TEST(ZipArchive, ABombIsRefusedBeforeItIsUnpacked) {
  const std::string bytes = zip({{"bomb", std::string(4u << 20, '\0')}});
  ASSERT_LT(bytes.size(), 10'000u);
  EXPECT_NE(fault(bytes).find("b.zip: the member 'bomb' unpacks to 4194304 bytes from "), std::string::npos);
  EXPECT_NE(fault(bytes).find("a ratio above the limit of 200"), std::string::npos);
  EXPECT_EQ(fault(bytes, {.max_ratio = 2000}), "");
}

TEST(ZipArchive, NamesThatLeadElsewhereAreRefused) {
  const auto named = [](const std::string& name) { return fault(raw_zip({{name, "x"}})); };
  EXPECT_EQ(named("/etc/passwd"), "b.zip: the name of the member '/etc/passwd' is absolute");
  EXPECT_EQ(named("C:x"), "b.zip: the name of the member 'C:x' is absolute");
  EXPECT_EQ(named("a/../../b"), "b.zip: the name of the member 'a/../../b' leads out of the archive");
  EXPECT_EQ(named(".."), "b.zip: the name of the member '..' leads out of the archive");
  EXPECT_EQ(named("a\\b"), "b.zip: the name of the member 'a\\b' has a backslash in it");
  EXPECT_EQ(named("a\nb"), "b.zip: the name of the member 'a b' has control characters in it");
  EXPECT_EQ(named(""), "b.zip: the name of the member '' is empty");
  EXPECT_EQ(named("a..b/...c"), "");
}

TEST(ZipArchive, ANameThatIsThereTwiceIsRefused) {
  EXPECT_EQ(fault(raw_zip({{"a", "1"}, {"b", "2"}, {"a", "3"}})), "b.zip: the member 'a' is in the archive twice");
}

TEST(ZipArchive, PasswordsAreNotAskedFor) {
  EXPECT_EQ(fault(zip({{"a", "secret"}}, "password")), "b.zip: the member 'a' is encrypted with a password");
}

TEST(ZipArchive, LiesAboutSizesAreNoticed) {
  EXPECT_NE(read_fault(raw_zip({{"a", "Hello"}}, 3), "a"), "");
  EXPECT_NE(read_fault(raw_zip({{"a", "Hello"}}, 900), "a"), "");
}

TEST(ZipArchive, DamageIsNoticed) {
  std::string bytes = raw_zip({{"a", "Hello"}});
  bytes[bytes.find("Hello")] = 'J';
  EXPECT_EQ(read_fault(bytes, "a"), "b.zip: the member 'a' is damaged: CRC error");
}

TEST(ZipArchive, EveryPrefixOfAnArchiveIsRefused) {
  const std::string bytes = zip({{"a/b.txt", "Hello"}, {"long", std::string(500, 'x')}});
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_NE(fault(bytes.substr(0, length)).find("b.zip: not a complete ZIP archive ("), std::string::npos) << length;
  }
}

TEST(ZipArchive, MissingMembersAreNamed) {
  EXPECT_EQ(read_fault(zip({{"a", "1"}}), "b/c"), "b.zip: the archive has no member 'b/c'");
}

TEST(ZipArchive, ReferencesAreRelativeToThePageAndDecoded) {
  EXPECT_EQ(resolve_member("OEBPS/text/a.xhtml", "b.xhtml#x"), "OEBPS/text/b.xhtml");
  EXPECT_EQ(resolve_member("OEBPS/text/a.xhtml", "../img/c%20d.png?x"), "OEBPS/img/c d.png");
  EXPECT_EQ(resolve_member("a.xhtml", "./b//c"), "b/c");
  EXPECT_EQ(resolve_member("", "OEBPS/book.opf"), "OEBPS/book.opf");
  EXPECT_EQ(resolve_member("a", "caf%C3%A9%zz%4"), "café%zz%4");
  for (const char* outside : {"http://x.org/a", "/etc/passwd", "../b", "a/../../b", "mailto:x", "", "#x", "%2Fetc"}) {
    EXPECT_EQ(resolve_member("a.xhtml", outside), "") << outside;
  }
}

} // namespace
} // namespace audiobookd::jobs
