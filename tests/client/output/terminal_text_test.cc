#include "client/output/terminal_text.h"

#include <cstdio>
#include <string>
#include <utility>

#include "base/utf8.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

TEST(EscapeForTerminal, ShowsWhatATerminalObeysOrHides) {
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

TEST(EscapeForTerminal, NoTwoBytesControlATerminal) {
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

TEST(DisplayWidth, IsThatOfATerminal) {
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

TEST(QuoteForShell, QuotesWhatAShellWouldTakeForSomethingElse) {
  EXPECT_EQ(QuoteForShell("web-1_a.example"), "web-1_a.example");
  EXPECT_EQ(QuoteForShell("größer"), "größer");
  EXPECT_EQ(QuoteForShell("my vm"), "'my vm'");
  EXPECT_EQ(QuoteForShell("it's"), "'it'\\''s'");
  EXPECT_EQ(QuoteForShell(""), "''");
  EXPECT_EQ(QuoteForShell("a\\x0ab"), "'a\\x0ab'");
}

TEST(QuoteForShell, AWordThatATerminalObeysOrHidesIsWrittenWithEscapes) {
  EXPECT_EQ(QuoteForShell("a\necho PWNED >p\nb.qmp"), R"($'a\necho PWNED >p\nb.qmp')");
  EXPECT_EQ(QuoteForShell("ctl\x1b[31mred\ttab"), R"($'ctl\x1b[31mred\ttab')");
  EXPECT_EQ(QuoteForShell("it's \\ \r"), R"($'it\'s \\ \x0d')");
  EXPECT_EQ(QuoteForShell("gr\xc3\xb6\xff!"), "$'gr\xc3\xb6\\xff\\x21'") << "not UTF-8";
  EXPECT_EQ(QuoteForShell("a\xe2\x80\xae!"), R"($'a\xe2\x80\xae\x21')") << "right-to-left override";
  EXPECT_EQ(QuoteForShell("\x01\x62\x01g"), R"($'\x01'$'b\x01g')") << "a digit behind a byte";
}

// The words of a shell's command.
std::string ReadByBash(const std::string& words) {
  const std::string command = "bash -c " + QuoteForShell("printf '%s|' " + words);
  FILE* const shell = popen(command.c_str(), "re");
  std::string text;
  for (int c = 0; shell != nullptr && (c = fgetc(shell)) != EOF;) text += static_cast<char>(c);
  if (shell != nullptr) pclose(shell);
  return text;
}

TEST(QuoteForShell, AShellReadsEachWordAsItIs) {
  std::string every;
  for (int byte = 1; byte < 256; ++byte) every += static_cast<char>(byte);
  const std::string words[] = {every, "a\\'b'$(touch x)`touch x`", "\n-rf\n",
                               "\xc2\x9b"
                               "abc",
                               "-a b"};
  std::string line;
  std::string expected;
  for (const std::string& word : words) {
    const std::string quoted = QuoteForShell(word);
    EXPECT_EQ(EscapeForTerminal(quoted), quoted);
    line += quoted + " ";
    expected += word + "|";
  }
  // popen() has another shell, for which the line of bash is quoted without $'...'.
  ASSERT_EQ(EscapeForTerminal(line), line);
  EXPECT_EQ(ReadByBash(line), expected);
}

}  // namespace
}  // namespace vmeventd::client
