#include "client/fleet/fleet_message.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_subjects.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/fake_nats.h"
#include "tests/support/filled_message.h"
#include "tests/support/proto_text.h"
#include "tests/support/subject_matches.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::Optional;

TEST(FleetSubject, APlainNameIsATokenUnchanged) {
  EXPECT_EQ(EscapeToken("web-1_A"), "web-1_A");
  EXPECT_THAT(UnescapeToken("web-1_A"), Optional(std::string("web-1_A")));
}

TEST(FleetSubject, CharactersThatNatsReservesAreEscaped) {
  EXPECT_EQ(EscapeToken("a.b"), "a=2Eb");
  EXPECT_EQ(EscapeToken("*>"), "=2A=3E");
  EXPECT_EQ(EscapeToken(" \t\r\n"), "=20=09=0D=0A");
  EXPECT_EQ(EscapeToken(std::string("\0\xff", 2)), "=00=FF");
  EXPECT_EQ(EscapeToken("="), "=3D");
  EXPECT_EQ(EscapeToken(""), "=");
}

TEST(FleetSubject, EveryByteSurvivesEscapingAndUnescaping) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string name{'a', static_cast<char>(byte), 'b'};
    EXPECT_THAT(UnescapeToken(EscapeToken(name)), Optional(name)) << byte;
  }
  EXPECT_THAT(UnescapeToken("="), Optional(std::string()));
}

TEST(FleetSubject, OnlyTheCanonicalTokenOfANameIsAccepted) {
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

TEST(FleetSubject, AKeyOfABucketHasASubject) {
  EXPECT_EQ(KeySubject(kNodesBucket, NodeBucketKey("prod", "n.1")),
            "$KV.VMEVENTS_NODES.prod.n=2E1");
  EXPECT_EQ(KeySubject(kVmsBucket, VmBucketKey("prod", "n.1", "a b")),
            "$KV.VMEVENTS_VMS.prod.n=2E1.a=20b");
  EXPECT_EQ(BucketStream(kVmsBucket), "KV_VMEVENTS_VMS");
}

const MessageNode kPublishingNode = {"node7.example", "prod", "journal-a", {}};

v1::Event CrashOf(const std::string& vm) {
  v1::Event event;
  event.set_sequence(42);
  *event.mutable_observe_time() = ToTimestamp(absl::FromUnixMillis(1'782'907'200'123));
  event.mutable_vm()->set_name(vm);
  event.set_type(v1::EVENT_TYPE_STOPPED);
  event.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  return event;
}

std::map<std::string, std::string> HeadersOf(const NatsMessage& message) {
  return {message.headers.begin(), message.headers.end()};
}

TEST(FleetMessageOf, AnEventIsACloudEventInBinaryMode) {
  const auto message = FleetMessageOf(CrashOf("web 1%ü\""), kPublishingNode, /*json=*/false);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->subject, "vmevents.v1.prod.node7=2Eexample.web=201=25=C3=BC=22.stopped.crash");
  EXPECT_EQ(HeadersOf(*message), (std::map<std::string, std::string>{
                                     {"ce-specversion", "1.0"},
                                     {"ce-id", "42"},
                                     {"ce-source", "/vmevents/prod/node7=2Eexample/journal-a"},
                                     {"ce-type", "vmevents.v1.stopped.crash"},
                                     {"ce-subject", "web%201%25%C3%BC%22"},
                                     {"ce-time", "2026-07-01T12:00:00.123+00:00"},
                                     {"ce-datacontenttype", "application/protobuf"}}));
  v1::Event event;
  ASSERT_TRUE(event.ParseFromString(message->data));
  EXPECT_EQ(event.sequence(), 42u);
}

TEST(FleetMessageOf, ThePayloadMayBeJson) {
  const auto message = FleetMessageOf(CrashOf("web1"), kPublishingNode, /*json=*/true);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(HeadersOf(*message)["ce-datacontenttype"], "application/json");
  EXPECT_EQ(nlohmann::json::parse(message->data)["type"], "EVENT_TYPE_STOPPED");
}

