#include "client/output/shell_quote.h"

#include <cstdio>
#include <string>

#include "client/output/terminal_text.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

TEST(QuoteForShell, QuotesCharactersThatAShellInterprets) {
  EXPECT_EQ(QuoteForShell("web-1_a.example"), "web-1_a.example");
  EXPECT_EQ(QuoteForShell("größer"), "größer");
  EXPECT_EQ(QuoteForShell("my vm"), "'my vm'");
  EXPECT_EQ(QuoteForShell("it's"), "'it'\\''s'");
  EXPECT_EQ(QuoteForShell(""), "''");
  EXPECT_EQ(QuoteForShell("a\\x0ab"), "'a\\x0ab'");
}

TEST(QuoteForShell, EscapesControlAndInvisibleCharacters) {
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
                               std::string("\xc2\x9b") + "abc", "-a b"};
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
