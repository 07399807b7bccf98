#include "base/shared_text.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/rare.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

const std::string kLongText = "3f2a9c1e-5b6d-4e0f-9a1b-0123456789ab";

TEST(SharedTextTest, IsEmptyUntilItIsSet) {
  SharedText text;
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(text.str(), "");
  text = "lost";
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(text.str(), "lost");
  text.clear();
  EXPECT_EQ(text.str(), "");
}

TEST(SharedTextTest, AnEmptyTextTakesNoMemory) {
  SharedText text;
  text = "lost";
  text = "";
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(sizeof(text), sizeof(void*));
}

TEST(SharedTextTest, TakesAPartOfItself) {
  SharedText text;
  text = "monitor lost: EOF";
  text = text.str().substr(8);
  EXPECT_EQ(text.str(), "lost: EOF");
}

TEST(SharedTextTest, ACopyKeepsTheTextThatItHad) {
  SharedText text("lost");
  const SharedText copy = text;
  EXPECT_EQ(copy.str().data(), text.str().data());
  text = "found again";
  EXPECT_EQ(copy.str(), "lost");
  const SharedText moved = std::move(text);
  EXPECT_EQ(moved.str(), "found again");
}

TEST(SharedTextsTest, AlikeTextsHaveOneCopy) {
  SharedTexts texts;
  SharedText first(kLongText);
  SharedText second(kLongText);
  SharedText none;
  for (SharedText* text : {&first, &second, &none}) texts.Share(text);
  EXPECT_EQ(second.str(), kLongText);
  EXPECT_EQ(second.str().data(), first.str().data());
  EXPECT_TRUE(none.empty());
}

TEST(SharedTextsTest, ATextThatOnlyThePoolHasGoesAsOthersCome) {
  SharedTexts texts;
  SharedText old(kLongText);
  texts.Share(&old);
  for (int i = 0; i < 100; ++i) {
    SharedText other(absl::StrCat("text ", i));
    texts.Share(&other);
  }
  SharedText again(kLongText);
  texts.Share(&again);
  EXPECT_EQ(again.str(), kLongText);
  EXPECT_NE(again.str().data(), old.str().data());
}

TEST(RareTest, ACopyHasAValueOfItsOwn) {
  Rare<std::string> text = kLongText;
  Rare<std::string> copy = text;
  text.reset();
  EXPECT_FALSE(text.has_value());
  ASSERT_TRUE(copy.has_value());
  EXPECT_EQ(*copy, kLongText);
  copy = text;
  EXPECT_FALSE(copy.has_value());
}

}  // namespace
}  // namespace vmeventd
