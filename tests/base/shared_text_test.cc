#include "base/shared_text.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/rare.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

const std::string kText = "3f2a9c1e-5b6d-4e0f-9a1b-0123456789ab";

TEST(SharedTextsTest, AlikeTextsHaveOneCopy) {
  SharedTexts texts;
  SharedText first(kText);
  SharedText second(kText);
  SharedText none;
  for (SharedText* text : {&first, &second, &none}) texts.Share(text);
  EXPECT_EQ(second.str(), kText);
  EXPECT_EQ(&second.str(), &first.str());
  EXPECT_TRUE(none.empty());
}

TEST(SharedTextsTest, ATextThatOnlyThePoolHasGoesAsOthersCome) {
  SharedTexts texts;
  SharedText old(kText);
  texts.Share(&old);
  for (int i = 0; i < 100; ++i) {
    SharedText other(absl::StrCat("text ", i));
    texts.Share(&other);
  }
  SharedText again(kText);
  texts.Share(&again);
  EXPECT_EQ(again.str(), kText);
  EXPECT_NE(&again.str(), &old.str());
}

TEST(RareTest, ACopyHasAValueOfItsOwn) {
  Rare<std::string> text = kText;
  Rare<std::string> copy = text;
  text.reset();
  EXPECT_FALSE(text.has_value());
  ASSERT_TRUE(copy.has_value());
  EXPECT_EQ(*copy, kText);
  copy = text;
  EXPECT_FALSE(copy.has_value());
}

}  // namespace
}  // namespace vmeventd
