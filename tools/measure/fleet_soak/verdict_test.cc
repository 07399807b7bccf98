#include "tools/measure/fleet_soak/verdict.h"

#include "gtest/gtest.h"

namespace vmeventd::e2e {
namespace {

const Sequences kJournals = {{"a", {1, 2, 3}}, {"b", {1}}};

TEST(FleetVerdict, EachEventOnceAndInOrderIsRight) {
  const Verdict verdict = Judge({{"a", {1, 2, 3}}, {"b", {1}}}, kJournals, 2);
  EXPECT_TRUE(verdict.findings.empty());
  EXPECT_EQ(verdict.messages, 4u);
  EXPECT_EQ(verdict.late, 0u);
}

TEST(FleetVerdict, WhatIsMissingTwiceOrUnknownIsAFinding) {
  EXPECT_EQ(Judge({{"a", {1, 3}}, {"b", {1}}}, kJournals, 2).findings.size(), 1u);
  EXPECT_EQ(Judge({{"a", {1, 2, 3}}}, kJournals, 2).findings.size(), 1u);
  EXPECT_EQ(Judge({{"a", {1, 2, 2, 3}}, {"b", {1}}}, kJournals, 2).findings.size(), 1u);
  EXPECT_EQ(Judge({{"a", {1, 2, 3, 4}}, {"b", {1}}}, kJournals, 2).findings.size(), 1u);
  EXPECT_EQ(Judge({{"a", {1, 2, 3}}, {"b", {1}}, {"c", {1}}}, kJournals, 2).findings.size(), 1u);
}

TEST(FleetVerdict, ALateEventIsCountedAndHasAWindow) {
  const Verdict late = Judge({{"a", {1, 3, 2}}, {"b", {1}}}, kJournals, 1);
  EXPECT_EQ(late.late, 1u);
  EXPECT_TRUE(late.findings.empty());
  EXPECT_EQ(Judge({{"a", {2, 3, 1}}, {"b", {1}}}, kJournals, 1).findings.size(), 1u);
}

TEST(FleetVerdict, ServersThatDisagreeAreNotTheNodesFault) {
  const Sequences right = {{"a", {1, 2, 3}}, {"b", {1}}};
  const Sequences wrong = {{"a", {1, 2, 2}}, {"b", {1}}};
  EXPECT_TRUE(Judge({{"s0", right}, {"s1", right}}, kJournals, 2).servers.empty());
  const Verdict differ = Judge({{"s0", wrong}, {"s1", right}}, kJournals, 2);
  EXPECT_TRUE(differ.findings.empty());
  EXPECT_EQ(differ.servers.size(), 2u);
  EXPECT_EQ(Judge({{"s0", wrong}, {"s1", wrong}}, kJournals, 2).findings.size(), 2u);
  const Sequences worse = {{"a", {1, 2, 2}}};
  EXPECT_EQ(Judge({{"s0", wrong}, {"s1", worse}}, kJournals, 2).findings.size(), 2u);
}

}  // namespace
}  // namespace vmeventd::e2e
