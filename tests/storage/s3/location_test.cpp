// Names in jobs come from strangers: they stay below the configured roots.
#include "storage/errors.h"
#include "storage/s3/location.h"
#include "tests/storage/files.h"

namespace audiobookd::storage::s3 {
namespace {

using tests::throws_with;

const std::vector<Location> roots = {{"books", "in/"}, {"other", ""}};

auto resolving(const std::string& name) {
  return [name] { (void)resolve(name, roots); };
}

TEST(S3Location, RootsAreBucketsWithOrWithoutAPrefix) {
  EXPECT_EQ(parse_root("s3://books").url(), "s3://books/");
  EXPECT_EQ(parse_root("s3://books/").key, "");
  EXPECT_EQ(parse_root("s3://books/a/b").key, "a/b/");
  EXPECT_EQ(parse_root("s3://books/a/b/").key, "a/b/");
  for (const char* bad : {"/books", "s3://", "s3:///x", "s3://ab", "s3://a b c/x", "https://books/x"}) {
    EXPECT_THROW((void)parse_root(bad), PermanentError) << bad;
  }
  EXPECT_TRUE(throws_with<PermanentError>([] { (void)parse_root("s3://books/a/../b"); }, "'..'"));
}

TEST(S3Location, RelativeNamesLieBelowTheFirstRoot) {
  EXPECT_EQ(resolve("a/b.txt", roots).url(), "s3://books/in/a/b.txt");
  EXPECT_EQ(resolve("a//b..txt", roots).url(), "s3://books/in/a//b..txt");
}

TEST(S3Location, UrlsMustLieBelowAnyRoot) {
  EXPECT_EQ(resolve("s3://books/in/a.txt", roots).key, "in/a.txt");
  EXPECT_EQ(resolve("s3://other/x/y.txt", roots).url(), "s3://other/x/y.txt");
  for (const char* outside : {"s3://books/a.txt", "s3://books/inside.txt", "s3://third/in/a.txt", "s3://books2/in/a"}) {
    EXPECT_TRUE(throws_with<PermanentError>(resolving(outside), "below none of the configured roots")) << outside;
    EXPECT_TRUE(throws_with<PermanentError>(resolving(outside), "'s3://books/in/', 's3://other/'")) << outside;
  }
  EXPECT_TRUE(throws_with<PermanentError>([] { (void)resolve("a.txt", {}); }, "no root there is configured"));
}

TEST(S3Location, RefusesWhatIsNoNameOfAnObject) {
  for (const char* climbing : {"..", "../a.txt", "a/../../b.txt", "./a.txt", "a/./b.txt", "s3://books/in/../a.txt"}) {
    EXPECT_TRUE(throws_with<PermanentError>(resolving(climbing), "'.' or '..'")) << climbing;
  }
  EXPECT_TRUE(throws_with<PermanentError>(resolving(""), "is empty"));
  EXPECT_TRUE(throws_with<PermanentError>(resolving("s3://other"), "is empty"));
  EXPECT_TRUE(throws_with<PermanentError>(resolving("a/"), "names a folder"));
  EXPECT_TRUE(throws_with<PermanentError>(resolving("/a.txt"), "is absolute"));
  EXPECT_TRUE(throws_with<PermanentError>(resolving(std::string("a\0b", 3)), "NUL"));
  EXPECT_EQ(resolve(std::string(1021, 'x'), roots).key.size(), 1024U);
  EXPECT_TRUE(throws_with<PermanentError>(resolving(std::string(1022, 'x')), "1025 bytes, at most 1024"));
}

} // namespace
} // namespace audiobookd::storage::s3
