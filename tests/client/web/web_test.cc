#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/web/api.h"

namespace vmeventd::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::Pair;

TEST(EventIdTest, HasThePositionOfEachServer) {
  const StreamPositions positions = {{0, {42, "j0"}}, {2, {7, "j2"}}};
  const std::string id = ToEventId(positions);
  EXPECT_EQ(id, "j0:42,,j2:7");
  const auto parsed = ParseEventId(id, 3);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed, positions);
  EXPECT_THAT(*ParseEventId("j:1", 1),
              ElementsAre(Pair(0, AllOf(Field(&WatchPosition::sequence, 1),
                                        Field(&WatchPosition::journal_id, "j")))));
}

TEST(EventIdTest, ATextThatIsNoneIsRefused) {
  for (const char* id : {"x", "j:", ":1", "j:-1", "j:1:x", "j:1,j:2"}) {
    EXPECT_FALSE(ParseEventId(id, 1).ok()) << id;
  }
}

}  // namespace
}  // namespace vmeventd::client
