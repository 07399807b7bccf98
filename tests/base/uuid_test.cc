#include "base/uuid.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(ParseUuidTest, AcceptsUpperAndLowerCase) {
  EXPECT_EQ(ParseUuid("550e8400-e29b-41d4-A716-446655440000"),
            Uuid(0x550e8400e29b41d4, 0xa716446655440000));
}

TEST(ParseUuidTest, RefusesOtherText) {
  EXPECT_EQ(ParseUuid(""), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400-e29b-41d4-a716-44665544000"), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400-e29b-41d4-a716-44665544000g"), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400ee29b-41d4-a716-446655440000"), std::nullopt);
}

}  // namespace
}  // namespace vmeventd
