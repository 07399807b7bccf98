#include "watcher/core/foreign_text.h"

#include <string>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(EscapeNonUtf8Test, LeavesUtf8AsItIs) {
  const std::string text = "web1.example.org \xC3\xA4 \xE2\x82\xAC \xF0\x9F\x98\x80\n";
  EXPECT_EQ(EscapeNonUtf8(text), text);
}

TEST(EscapeNonUtf8Test, EscapesEachByteOfNoValidSequence) {
  EXPECT_EQ(EscapeNonUtf8("a\xFFz"), "a\\xffz");
  EXPECT_EQ(EscapeNonUtf8("\xC3"), "\\xc3");                    // cut short
  EXPECT_EQ(EscapeNonUtf8("\xC0\xAF"), "\\xc0\\xaf");           // overlong
  EXPECT_EQ(EscapeNonUtf8("\xED\xA0\x80"), "\\xed\\xa0\\x80");  // a surrogate
  EXPECT_EQ(EscapeNonUtf8("\xF4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
}

TEST(EscapeNameTest, NoTwoNamesGiveTheSameText) {
  EXPECT_EQ(EscapeName("web1\\old\\x"), "web1\\old\\x");
  EXPECT_EQ(EscapeName("a\xFF"), "a\\xff");
  EXPECT_EQ(EscapeName("a\\xff"), "a\\x5cxff");
  EXPECT_EQ(EscapeName("a\\x5cxff"), "a\\x5cx5cxff");
  EXPECT_EQ(EscapeName("\\xf\xFF"), "\\xf\\xff");
  EXPECT_EQ(EscapeName("\\xFF\\x5"), "\\xFF\\x5");  // never an escape
}

TEST(Utf8PrefixTest, DoesNotSplitACharacter) {
  EXPECT_EQ(Utf8Prefix("abc", 3), "abc");
  EXPECT_EQ(Utf8Prefix("abcd", 3), "abc");
  EXPECT_EQ(Utf8Prefix("a\xE2\x82\xAC", 3), "a");
  EXPECT_EQ(Utf8Prefix("a\xE2\x82\xAC", 4), "a\xE2\x82\xAC");
  EXPECT_EQ(Utf8Prefix("\xE2\x82\xAC", 2), "");
}

}  // namespace
}  // namespace vmeventd
