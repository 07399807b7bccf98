#include "base/account_names.h"

#include <gtest/gtest.h>

namespace vmeventd {
namespace {

TEST(AccountNames, OfAnUnknownNumberIsTheNumber) {
  EXPECT_EQ(UserName(0), "root");
  EXPECT_EQ(GroupName(0), "root");
  EXPECT_EQ(UserName(4'200'000'000), "4200000000");
  EXPECT_EQ(GroupName(4'200'000'000), "4200000000");
}

}  // namespace
}  // namespace vmeventd
