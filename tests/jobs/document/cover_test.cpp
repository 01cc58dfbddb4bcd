// Covers: pictures that are taken, and why others are not.
#include "jobs/document/cover.h"
#include "tests/jobs/document/archives.h"

#include <gtest/gtest.h>

namespace audiobookd::jobs {
namespace {

using testing::jpeg;
using testing::png;

std::string fault(std::string bytes, const DocumentLimits& limits = {}) {
  try {
    (void)check_cover(std::move(bytes), limits);
  } catch (const DocumentError& error) {
    return error.what();
  }
  return "";
}

TEST(Cover, JpegAndPngAreTakenWithTheirSizes) {
  const Cover picture = check_cover(png(3, 5));
  EXPECT_EQ(picture.media_type, "image/png");
  EXPECT_EQ(picture.width, 3);
  EXPECT_EQ(picture.height, 5);
  EXPECT_EQ(picture.bytes, png(3, 5));
  const Cover photograph = check_cover(jpeg(600, 800));
  EXPECT_EQ(photograph.media_type, "image/jpeg");
  EXPECT_EQ(photograph.width, 600);
  EXPECT_EQ(photograph.height, 800);
}

TEST(Cover, EveryPrefixOfAPictureIsRefused) {
  for (const std::string& picture : {png(3, 5), jpeg(600, 800)}) {
    for (std::size_t bytes = 0; bytes < picture.size(); ++bytes) {
      EXPECT_NE(fault(picture.substr(0, bytes)), "") << bytes;
    }
  }
}

TEST(Cover, EveryChangedByteOfAPngIsNoticed) {
  const std::string picture = png(3, 5);
  for (std::size_t at = 0; at < picture.size(); ++at) {
    std::string changed = picture;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    EXPECT_NE(fault(changed), "") << at;
  }
}

TEST(Cover, LimitsAreInclusive) {
  EXPECT_EQ(fault(png(3, 5), {.max_cover_bytes = png(3, 5).size()}), "");
  EXPECT_EQ(fault(png(3, 5), {.max_cover_bytes = 10}),
            "it has " + std::to_string(png(3, 5).size()) + " bytes, more than the limit of 10");
  EXPECT_EQ(fault(jpeg(600, 800), {.max_cover_pixels = 800}), "");
  EXPECT_EQ(fault(jpeg(600, 800), {.max_cover_pixels = 799}), "it is 600 × 800 pixels; expected 1 to 799 each way");
  EXPECT_EQ(fault(png(0, 5)), "it is 0 × 5 pixels; expected 1 to 10000 each way");
}

TEST(Cover, OtherFormatsAreNamedForWhatTheyAreNot) {
  EXPECT_EQ(fault("GIF89a"), "it is neither JPEG nor PNG");
  EXPECT_EQ(fault("<svg/>"), "it is neither JPEG nor PNG");
  EXPECT_EQ(fault(""), "it is neither JPEG nor PNG");
}

} // namespace
} // namespace audiobookd::jobs
