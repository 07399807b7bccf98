#include <string>

#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int64_t kNow = 1'782'907'200;

v1::NodeHeartbeat Node(const std::string& name, int64_t age, int64_t interval) {
  v1::NodeHeartbeat node;
  node.set_cluster("prod");
  node.set_node(name);
  node.set_newest_sequence(10);
  node.set_published_sequence(7);
  node.mutable_time()->set_seconds(kNow - age);
  if (interval > 0) node.mutable_interval()->set_seconds(interval);
  return node;
}

TEST(FleetNodes, ANodeIsSilentAfterThreeIntervals) {
  const absl::Time now = absl::FromUnixSeconds(kNow);
  EXPECT_EQ(StateOf(Node("n", 90, 30), now), NodeState::kUp);
  EXPECT_EQ(StateOf(Node("n", 91, 30), now), NodeState::kSilent);
  EXPECT_EQ(StateOf(Node("n", 91, 0), now), NodeState::kStopped);
  EXPECT_EQ(LagOf(Node("n", 0, 30)), 3u);
  v1::NodeHeartbeat ahead;
  ahead.set_published_sequence(1);
  EXPECT_EQ(LagOf(ahead), 0u);
}

TEST(FormatFleet, ATableHasTheClusterIfThereAreSeveral) {
  Formatter::Heartbeats nodes;
  *nodes.Add() = Node("n1", 0, 30);
  *nodes.Add() = Node("n2", 91, 30);
  const absl::Time now = absl::FromUnixSeconds(kNow);
  TableFormatter formatter({.zone = absl::UTCTimeZone()});
  EXPECT_EQ(*formatter.FormatFleet(nodes, now),
            "NODE  STATE   SEEN                     LAST EVENT  LAG  VMS  VERSION  JOURNAL\n"
            "n1    up      2026-07-01 12:00:00.000  -           3    0\n"
            "n2    silent  2026-07-01 11:58:29.000  -           3    0\n");
  nodes.Mutable(1)->set_cluster("test");
  EXPECT_THAT(*formatter.FormatFleet(nodes, now), HasSubstr("test     n2"));
  EXPECT_THAT(*TableFormatter({.zone = absl::UTCTimeZone(), .wide = true}).FormatFleet(nodes, now),
              HasSubstr("PUBLISHED"));
}

TEST(FormatFleet, JsonHasTheLagAndTheState) {
  Formatter::Heartbeats nodes;
  *nodes.Add() = Node("n1", 91, 30);
  const auto text = JsonFormatter().FormatFleet(nodes, absl::FromUnixSeconds(kNow));
  const nlohmann::json json = nlohmann::json::parse(*text);
  EXPECT_EQ(json["node"], "n1");
  EXPECT_EQ(json["lag"], "3");
  EXPECT_EQ(json["state"], "silent");
}

TEST(TableFormatter, TheColumnNodeHasTheClusterOnceThereAreSeveral) {
  TableFormatter formatter({.zone = absl::UTCTimeZone(), .nodes = true});
  Formatter::Events events;
  events.Add()->mutable_vm()->set_name("web1");
  EXPECT_THAT(*formatter.FormatEvents(events, {{"n1", "prod"}}), Not(HasSubstr("prod")));
  EXPECT_THAT(*formatter.FormatEvents(events, {{"n1", "test"}}), HasSubstr("test/n1"));
  EXPECT_THAT(*formatter.FormatEvents(events, {{"n1", "prod"}}), HasSubstr("prod/n1"));
}

}  // namespace
}  // namespace vmeventd::client