TEST(FleetMessageOf, AnEventOfTheNodeHasNoVm) {
  v1::Event gap;
  gap.set_type(v1::EVENT_TYPE_GAP);
  gap.mutable_missing()->set_first(8);
  const auto message = FleetMessageOf(gap, kPublishingNode, /*json=*/false);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->subject, "vmevents.v1.prod.node7=2Eexample.=.gap");
  EXPECT_EQ(HeadersOf(*message)["ce-id"], "gap-after-7");
  EXPECT_FALSE(HeadersOf(*message).contains("ce-subject"));
  EXPECT_EQ(SequenceIn(*message, kPublishingNode), 7u);
}

TEST(SequenceIn, TheNodesOwnMessagesAreRecognised) {
  const NatsMessage own = *FleetMessageOf(CrashOf("web1"), kPublishingNode, /*json=*/false);
  EXPECT_EQ(SequenceIn(own, kPublishingNode), 42u);
  MessageNode other = kPublishingNode;
  other.journal_id = "journal-b";
  EXPECT_EQ(SequenceIn(own, other), std::nullopt);
  EXPECT_EQ(SequenceIn({}, kPublishingNode), std::nullopt) << "a server's answer";
}

// The node of a message without content.
absl::StatusOr<MessageNode> NodeOf(const std::string& source, const std::string& cluster,
                                   const std::string& node) {
  v1::Event event;
  return ParseFleetMessage(
      {.subject = absl::StrCat("vmevents.v1.", cluster, ".", node, ".vm.paused"),
       .headers = {{"ce-source", source}, {"ce-type", "vmevents.v1.paused"}}},
      &event);
}

TEST(ParseFleetMessage, TakesWhatVmeventdWrites) {
  const auto node_of = [](const std::string& source) {
    return NodeOf(source, "prod", "n1=2Eexample");
  };
  EXPECT_EQ(*node_of("/vmevents/prod/n1=2Eexample/j"), (MessageNode{"n1.example", "prod", "j"}));
  for (const std::string source :
       {"", "/", "/vmevents/prod/n1=2Eexample", "/vmevents/prod/n1=2Eexample/",
        "/other/prod/n1=2Eexample/j", "vmevents/prod/n1=2Eexample/j/",
        "/vmevents/prod/n1=2Eexample/j/x", "/vmevents/prod/n2/j"}) {
    EXPECT_FALSE(node_of(source).ok()) << source;
  }
}

TEST(ParseFleetMessage, RefusesANameThatIsNoText) {
  for (const auto& [cluster, node, journal] :
       {std::tuple("prod", "n=FF", "j"), std::tuple("=C3", "n1", "j"),
        std::tuple("p", "n=1Bc", "j"), std::tuple("p", "n\xff", "j"), std::tuple("p", "n=h1", "j"),
        std::tuple("p", "n1", "j\x1b[2J")}) {
    const std::string source = absl::StrCat("/vmevents/", cluster, "/", node, "/", journal);
    EXPECT_FALSE(NodeOf(source, cluster, node).ok()) << source;
  }
}

TEST(ParsePayload, TakesProtobufAndJson) {
  v1::Event event;
  event.set_sequence(7);
  event.set_message("seven");
  v1::Event parsed;
  ASSERT_TRUE(ParsePayload(event.SerializeAsString(), &parsed).ok());
  EXPECT_EQ(parsed.sequence(), 7u);
  v1::Event from_json;
  ASSERT_TRUE(
      ParsePayload(R"({"sequence":"7","message":"seven","later_field":1})", &from_json).ok());
  EXPECT_EQ(from_json.SerializeAsString(), parsed.SerializeAsString());
  EXPECT_FALSE(ParsePayload("{", &parsed).ok());
  EXPECT_FALSE(ParsePayload("\xff", &parsed).ok());
}

