#include "client/fleet/fleet_filter.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_nats.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

FleetFilter Filter(std::vector<std::string> nodes, std::vector<std::string> vms,
                   std::vector<v1::EventType> types, std::vector<v1::ShutdownClass> classes) {
  FleetFilter filter{.nodes = std::move(nodes)};
  for (const std::string& vm : vms) filter.events.add_vm_names(vm);
  for (const v1::EventType type : types) filter.events.add_types(type);
  for (const v1::ShutdownClass one : classes) filter.events.add_classes(one);
  return filter;
}

TEST(EventSubjects, AreAsNarrowAsTheFilterPermits) {
  constexpr auto kStopped = v1::EVENT_TYPE_STOPPED;
  constexpr auto kLost = v1::EVENT_TYPE_MONITOR_LOST;
  constexpr auto kCrash = v1::SHUTDOWN_CLASS_CRASH;
  EXPECT_THAT(EventSubjects({}), ElementsAre("vmevents.v1.*.*.*.>"));
  EXPECT_THAT(EventSubjects(Filter({"node7.example"}, {}, {}, {})),
              ElementsAre("vmevents.v1.*.node7=2Eexample.*.>"));
  EXPECT_THAT(EventSubjects(Filter({"prod/n1", "prod/n2"}, {}, {}, {})),
              ElementsAre("vmevents.v1.prod.n1.*.>", "vmevents.v1.prod.n2.*.>"));
  EXPECT_THAT(EventSubjects(Filter({}, {}, {kStopped}, {kCrash})),
              UnorderedElementsAre("vmevents.v1.*.*.*.stopped.crash", "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(EventSubjects(Filter({}, {}, {}, {kCrash})),
              UnorderedElementsAre("vmevents.v1.*.*.*.*.crash", "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(EventSubjects(Filter({}, {}, {kLost, kStopped}, {})),
              UnorderedElementsAre("vmevents.v1.*.*.*.monitor-lost", "vmevents.v1.*.*.*.stopped.*",
                                   "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(EventSubjects(Filter({}, {"web1"}, {}, {})),
              UnorderedElementsAre("vmevents.v1.*.*.web1.>", "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(EventSubjects(Filter({}, {}, {v1::EVENT_TYPE_GAP}, {})),
              ElementsAre("vmevents.v1.*.*.*.gap"));
  EXPECT_THAT(EventSubjects(Filter({}, {}, {kLost}, {kCrash})),
              ElementsAre("vmevents.v1.*.*.=.gap"));
}

TEST(EventSubjects, GlobsAreLeftToTheMatcher) {
  EXPECT_THAT(EventSubjects(Filter({"n*"}, {"web?", "db"}, {}, {})),
              ElementsAre("vmevents.v1.*.*.*.>"));
  EXPECT_THAT(EventSubjects(Filter({"prod/n*", "n1"}, {}, {}, {})),
              ElementsAre("vmevents.v1.*.*.*.>"));
  // The server refuses subjects that overlap: *.n1 and prod.n1.
  EXPECT_THAT(EventSubjects(Filter({"prod/n1", "n1"}, {}, {}, {})),
              ElementsAre("vmevents.v1.*.*.*.>"));
}

TEST(EventSubjects, ManyBecomeOne) {
  std::vector<std::string> vms;
  for (int i = 0; i < 100; ++i) vms.push_back(absl::StrCat("vm", i));
  EXPECT_THAT(EventSubjects(Filter({}, vms, {}, {})), ElementsAre("vmevents.v1.>"));
}

TEST(VmSubjects, AreKeysOfTheBucket) {
  EXPECT_THAT(VmSubjects(Filter({}, {"web.1"}, {}, {})),
              ElementsAre("$KV.VMEVENTS_VMS.*.*.web=2E1"));
  EXPECT_THAT(NodeSubjectsOf(Filter({"n1"}, {}, {}, {})), ElementsAre("$KV.VMEVENTS_NODES.*.n1"));
}

v1::Event Event(v1::EventType type, const std::string& vm) {
  v1::Event event;
  event.set_type(type);
  event.mutable_observe_time()->set_seconds(100);
  if (!vm.empty()) event.mutable_vm()->set_name(vm);
  return event;
}

TEST(FleetMatcher, MatchesAsTheDaemonDoes) {
  const MessageNode origin{"n1.example", "prod", "j"};
  v1::Event stopped = Event(v1::EVENT_TYPE_STOPPED, "web1");
  stopped.mutable_shutdown()->set_class_(v1::SHUTDOWN_CLASS_CRASH);
  stopped.mutable_vm()->set_source("libvirt:qemu:///system");
  EXPECT_TRUE(FleetMatcher({}).Matches(origin, stopped));
  const auto matches = [&](const FleetFilter& filter) {
    return FleetMatcher(filter).Matches(origin, stopped);
  };
  EXPECT_TRUE(matches(Filter({}, {"db*", "web?"}, {v1::EVENT_TYPE_STOPPED}, {})));
  EXPECT_FALSE(matches(Filter({}, {"db*"}, {}, {})));
  EXPECT_FALSE(matches(Filter({}, {}, {v1::EVENT_TYPE_STARTED}, {})));
  EXPECT_TRUE(matches(Filter({}, {}, {}, {v1::SHUTDOWN_CLASS_CRASH})));
  EXPECT_FALSE(matches(Filter({}, {}, {}, {v1::SHUTDOWN_CLASS_USER})));
  EXPECT_TRUE(matches(Filter({"n1.*"}, {}, {}, {})));
  EXPECT_TRUE(matches(Filter({"prod/n1.*"}, {}, {}, {})));
  EXPECT_FALSE(matches(Filter({"test/n1.*"}, {}, {}, {})));
  FleetFilter sources;
  sources.events.add_sources("qmp:*");
  EXPECT_FALSE(matches(sources));
  stopped.mutable_vm()->set_uuid("550e8400-e29b-41d4-a716-446655440000");
  stopped.mutable_vm()->set_run_id("r1");
  stopped.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_PANIC);
  FleetFilter others;
  others.events.add_uuids("550E8400-e29b-41d4-a716-446655440000");
  others.events.add_run_ids("r1");
  others.events.add_causes(v1::SHUTDOWN_CAUSE_GUEST_PANIC);
  EXPECT_TRUE(matches(others));
  others.events.set_uuids(0, "00000000-e29b-41d4-a716-446655440000");
  EXPECT_FALSE(matches(others));
  others.events.clear_uuids();
  others.events.add_labels("app=web");
  EXPECT_FALSE(matches(others));
  (*stopped.mutable_vm()->mutable_labels())["app"] = "web";
  EXPECT_TRUE(matches(others));
  others.events.set_run_ids(0, "r2");
  EXPECT_FALSE(matches(others));
  others.events.clear_run_ids();
  others.events.set_causes(0, v1::SHUTDOWN_CAUSE_HOST_KILL);
  EXPECT_FALSE(matches(others));
  EXPECT_TRUE(matches({.since = absl::FromUnixSeconds(100)}));
  EXPECT_FALSE(matches({.since = absl::FromUnixSeconds(101)}));
  EXPECT_FALSE(matches({.until = absl::FromUnixSeconds(100)}));
}

TEST(FleetMatcher, AGapOfANodePassesButForItsNode) {
  const MessageNode origin{"n1", "prod", "j"};
  const v1::Event gap = Event(v1::EVENT_TYPE_GAP, "");
  const FleetFilter crashes = Filter({}, {"web1"}, {}, {v1::SHUTDOWN_CLASS_CRASH});
  EXPECT_TRUE(FleetMatcher(crashes).Matches(origin, gap));
  EXPECT_FALSE(FleetMatcher(Filter({"n2"}, {}, {}, {})).Matches(origin, gap));
}

// Every event that the matcher lets through has one of the subjects.
TEST(EventSubjects, CoverWhatMatches) {
  const std::vector<FleetFilter> filters = {
      Filter({"n1"}, {}, {v1::EVENT_TYPE_STOPPED}, {}),
      Filter({}, {"web1"}, {}, {v1::SHUTDOWN_CLASS_CRASH}),
      Filter({"prod/n*"}, {"a b", "web1"}, {v1::EVENT_TYPE_GAP, v1::EVENT_TYPE_PAUSED}, {})};
  FakeNats nats;
  v1::Event stopped = Event(v1::EVENT_TYPE_STOPPED, "web1");
  stopped.mutable_shutdown()->set_class_(v1::SHUTDOWN_CLASS_CRASH);
  nats.AddEvent("n1", stopped, "stopped.crash");
  nats.AddEvent("n1", Event(v1::EVENT_TYPE_PAUSED, "a b"), "paused");
  nats.AddEvent("n2", Event(v1::EVENT_TYPE_GAP, ""), "gap");
  nats.AddEvent("n1", Event(v1::EVENT_TYPE_GAP, "web1"), "gap");
  for (const FleetFilter& filter : filters) {
    const std::vector<std::string> subjects = EventSubjects(filter);
    for (const auto& [sequence, message] : nats.events().messages) {
      v1::Event event;
      ASSERT_TRUE(event.ParseFromString(message.data));
      const auto origin = ParseOrigin(message.headers.at("ce-source"));
      if (!FleetMatcher(filter).Matches(*origin, event)) continue;
      EXPECT_EQ(std::count_if(subjects.begin(), subjects.end(),
                              [&message = message](const std::string& subject) {
                                return SubjectMatches(subject, message.subject);
                              }),
                1)
          << message.subject;
    }
  }
}

}  // namespace
}  // namespace vmeventd::client
