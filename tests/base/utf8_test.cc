#include "base/utf8.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(DecodeUtf8, ReturnsTheFirstCharacter) {
  EXPECT_EQ(DecodeUtf8("a").code_point, U'a');
  EXPECT_EQ(DecodeUtf8("\u00f6e").code_point, U'\u00f6');
  EXPECT_EQ(DecodeUtf8("\u00f6e").length, 2U);
  EXPECT_EQ(DecodeUtf8("\u6f22").length, 3U);
  EXPECT_EQ(DecodeUtf8("\U0001f427").code_point, U'\U0001f427');
}

TEST(DecodeUtf8, RefusesInvalidBytes) {
  for (const char* text :
       {"\x80", "\xc3", "\xc0\x9b", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"}) {
    EXPECT_EQ(DecodeUtf8(text).length, 0U) << text;
  }
}

TEST(IsValidUtf8, DistinguishesValidFromInvalid) {
  EXPECT_TRUE(IsValidUtf8(""));
  EXPECT_TRUE(IsValidUtf8("größe"));
  EXPECT_FALSE(
      IsValidUtf8("gr\xf6\xdf"
                  "e"));
}

TEST(IsHiddenCharacter, CoversControlsAndInvisibleCharacters) {
  for (const char32_t hidden :
       {U'\n', U'\x7f', U'\u0085', U'\u00ad', U'\u200b', U'\u202e', U'\ufeff'}) {
    EXPECT_TRUE(IsHiddenCharacter(hidden)) << static_cast<uint32_t>(hidden);
  }
  EXPECT_FALSE(IsHiddenCharacter(U' '));
  EXPECT_FALSE(IsHiddenCharacter(U'\u00f6'));
}

}  // namespace
}  // namespace vmeventd
