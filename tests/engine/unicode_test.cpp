// What the text front relies on of Unicode, with and without ICU.
#include "engine/unicode.h"

#include <gtest/gtest.h>

namespace audiobookd::engine::unicode {
namespace {

TEST(Unicode, WellFormedTextSurvivesTheRoundTrip) {
  const std::string text = "aé—漢😀\x7f\xf4\x8f\xbf\xbf";
  EXPECT_EQ(decode(text), U"aé—漢😀\x7f\U0010FFFF");
  EXPECT_EQ(encode(decode(text)), text);
}

TEST(Unicode, EveryMaximalIllFormedPartBecomesOneReplacementCharacter) {
  const std::u32string r(1, replacement_character);
  EXPECT_EQ(decode("a\xff"
                   "b"),
            U"a" + r + U"b");
  EXPECT_EQ(decode("\xe2\x80"), r); // cut off
  EXPECT_EQ(decode("\xe2\x80"
                   "a"),
            r + U"a");                                  // cut short
  EXPECT_EQ(decode("\xc0\xaf"), r + r);                 // over-long
  EXPECT_EQ(decode("\xe0\x80\xaf"), r + r + r);         // over-long
  EXPECT_EQ(decode("\xed\xa0\x80"), r + r + r);         // a surrogate
  EXPECT_EQ(decode("\xf4\x90\x80\x80"), r + r + r + r); // above U+10FFFF
  EXPECT_EQ(decode("\xf0\x9f\x98"), r);
  EXPECT_EQ(decode("\x80"), r);
}

TEST(Unicode, WhatIsNoCharacterIsEncodedAsTheReplacementCharacter) {
  const std::u32string bad{0xD800, 0x110000};
  EXPECT_EQ(encode(bad), "\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Unicode, SpacesArePythonsAndWhiteSpaceIsTheProperty) {
  for (const char32_t c : U" \t\n\r\v\f\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000") {
    EXPECT_EQ(is_space(c), c != 0) << static_cast<unsigned>(c);
    EXPECT_EQ(is_white_space(c), c != 0) << static_cast<unsigned>(c);
  }
  EXPECT_TRUE(is_space(0x1C) && !is_white_space(0x1C));
  EXPECT_FALSE(is_space(0x200B)); // zero-width space
}

TEST(Unicode, WordCharactersAreLettersMarksDigitsConnectorsAndJoiners) {
  for (const char32_t c : {U'a', U'Z', U'0', U'_', U'é', U'я', U'漢', U'ש', U'\u0301', U'\u05B0', U'\u203F', U'\u200D',
                           U'\u0E34', U'\u1100', U'٣', U'Ⅷ', U'\U0001D400'}) {
    EXPECT_TRUE(is_word(c)) << static_cast<unsigned>(c);
  }
  for (const char32_t c : {U'-', U' ', U'.', U'\'', U'[', U'—', U'“', U'€', U'½', U'😀', U'。', replacement_character}) {
    EXPECT_FALSE(is_word(c)) << static_cast<unsigned>(c);
  }
}

TEST(Unicode, CapitalsAreFullMappings) {
  EXPECT_EQ(to_upper(U'a'), U"A");
  EXPECT_EQ(to_upper(U'ß'), U"SS");
  EXPECT_EQ(to_upper(U'é'), U"É");
  EXPECT_EQ(to_upper(U'ÿ'), U"Ÿ");
  EXPECT_EQ(to_upper(U'ő'), U"Ő");
  EXPECT_EQ(to_upper(U'ı'), U"I");
  EXPECT_EQ(to_upper(U'ς'), U"Σ");
  EXPECT_EQ(to_upper(U'я'), U"Я");
  EXPECT_EQ(to_upper(U'ё'), U"Ё");
  EXPECT_EQ(to_upper(U'ạ'), U"Ạ");
  EXPECT_EQ(to_upper(U'ŉ'), U"\u02BCN");
  EXPECT_EQ(to_upper(U'A'), U"A");
  EXPECT_EQ(to_upper(U'漢'), U"漢");
}

TEST(Unicode, SmallLettersAreTold) {
  for (const char32_t c : {U'a', U'ß', U'é', U'я', U'ω', U'ŉ'}) {
    EXPECT_TRUE(is_lower(c)) << static_cast<unsigned>(c);
  }
  for (const char32_t c : {U'A', U'1', U' ', U'Я', U'漢', U'“'}) {
    EXPECT_FALSE(is_lower(c)) << static_cast<unsigned>(c);
  }
}

} // namespace
} // namespace audiobookd::engine::unicode
