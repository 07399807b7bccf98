#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/web/api.h"

namespace vmeventd::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(WebAccessTest, AHostIsOwnByDigitsAndAsLocalhostAlone) {
  for (const char* host : {"127.0.0.1", "127.0.0.1:9557", "10.1.2.3", "[::1]", "[::1]:9557",
                           "localhost", "LocalHost:80"}) {
    EXPECT_TRUE(IsOwnHost(host, "")) << host;
  }
  for (const char* host : {"", ":9557", "evil.example", "evil.example:9557", "127.0.0.1.evil",
                           "::1", "[::1", "[127.0.0.1]", "localhost.evil", "0x7f000001"}) {
    EXPECT_FALSE(IsOwnHost(host, "")) << host;
    EXPECT_FALSE(IsOwnHost(host, "no certificate")) << host;
  }
}

TEST(WebAccessTest, ATokenIsABearersOrAPassword) {
  const std::string token = "0123456789abcdef";
  // me:0123456789abcdef, the token alone, and me:0123456789abcde
  for (const char* header :
       {"Bearer 0123456789abcdef", "bearer  0123456789abcdef ",
        "Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg==", "Basic MDEyMzQ1Njc4OWFiY2RlZg=="}) {
    EXPECT_TRUE(HasToken(header, token)) << header;
  }
  for (const char* header : {"", "Bearer", "Bearer ", "Bearer 0123456789abcdeg", "0123456789abcdef",
                             "Digest 0123456789abcdef", "Basic 0123456789abcdef", "Basic *",
                             "Basic bWU6MDEyMzQ1Njc4OWFiY2Rl"}) {
    EXPECT_FALSE(HasToken(header, token)) << header;
  }
}

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
