#include "client/nats/domain.h"

#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

TEST(JetStreamApi, SubjectsOfTheApiGetThePrefixOfTheDomain) {
  EXPECT_EQ(ApiSubject("STREAM.INFO", "VMEVENTS"), "$JS.API.STREAM.INFO.VMEVENTS");
  EXPECT_EQ(InDomain("hub", "$JS.API.STREAM.INFO.VMEVENTS"), "$JS.hub.API.STREAM.INFO.VMEVENTS");
  EXPECT_EQ(InDomain("hub", "$KV.B.k"), "$JS.hub.API.$KV.B.k");
  EXPECT_EQ(InDomain("hub", "vmevents.v1.c.n.vm.stopped"), "vmevents.v1.c.n.vm.stopped");
  EXPECT_EQ(InDomain("hub", "$JS.ACK.a.b"), "$JS.ACK.a.b");
  EXPECT_EQ(InDomain("", "$KV.B.k"), "$KV.B.k");
  EXPECT_TRUE(CheckDomain("site-1").ok());
  for (const char* const bad : {"", "a.b", "*", ">", "a b", "\xc3\xa4"}) {
    EXPECT_FALSE(CheckDomain(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace vmeventd::client
