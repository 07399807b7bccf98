#include <string>
#include <vector>

#include "base/patterns.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

bool GlobMatches(const std::string& pattern, const std::string& text) {
  return Glob(pattern).Matches(text);
}

struct GlobCase {
  const char* pattern;
  const char* text;
  bool matches;
};

class GlobTest : public ::testing::TestWithParam<GlobCase> {};

TEST_P(GlobTest, Matches) {
  EXPECT_EQ(GlobMatches(GetParam().pattern, GetParam().text), GetParam().matches)
      << GetParam().pattern << " against " << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Table, GlobTest,
    ::testing::Values(GlobCase{"web1", "web1", true}, GlobCase{"web1", "web10", false},
                      GlobCase{"web*", "web", true}, GlobCase{"web*", "web10", true},
                      GlobCase{"*", "", true}, GlobCase{"", "", true}, GlobCase{"", "a", false},
                      GlobCase{"?", "", false}, GlobCase{"w?b*", "web1.example", true},
                      GlobCase{"*.example.org", "a.b.example.org", true},
                      GlobCase{"*a*b*c", "xxaxxbxxc", true}, GlobCase{"*a*b*c", "xxcxxbxxa", false},
                      GlobCase{"db[1-3]", "db2", true}, GlobCase{"db[1-3]", "db4", false},
                      GlobCase{"db[!1-3]", "db4", true}, GlobCase{"db[]]", "db]", true},
                      GlobCase{"db[", "db[", true}, GlobCase{"a[-z]", "a-", true},
                      GlobCase{"[a-", "[a-", true}, GlobCase{"[[[", "[[[", true},
                      GlobCase{"[]", "[]", true}, GlobCase{"[!]a]b", "xb", true},
                      GlobCase{"[!]a]b", "]b", false}, GlobCase{"[^a]", "b", true},
                      GlobCase{"[z-a]", "m", false}, GlobCase{"**a**", "bab", true},
                      GlobCase{"ab*ba", "aba", false}, GlobCase{"ab*ba", "abba", true},
                      GlobCase{"*ab", "aab", true}, GlobCase{"*a?b*", "aaxb", true},
                      GlobCase{"[\xc3-\xc5]", "\xc4", true}, GlobCase{"[a-\xff]", "\xc4", true},
                      GlobCase{"?", "\xc3\xa4", false}, GlobCase{"??", "\xc3\xa4", true}));

TEST(GlobTest, NoPatternLooksAtMoreThanTheProductOfTheLengths) {
  const std::string text(255, 'a');
  std::string stars;
  for (int i = 0; i < 200; ++i) stars += "a*";
  const std::string half(128, 'a');
  const std::string sets = "[ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab][ab]";
  std::vector<std::string> patterns = {stars + "b", "*" + half + "b*", "*" + half + "b",
                                       "*" + half + "*" + half + "b",
                                       "*" + sets + sets + sets + "b*"};
  for (const char* c : {"?", "[", "*[", "a*["}) {
    std::string repeated;
    for (int i = 0; i < 500; ++i) repeated += c;
    patterns.push_back(repeated);
  }
  patterns.emplace_back(1024, '*').push_back('b');
  for (const std::string& pattern : patterns) {
    size_t steps = 0;
    EXPECT_FALSE(Glob(pattern).Matches(text, &steps)) << pattern;
    EXPECT_LE(steps, (pattern.size() + 1) * (text.size() + 1)) << pattern;
  }
}

}  // namespace
}  // namespace vmeventd
