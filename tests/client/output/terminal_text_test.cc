#include "client/output/terminal_text.h"

#include <string>
#include <utility>

#include "base/utf8.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

TEST(EscapeForTerminal, EscapesControlAndInvisibleCharacters) {
  using namespace std::string_literals;  // NOLINT(google-build-using-namespace): a NUL
  const std::pair<std::string, const char*> rows[] = {
      {"web-1.example.org", "web-1.example.org"},
      {"größe \xe6\xbc\xa2 \xf0\x9f\x90\xa7", "größe \xe6\xbc\xa2 \xf0\x9f\x90\xa7"},
      {"a\\b", "a\\b"},
      {"a\x1b[31mb", "a\\x1b[31mb"},
      {"a\r\n\tb\x7f", "a\\x0d\\x0a\\x09b\\x7f"},
      {"a\0b"s, "a\\x00b"},
      {"\xc2\x9b[31m", "\\u009b[31m"},      // C1: CSI
      {"a\xe2\x80\xae!", "a\\u202e!"},      // right-to-left override
      {"a\xe2\x81\xa6!", "a\\u2066!"},      // left-to-right isolate
      {"a\xe2\x80\x8b!", "a\\u200b!"},      // zero-width space
      {"a\xe2\x80\xa8!", "a\\u2028!"},      // line separator
      {"\xf3\xa0\x80\x81", "\\U000e0001"},  // language tag
      {"a\xff!", "a\\xff!"},                // not UTF-8
      {"\xc3", "\\xc3"},                    // cut short
      {"\xc0\x9b", "\\xc0\\x9b"},           // overlong ESC
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},  // surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
      {"\x9b", "\\x9b"}};  // a bare C1 byte
  for (const auto& [text, shown] : rows) EXPECT_EQ(EscapeForTerminal(text), shown);
}

TEST(EscapeForTerminal, NoPairOfBytesControlsATerminal) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string text = {static_cast<char>(first), static_cast<char>(second)};
      const std::string escaped = EscapeForTerminal(text);
      ASSERT_TRUE(IsValidUtf8(escaped));
      ASSERT_EQ(EscapeForTerminal(escaped), escaped) << "not stable for " << escaped;
      for (const char c : escaped) ASSERT_FALSE(static_cast<unsigned char>(c) < 0x20 || c == 0x7f);
    }
  }
}

TEST(DisplayWidth, CountsTheColumnsOfATerminal) {
  EXPECT_EQ(DisplayWidth(""), 0U);
  EXPECT_EQ(DisplayWidth("größe"), 5U);
  EXPECT_EQ(DisplayWidth("日本"), 4U) << "wide characters";
  EXPECT_EQ(DisplayWidth("e\u0301"), 1U) << "a combining accent";
}

TEST(CutText, EndsWithAnEllipsisAndNeverWithinACharacter) {
  EXPECT_EQ(CutText("web1", 4), "web1");
  EXPECT_EQ(CutText("web12", 4), "web…");
  EXPECT_EQ(CutText("größer", 4), "grö…");
  EXPECT_EQ(CutText("日本語", 4), "日…") << "wide characters";
  EXPECT_EQ(CutText("web1", 1), "…");
  EXPECT_EQ(CutText("web1", 0), "");
}

TEST(CutTextInTheMiddle, ShowsBothEndsOfAName) {
  EXPECT_EQ(CutText("tenant_web-1", 12, true), "tenant_web-1");
  EXPECT_EQ(CutText("tenant_web-1", 9, true), "tena…eb-1");
  EXPECT_EQ(CutText("日本語日本語", 8, true), "日本…語") << "wide characters";
  EXPECT_EQ(CutText("web12", 2, true), "w…");
}

}  // namespace
}  // namespace vmeventd::client
