// Content hashes: published values, and fields that cannot run into each other.
#include "engine/hash128.h"

#include <gtest/gtest.h>
#include <string_view>

namespace audiobookd::engine {
namespace {

std::string hex_of(std::string_view text, std::uint64_t seed = 0) {
  return hash128(std::as_bytes(std::span(text)), seed).hex();
}

TEST(Hash128, GivesPublishedMurmur3Values) {
  EXPECT_EQ(hex_of(""), "00000000000000000000000000000000");
  EXPECT_EQ(hex_of("", 1), "51622daa78f835834610abe56eff5cb5");
  EXPECT_EQ(hex_of("hello"), "5b1e906a48ae1d19cbd8a7b341bd9b02");
  EXPECT_EQ(hex_of("The quick brown fox jumps over the lazy dog"), "7a433ca9c49a9347e34bbc7bbc071b6c");
}

TEST(Hash128, EveryLengthOfATailCounts) {
  const std::string zeros(40, '\0');
  for (std::size_t length = 1; length < zeros.size(); ++length) {
    EXPECT_NE(hex_of(zeros.substr(0, length)), hex_of(zeros.substr(0, length - 1))) << length;
  }
}

TEST(HashBuilder, FieldsDoNotRunIntoEachOther) {
  EXPECT_NE(HashBuilder().add("ab").add("c").finish(), HashBuilder().add("a").add("bc").finish());
  EXPECT_NE(HashBuilder().add("").add("a").finish(), HashBuilder().add("a").add("").finish());
  EXPECT_EQ(HashBuilder().add("ab").add(std::uint64_t{7}).finish(),
            HashBuilder().add("ab").add(std::uint64_t{7}).finish());
}

} // namespace
} // namespace audiobookd::engine
