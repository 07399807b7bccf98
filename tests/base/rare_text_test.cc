#include "base/rare_text.h"

#include <utility>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(RareTextTest, IsEmptyUntilItIsSet) {
  RareText text;
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(text.str(), "");
  text = "lost";
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(text.str(), "lost");
  text.clear();
  EXPECT_EQ(text.str(), "");
}

TEST(RareTextTest, AnEmptyTextTakesNoMemory) {
  RareText text;
  text = "lost";
  text = "";
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(sizeof(text), sizeof(void*));
}

TEST(RareTextTest, TakesAPartOfItself) {
  RareText text;
  text = "monitor lost: EOF";
  text = absl::string_view(text.str()).substr(8);
  EXPECT_EQ(text.str(), "lost: EOF");
}

TEST(RareTextTest, ACopyIsItsOwnText) {
  RareText text;
  text = "lost";
  const RareText copy = text;
  text = "found again";
  EXPECT_EQ(copy.str(), "lost");
  const RareText moved = std::move(text);
  EXPECT_EQ(moved.str(), "found again");
}

}  // namespace
}  // namespace vmeventd
