#include "base/compact.h"

#include <string>

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

const std::string kLongText = "3f2a9c1e-5b6d-4e0f-9a1b-0123456789ab";

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
