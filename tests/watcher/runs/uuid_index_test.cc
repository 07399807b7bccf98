#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr char kText[] = "550e8400-e29b-41d4-A716-446655440000";

// The index only compares pointers.
VmRun* RunOf(uintptr_t number) { return reinterpret_cast<VmRun*>(number); }

TEST(ParseUuidTest, ReadsBothCases) {
  EXPECT_EQ(ParseUuid(kText), Uuid(0x550e8400e29b41d4, 0xa716446655440000));
}

TEST(ParseUuidTest, RefusesOtherText) {
  EXPECT_EQ(ParseUuid(""), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400-e29b-41d4-a716-44665544000"), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400-e29b-41d4-a716-44665544000g"), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400ee29b-41d4-a716-446655440000"), std::nullopt);
}

class UuidIndexTest : public testing::Test {
 protected:
  const Uuid uuid_ = *ParseUuid(kText);
  UuidIndex index_;
};

TEST_F(UuidIndexTest, TwoRunsThatShareOneNameEachOther) {
  EXPECT_THAT(index_.Add(uuid_, RunOf(1)), IsEmpty());
  EXPECT_THAT(index_.Add(Uuid(1, 2), RunOf(9)), IsEmpty());
  EXPECT_EQ(index_.UserCount(uuid_), 1u);
  EXPECT_THAT(index_.Add(uuid_, RunOf(2)), ElementsAre(RunOf(1)));
  EXPECT_EQ(index_.OtherUser(uuid_, RunOf(1)), RunOf(2));
  EXPECT_EQ(index_.OtherUser(uuid_, RunOf(2)), RunOf(1));
}

TEST_F(UuidIndexTest, AThirdChangesTheTwoAndAFourthNobody) {
  index_.Add(uuid_, RunOf(1));
  index_.Add(uuid_, RunOf(2));
  EXPECT_THAT(index_.Add(uuid_, RunOf(3)), UnorderedElementsAre(RunOf(1), RunOf(2)));
  EXPECT_EQ(index_.OtherUser(uuid_, RunOf(1)), nullptr);
  EXPECT_THAT(index_.Add(uuid_, RunOf(4)), IsEmpty());
  EXPECT_THAT(index_.Remove(uuid_, RunOf(4)), IsEmpty());
  EXPECT_THAT(index_.Remove(uuid_, RunOf(3)), UnorderedElementsAre(RunOf(1), RunOf(2)));
  EXPECT_THAT(index_.Remove(uuid_, RunOf(2)), ElementsAre(RunOf(1)));
  EXPECT_EQ(index_.UserCount(uuid_), 1u);
  EXPECT_THAT(index_.Remove(uuid_, RunOf(1)), IsEmpty());
  EXPECT_EQ(index_.UserCount(uuid_), 0u);
}

TEST_F(UuidIndexTest, RepeatedStepsChangeNothing) {
  index_.Add(uuid_, RunOf(1));
  EXPECT_THAT(index_.Add(uuid_, RunOf(1)), IsEmpty());
  EXPECT_THAT(index_.Remove(uuid_, RunOf(2)), IsEmpty());
  EXPECT_EQ(index_.UserCount(uuid_), 1u);
}

}  // namespace
}  // namespace vmeventd