// One such message would stop every reader that writes JSON.
TEST(ParsePayload, RefusesTimesThatCannotBeWritten) {
  v1::Event event;
  event.mutable_observe_time()->set_seconds(253'402'300'800);  // the year 10000
  EXPECT_FALSE(ParsePayload(event.SerializeAsString(), &event).ok());
  event.Clear();
  event.mutable_observe_time()->set_nanos(-1);
  EXPECT_FALSE(ParsePayload(event.SerializeAsString(), &event).ok());
  event.Clear();
  event.mutable_shutdown()->add_evidence()->mutable_time()->set_seconds(-100'000'000'000);
  EXPECT_FALSE(ParsePayload(event.SerializeAsString(), &event).ok());
}

FleetFilter Filter(std::vector<std::string> nodes, const std::string& events = "") {
  return FilterOf(FromText<v1::EventFilter>(events), std::move(nodes));
}

TEST(EventSubjects, AFilterWithOneNodeOrTypeSelectsItsSubjectAlone) {
  const auto subjects = [](const std::string& events) { return EventSubjects(Filter({}, events)); };
  EXPECT_THAT(EventSubjects({}), ElementsAre("vmevents.v1.*.*.*.>"));
  EXPECT_THAT(EventSubjects(Filter({"node7.example"})),
              ElementsAre("vmevents.v1.*.node7=2Eexample.*.>"));
  EXPECT_THAT(EventSubjects(Filter({"prod/n1"})), ElementsAre("vmevents.v1.prod.n1.*.>"));
  EXPECT_THAT(subjects("types: EVENT_TYPE_STOPPED classes: SHUTDOWN_CLASS_CRASH"),
              ElementsAre("vmevents.v1.*.*.*.stopped.crash", "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(subjects("types: EVENT_TYPE_GUEST_SHUTDOWN"),
              ElementsAre("vmevents.v1.*.*.*.guest-shutdown.*", "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(subjects("classes: SHUTDOWN_CLASS_CRASH"),
              ElementsAre("vmevents.v1.*.*.*.*.crash", "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(subjects("types: EVENT_TYPE_MONITOR_LOST"),
              ElementsAre("vmevents.v1.*.*.*.monitor-lost", "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(subjects("vm_names: 'web1'"),
              ElementsAre("vmevents.v1.*.*.web1.>", "vmevents.v1.*.*.=.gap"));
  EXPECT_THAT(subjects("types: EVENT_TYPE_GAP"), ElementsAre("vmevents.v1.*.*.*.gap"));
}

TEST(EventSubjects, AFilterWithGlobsOrSeveralValuesIsAppliedByTheMatcher) {
  for (const FleetFilter& filter :
       {Filter({"n*"}, "vm_names: 'web?'"), Filter({"prod/n*"}), Filter({"[prod/n1]"}),
        Filter({"n1", "n2"}, "vm_names: ['web1', 'db']"),
        Filter({}, "types: [EVENT_TYPE_MONITOR_LOST, EVENT_TYPE_STOPPED]")}) {
    EXPECT_THAT(EventSubjects(filter), ElementsAre("vmevents.v1.*.*.*.>"));
  }
  EXPECT_THAT(EventSubjects(Filter({}, "classes: [SHUTDOWN_CLASS_CRASH, SHUTDOWN_CLASS_USER]")),
              ElementsAre("vmevents.v1.*.*.*.*.*", "vmevents.v1.*.*.=.gap"));
}

TEST(KeySubjects, SelectTheKeysOfTheNodeAndTheVm) {
  EXPECT_EQ(KeySubjects(kVmsBucket, Filter({}, "vm_names: 'web.1'")),
            "$KV.VMEVENTS_VMS.*.*.web=2E1");
  EXPECT_EQ(KeySubjects(kVmsBucket, Filter({"prod/n1"}, "vm_names: ['a', 'b']")),
            "$KV.VMEVENTS_VMS.prod.n1.*");
  EXPECT_EQ(KeySubjects(kNodesBucket, Filter({"n1"})), "$KV.VMEVENTS_NODES.*.n1");
}

v1::Event Event(v1::EventType type, const std::string& vm) {
  v1::Event event;
  event.set_type(type);
  event.mutable_observe_time()->set_seconds(100);
  if (!vm.empty()) event.mutable_vm()->set_name(vm);
  return event;
}

TEST(FleetFilter, MatchesAsTheDaemonDoes) {
  const MessageNode origin{"n1.example", "prod", "j"};
  const auto stopped = FromText<v1::Event>(R"(
      type: EVENT_TYPE_STOPPED observe_time { seconds: 100 }
      vm { name: 'web1' source: 'libvirt:qemu:///system' run_id: 'r1'
           uuid: '550e8400-e29b-41d4-a716-446655440000' labels { key: 'app' value: 'web' } }
      shutdown { shutdown_class: SHUTDOWN_CLASS_CRASH cause: SHUTDOWN_CAUSE_GUEST_PANIC })");
  const auto matches = [&](const FleetFilter& filter) {
    return FleetMatcher(filter).Passes(origin, stopped);
  };
  EXPECT_TRUE(matches({}));
  for (const char* events :
       {"vm_names: ['db*', 'web?'] types: EVENT_TYPE_STOPPED", "classes: SHUTDOWN_CLASS_CRASH",
        "uuids: '550E8400-e29b-41d4-a716-446655440000' run_ids: 'r1' labels: 'app=web' "
        "causes: SHUTDOWN_CAUSE_GUEST_PANIC"}) {
    EXPECT_TRUE(matches(Filter({}, events))) << events;
  }
  for (const char* events :
       {"vm_names: 'db*'", "types: EVENT_TYPE_STARTED", "classes: SHUTDOWN_CLASS_USER",
        "sources: 'qmp:*'", "uuids: '00000000-e29b-41d4-a716-446655440000'", "labels: 'tier=db'",
        "run_ids: 'r2'", "causes: SHUTDOWN_CAUSE_HOST_KILL"}) {
    EXPECT_FALSE(matches(Filter({}, events))) << events;
  }
  EXPECT_TRUE(matches(Filter({"n1.*"})));
  EXPECT_TRUE(matches(Filter({"prod/n1.*"})));
  EXPECT_FALSE(matches(Filter({"test/n1.*"})));
  const auto in = [&](const std::string& times) {
    return matches({.list = FromText<v1::ListEventsRequest>(times)});
  };
  EXPECT_TRUE(in("start_time { seconds: 100 }"));
  EXPECT_FALSE(in("start_time { seconds: 101 }"));
  EXPECT_FALSE(in("end_time { seconds: 100 }"));
}

// Events that differ in whether they have each field, and in their time.
std::vector<v1::Event> DifferentEvents() {
  std::vector<v1::Event> out(2);
  Fill(false, &out[0]);
  Fill(true, &out[1]);
  const auto* const fields = v1::Event::descriptor();
  for (int i = 0; i < fields->field_count(); ++i) {
    v1::Event& event = out.emplace_back(out[1]);
    event.GetReflection()->ClearField(&event, fields->field(i));
  }
  for (const int64_t seconds : {0, 1'000'000}) {
    out.emplace_back(out[1]).mutable_observe_time()->set_seconds(seconds);
  }
  return out;
}

// No server filters a fleet's stream: an option that FleetMatcher does not apply would be ignored.
TEST(FleetFilter, EveryFieldOfAListThatSelectsEventsIsApplied) {
  const std::set<std::string> of_order = {"newest_first", "page_size", "page_token"};
  const std::vector<v1::Event> events = DifferentEvents();
  const auto passed = [&events](const v1::ListEventsRequest& list) {
    const FleetMatcher matcher({.list = list});
    std::vector<bool> out;
    out.reserve(events.size());
    for (const v1::Event& event : events) out.push_back(matcher.Passes({"n1", "prod", "j"}, event));
    return out;
  };
  const std::vector<bool> all = passed({});
  EXPECT_THAT(all, Each(true));
  v1::ListEventsRequest full;
  Fill(true, &full);
  const auto* const type = v1::ListEventsRequest::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    v1::ListEventsRequest list = full;
    for (int other = 0; other < type->field_count(); ++other) {
      if (other != i) list.GetReflection()->ClearField(&list, type->field(other));
    }
    EXPECT_NE(passed(list) == all, !of_order.contains(type->field(i)->name()))
        << type->field(i)->name() << ": apply it in FleetMatcher, or add it to those of the order";
  }
}

TEST(FleetFilter, AnEntryThatEqualsANameMatchesIt) {
  for (const std::string name : {"[prod] db", "a,b", "web*", "x?", "[", "!a"}) {
    FleetFilter filter;
    filter.list.mutable_filter()->add_vm_names(name);
    EXPECT_TRUE(
        FleetMatcher(filter).Passes({"[n1]", "prod", "j"}, Event(v1::EVENT_TYPE_PAUSED, name)))
        << name;
  }
  EXPECT_TRUE(FleetMatcher(Filter({"[n1]"})).PassesNode("prod", "[n1]"));
  EXPECT_TRUE(FleetMatcher(Filter({"prod/[n1]"})).PassesNode("prod", "[n1]"));
}

TEST(FleetFilter, AGapOfANodePassesUnlessTheFilterNamesOtherNodes) {
  const MessageNode origin{"n1", "prod", "j"};
  const v1::Event gap = Event(v1::EVENT_TYPE_GAP, "");
  const FleetFilter crashes = Filter({}, "vm_names: 'web1' classes: SHUTDOWN_CLASS_CRASH");
  EXPECT_TRUE(FleetMatcher(crashes).Passes(origin, gap));
  EXPECT_FALSE(FleetMatcher(Filter({"n2"})).Passes(origin, gap));
}

// Every event that the matcher lets through has one of the subjects.
TEST(EventSubjects, SelectEveryEventThatTheMatcherAccepts) {
  const std::vector<FleetFilter> filters = {
      Filter({"n1"}, "types: EVENT_TYPE_STOPPED"),
      Filter({}, "classes: [SHUTDOWN_CLASS_CRASH, SHUTDOWN_CLASS_USER]"),
      Filter({}, "vm_names: 'web1' classes: SHUTDOWN_CLASS_CRASH"),
      Filter({"prod/n*"}, "vm_names: ['a b', 'web1'] types: [EVENT_TYPE_GAP, EVENT_TYPE_PAUSED]")};
  FakeNats nats;
  v1::Event stopped = Event(v1::EVENT_TYPE_STOPPED, "web1");
  stopped.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  nats.AddEvent("n1", stopped, "stopped.crash");
  nats.AddEvent("n1", Event(v1::EVENT_TYPE_PAUSED, "a b"), "paused");
  nats.AddEvent("n2", Event(v1::EVENT_TYPE_GAP, ""), "gap");
  nats.AddEvent("n1", Event(v1::EVENT_TYPE_GAP, "web1"), "gap");
  for (const FleetFilter& filter : filters) {
    const std::vector<std::string> subjects = EventSubjects(filter);
    for (const auto& [sequence, message] : nats.events().messages) {
      v1::Event event;
      const auto origin =
          ParseFleetMessage({.subject = message.subject,
                             .data = message.data,
                             .headers = {message.headers.begin(), message.headers.end()}},
                            &event);
      ASSERT_TRUE(origin.ok()) << origin.status();
      if (!FleetMatcher(filter).Passes(*origin, event)) continue;
      EXPECT_EQ(std::count_if(subjects.begin(), subjects.end(),
                              [&one = message](const std::string& subject) {
                                return SubjectMatches(subject, one.subject);
                              }),
                1)
          << message.subject;
    }
  }
}

}  // namespace
}  // namespace vmeventd::client
