#include "client/nats/subject.h"

#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::Optional;

TEST(FleetSubject, APlainNameIsItsToken) {
  EXPECT_EQ(EscapeToken("web-1_A"), "web-1_A");
  EXPECT_THAT(UnescapeToken("web-1_A"), Optional(std::string("web-1_A")));
}

TEST(FleetSubject, WhatNatsReadsDifferentlyIsEscaped) {
  EXPECT_EQ(EscapeToken("a.b"), "a=2Eb");
  EXPECT_EQ(EscapeToken("*>"), "=2A=3E");
  EXPECT_EQ(EscapeToken(" \t\r\n"), "=20=09=0D=0A");
  EXPECT_EQ(EscapeToken(std::string("\0\xff", 2)), "=00=FF");
  EXPECT_EQ(EscapeToken("="), "=3D");
  EXPECT_EQ(EscapeToken(""), "=");
}

TEST(FleetSubject, EveryByteComesBack) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string name{'a', static_cast<char>(byte), 'b'};
    EXPECT_THAT(UnescapeToken(EscapeToken(name)), Optional(name)) << byte;
  }
  EXPECT_THAT(UnescapeToken("="), Optional(std::string()));
}

TEST(FleetSubject, ANameHasOneToken) {
  for (const char* const token : {"", "a.b", "=2e", "=41", "=2", "a=", "==", "a b", "=G0"}) {
    EXPECT_EQ(UnescapeToken(token), std::nullopt) << token;
  }
}

TEST(FleetSubject, TheLongestFileNameFitsAndALongerNameIsCut) {
  const std::string name(255, '.');
  EXPECT_THAT(UnescapeToken(EscapeToken(name)), Optional(name));
  EXPECT_EQ(EscapeToken(name + ".."), EscapeToken(name));
  EXPECT_EQ(UnescapeToken(EscapeToken(name) + "=2E"), std::nullopt);
}

TEST(FleetSubject, AnEventHasASubject) {
  EXPECT_EQ(ToSubject(NodeSubjectPrefix("prod eu", "node1.example.org"), "web.1", "stopped.crash"),
            "vmevents.v1.prod=20eu.node1=2Eexample=2Eorg.web=2E1.stopped.crash");
}

TEST(FleetSubject, TheEventsOfANodeHaveOneFilter) {
  EXPECT_EQ(NodeSubjects("prod", "n.1"), "vmevents.v1.prod.n=2E1.>");
}

TEST(FleetSubject, AKeyOfABucketHasASubject) {
  EXPECT_EQ(KeySubject(kNodesBucket, NodeBucketKey("prod", "n.1")),
            "$KV.VMEVENTS_NODES.prod.n=2E1");
  EXPECT_EQ(KeySubject(kVmsBucket, VmBucketKey("prod", "n.1", "a b")),
            "$KV.VMEVENTS_VMS.prod.n=2E1.a=20b");
  EXPECT_EQ(BucketStream(kVmsBucket), "KV_VMEVENTS_VMS");
}

}  // namespace
}  // namespace vmeventd
