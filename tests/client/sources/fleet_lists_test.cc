#include "client/sources/fleet_lists.h"

#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands/events.h"
#include "client/commands/print.h"
#include "client/commands/vms.h"
#include "client/commands/why.h"
#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/fake_nats.h"
#include "tests/support/formatters.h"
#include "tests/support/proto_text.h"
#include "tests/support/server_messages.h"
#include "tests/support/string_output.h"
#include "tests/support/vm_paths.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

VmsCommand OfNames(const std::vector<std::string>& names) {
  VmsCommand command;
  command.filter.mutable_vm_names()->Add(names.begin(), names.end());
  return command;
}

class FleetListsTest : public testing::Test {
 protected:
  void AddEvents(uint64_t first, uint64_t last, const std::string& vm = "web1") {
    for (uint64_t sequence = first; sequence <= last; ++sequence) {
      v1::Event event;
      event.set_sequence(sequence);
      event.mutable_observe_time()->set_seconds(1'782'907'200 + static_cast<int64_t>(sequence));
      event.mutable_vm()->set_name(vm);
      event.set_type(v1::EVENT_TYPE_PAUSED);
      nats_.AddEvent("n1", event);
    }
  }
  void AddVm(const std::string& node, const std::string& name, v1::VmState state,
             int64_t since = 0) {
    v1::Vm vm;
    vm.mutable_ref()->set_name(name);
    vm.mutable_ref()->set_run_id("run-" + node);
    vm.set_state(state);
    vm.mutable_state_time()->set_seconds(since);
    nats_.AddVm(node, vm);
  }

  FleetEnvironment Fleet() {
    return {[this] { return nats_.Connect(); },
            "nats://fake:4222",
            {},
            nodes_,
            [this](const std::string& note) { notes_.push_back(note); },
            [this] { return now_; }};
  }
  struct FleetCommand {};
  static WhyCommand Why(const std::string& name) {
    WhyCommand command;
    command.filter.add_vm_names(name);
    return command;
  }

  template <typename Command>
  std::optional<Failure> Run(const Command& command, Formatter* formatter) {
    output_.text.clear();
    FleetLists lists(Fleet());
    if constexpr (std::is_same_v<Command, FleetCommand>) {
      Formatter::Heartbeats nodes;
      if (auto failure = lists.ReadNodes(&nodes)) return failure;
      return PrintText(formatter->FormatFleet(nodes, absl::FromUnixSeconds(1'000)), &output_);
    } else if constexpr (std::is_same_v<Command, WhyCommand>) {
      return RunWhy(command, {.where = " in the fleet"}, &lists, formatter, &output_, now_);
    } else {
      std::string empty;
      return RunList(command, &lists, formatter, &output_, &empty);
    }
  }
  // The sequences that are printed.
  std::vector<std::string> Sequences(const EventsCommand& command) {
    JsonFormatter formatter;
    EXPECT_FALSE(Run(command, &formatter).has_value());
    std::vector<std::string> sequences;
    for (const absl::string_view line : absl::StrSplit(output_.text, '\n', absl::SkipEmpty())) {
      sequences.push_back(nlohmann::json::parse(std::string(line))["sequence"]);
    }
    return sequences;
  }
  template <typename Command>
  std::string Names(const Command& command) {
    JsonFormatter formatter;
    const std::optional<Failure> failure = Run(command, &formatter);
    return failure ? failure->sentence : PathsOf(output_.text);
  }
  std::string NodeNames() {
    NameFormatter formatter;
    const std::optional<Failure> failure = Run(FleetCommand{}, &formatter);
    return failure ? failure->sentence : output_.text;
  }

  void AddHeartbeat(const std::string& node, int64_t time, bool stopped = false,
                    const std::string& journal = "journal-") {
    v1::NodeHeartbeat heartbeat;
    heartbeat.set_cluster("prod");
    heartbeat.set_node(node);
    heartbeat.set_journal_id(journal + node);
    heartbeat.mutable_time()->set_seconds(time);
    if (!stopped) heartbeat.mutable_interval()->set_seconds(30);
    nats_.AddNode(heartbeat);
  }

  absl::Time now_ = absl::FromUnixSeconds(1'000);
  FakeNats nats_;
  StringOutput output_;
  std::vector<std::string> nodes_;
  std::vector<std::string> notes_;
};

TEST_F(FleetListsTest, ListsEventsOldestFirst) {
  EXPECT_THAT(Sequences({}), IsEmpty());
  AddEvents(1, 5);
  EXPECT_THAT(Sequences({}), ElementsAre("1", "2", "3", "4", "5"));
  EXPECT_THAT(Sequences({.limit = 2}), ElementsAre("1", "2"));
  EXPECT_THAT(
      Sequences({.request = FromText<v1::ListEventsRequest>("start_time { seconds: 1782907202 } "
                                                            "end_time { seconds: 1782907204 }")}),
      ElementsAre("2", "3"));
  const auto event = nlohmann::json::parse(output_.text.substr(0, output_.text.find('\n')));
  EXPECT_EQ(event["cluster"], "prod");
  EXPECT_EQ(event["node"], "n1");
}

TEST_F(FleetListsTest, ListsTheNewestEvents) {
  AddEvents(1, 5);
  EXPECT_THAT(Sequences({.last = 2}), ElementsAre("4", "5"));
  const auto newest_first = FromText<v1::ListEventsRequest>("newest_first: true");
  EXPECT_THAT(Sequences({.request = newest_first, .last = 2}), ElementsAre("5", "4"));
  EXPECT_THAT(Sequences({.request = newest_first, .limit = 2}), ElementsAre("5", "4"));
  EXPECT_THAT(Sequences({.request = newest_first}), ElementsAre("5", "4", "3", "2", "1"));
}

TEST_F(FleetListsTest, TheNewestOfRareEventsAreFoundFarBack) {
  AddEvents(1, 3, "rare");
  // Beyond the first two windows.
  nats_.events().last = 200'000;
  AddEvents(4, 6, "web1");
  EventsCommand command;
  command.last = 2;
  command.request.mutable_filter()->add_vm_names("rare");
  EXPECT_THAT(Sequences(command), ElementsAre("2", "3"));
  EXPECT_EQ(nats_.consumers.size(), 3u);
}

TEST_F(FleetListsTest, AGapOfANodeIsShownInAdditionToTheNewestEvents) {
  AddEvents(1, 2);
  v1::Event gap = MakeEvent(3);
  gap.set_type(v1::EVENT_TYPE_GAP);
  gap.clear_vm();
  nats_.AddEvent("n1", gap, "gap");
  AddEvents(4, 4);
  EXPECT_THAT(Sequences({.last = 2}), ElementsAre("3", "4"));
  EventsCommand command;
  command.last = 2;
  command.request.mutable_filter()->add_vm_names("web1");
  EXPECT_THAT(Sequences(command), ElementsAre("2", "3", "4"));
}

TEST_F(FleetListsTest, AnEventHasThePositionFromWhichAWatchMayContinue) {
  AddEvents(1, 5);
  uint64_t last = 0;
  EXPECT_FALSE(FleetLists(Fleet()).ReadEvents({.last = 2}, [&last](const NodeEvent& one) {
    last = one.resume_after.position.sequence;
    return true;
  }));
  EXPECT_EQ(last, 4u);
}

TEST_F(FleetListsTest, ListsVmsByNameAndNode) {
  AddVm("n2", "web1", v1::VM_STATE_RUNNING);
  AddVm("n1", "web1", v1::VM_STATE_STOPPED);
  AddVm("n1", "db.1", v1::VM_STATE_PAUSED);
  EXPECT_EQ(Names(VmsCommand{}), "prod/n2/web1\nprod/n1/db.1\n");
  EXPECT_EQ(Names(VmsCommand{.include_stopped = true}),
            "prod/n2/web1\nprod/n1/db.1\nprod/n1/web1\n");
  EXPECT_EQ(Names(VmsCommand{.states = {v1::VM_STATE_PAUSED}}), "prod/n1/db.1\n");
  EXPECT_EQ(Names(OfNames({"web*"})), "prod/n2/web1\n");
  nodes_ = {"n1"};
  EXPECT_EQ(Names(VmsCommand{}), "prod/n1/db.1\n");
}

TEST_F(FleetListsTest, AVmThatIsForgottenIsNotListed) {
  AddVm("n1", "web1", v1::VM_STATE_RUNNING);
  nats_.Add("KV_VMEVENTS_VMS", "$KV.VMEVENTS_VMS.prod.n1.web1", {{"KV-Operation", "DEL"}}, "");
  AddVm("n1", "web2", v1::VM_STATE_RUNNING);
  EXPECT_EQ(Names(VmsCommand{}), "prod/n1/web2\n");
}

TEST_F(FleetListsTest, WhyReadsTheEndsOfAVmOnAllNodes) {
  AddHeartbeat("n1", 990);
  AddHeartbeat("n2", 990);
  for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
    v1::Event event = MakeEvent(sequence, sequence == 3 ? "web2" : "web1");
    event.mutable_observe_time()->set_seconds(sequence == 1 ? 100 : 40);
    event.set_type(v1::EVENT_TYPE_STOPPED);
    event.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
    nats_.AddEvent(sequence == 1 ? "n1" : "n2", event, "stopped.crash");
  }
  AddVm("n1", "web1", v1::VM_STATE_STOPPED, 100);
  AddVm("n2", "web1", v1::VM_STATE_RUNNING, 150);
  JsonFormatter formatter;
  EXPECT_FALSE(Run(Why("web1"), &formatter));
  const auto story = nlohmann::json::parse(output_.text);
  EXPECT_EQ(story["vm"]["node"], "n2");
  EXPECT_EQ(story["last_end"]["shutdown"]["shutdown_class"], "SHUTDOWN_CLASS_CRASH");
  EXPECT_EQ(Names(Why("web*")), "prod/n2/web1\nprod/n2/web2\n");
  EXPECT_THAT(Names(Why("web9")), HasSubstr("no VM \"web9\" is known in the fleet"));
}

TEST_F(FleetListsTest, ListsTheNodes) {
  for (const char* name : {"n2", "n1"}) AddHeartbeat(name, 990);
  EXPECT_EQ(NodeNames(), "prod/n1\nprod/n2\n");
  nodes_ = {"prod/*2"};
  EXPECT_EQ(NodeNames(), "prod/n2\n");
}

TEST_F(FleetListsTest, AValueBelongsToTheNodeThatItsKeyNames) {
  v1::NodeHeartbeat node;
  node.set_cluster("prod");
  node.set_node("n2");
  const std::map<std::string, std::string> of_n1 = {{"ce-source", "/vmevents/prod/n1/j"}};
  const std::string vm = "$KV.VMEVENTS_VMS.prod.n2.web1";
  const std::string heartbeat = "$KV.VMEVENTS_NODES.prod.n1";
  nats_.Add("KV_VMEVENTS_VMS", vm, of_n1, v1::Vm().SerializeAsString());
  nats_.Add("KV_VMEVENTS_NODES", heartbeat, of_n1, node.SerializeAsString());
  EXPECT_EQ(Names(VmsCommand{.include_stopped = true}), "");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("whose subject this is not")));
  EXPECT_EQ(NodeNames(), "prod/n1\n") << "whatever name its sender writes into it";
  // A server writes this when it acknowledges a message whose reply subject is a key.
  nats_.Add("KV_VMEVENTS_VMS", vm, {}, R"({"stream":"VMEVENTS","seq":7})");
  nats_.Add("KV_VMEVENTS_NODES", heartbeat, {}, R"({"stream":"VMEVENTS","seq":7})");
  EXPECT_EQ(Names(VmsCommand{.include_stopped = true}), "");
  EXPECT_EQ(NodeNames(), "");
}

// HA has started it elsewhere; the dead node's last word stays in the bucket for 30 days.
TEST_F(FleetListsTest, AVmOfADeadNodeIsStaleAndTheVmOfALiveNodeIsPreferred) {
  AddVm("n1", "web1", v1::VM_STATE_RUNNING, 100);
  AddVm("n1", "gone", v1::VM_STATE_STOPPED, 100);
  AddVm("n2", "web1", v1::VM_STATE_RUNNING, 50);
  AddVm("n3", "db1", v1::VM_STATE_PAUSED, 100);
  AddHeartbeat("n1", 800);
  AddHeartbeat("n2", 990);
  AddHeartbeat("n3", 995, /*stopped=*/true);
  EXPECT_EQ(Names(Why("web1")), "prod/n2/web1\n");
  const auto stale = [&](const VmsCommand& command) {
    JsonFormatter formatter;
    EXPECT_FALSE(Run(command, &formatter).has_value());
    std::map<std::string, bool> found;
    for (const absl::string_view line : absl::StrSplit(output_.text, '\n', absl::SkipEmpty())) {
      const auto vm = nlohmann::json::parse(std::string(line));
      found[absl::StrCat(std::string(vm["node"]), "/", std::string(vm["ref"]["name"]))] =
          vm.value("stale", false);
    }
    return found;
  };
  EXPECT_EQ(stale({.include_stopped = true}),
            (std::map<std::string, bool>{
                {"n1/web1", true}, {"n1/gone", false}, {"n2/web1", false}, {"n3/db1", true}}));
  TableFormatter table({.nodes = true});
  EXPECT_FALSE(Run(OfNames({"web1"}), &table).has_value());
  EXPECT_THAT(output_.text, HasSubstr("RUNNING (stale)"));
  // No other node has the VM: only its last state is known.
  EXPECT_FALSE(Run(Why("db1"), &table).has_value());
  EXPECT_THAT(output_.text,
              HasSubstr("PAUSED (stale: the node was last seen at Thu 1970-01-01 00:16:35 UTC)"));
  // It ended on the living node, and later ran on the dead one.
  AddVm("n2", "web1", v1::VM_STATE_STOPPED, 60);
  EXPECT_EQ(Names(Why("web1")), "prod/n1/web1\n");
  AddVm("n2", "web1", v1::VM_STATE_STOPPED, 900);
  EXPECT_EQ(Names(Why("web1")), "prod/n2/web1\n");
  // Two that live are two VMs.
  AddVm("n2", "web1", v1::VM_STATE_RUNNING, 901);
  AddVm("n4", "web1", v1::VM_STATE_RUNNING, 902);
  AddHeartbeat("n4", 995);
  EXPECT_EQ(Names(Why("web1")), "prod/n1/web1\nprod/n2/web1\nprod/n4/web1\n");
}

// Somebody has deleted it, or written something else there, and a dead node does not write it
// again.
TEST_F(FleetListsTest, AVmOfANodeWithoutAHeartbeatIsStale) {
  AddVm("n1", "web1", v1::VM_STATE_RUNNING, 100);
  AddVm("n2", "web1", v1::VM_STATE_RUNNING, 50);
  AddHeartbeat("n2", 990);
  EXPECT_EQ(Names(Why("web1")), "prod/n2/web1\n");
  TableFormatter table({.nodes = true});
  nodes_ = {"n1"};
  EXPECT_FALSE(Run(Why("web1"), &table).has_value());
  EXPECT_THAT(output_.text,
              HasSubstr("RUNNING (stale: the node has no heartbeat, or has lost its journal)"));
}

// What ended while nobody knew its state is not written again.
TEST_F(FleetListsTest, AVmOfAJournalThatItsNodeHasLostIsStale) {
  AddVm("n1", "web1", v1::VM_STATE_RUNNING, 100);
  AddHeartbeat("n1", 990, /*stopped=*/false, "another-");
  TableFormatter table({.nodes = true});
  EXPECT_FALSE(Run(OfNames({"web1"}), &table).has_value());
  EXPECT_THAT(output_.text, HasSubstr("RUNNING (stale)"));
}

// A consumer of a server before 2.10 has at most one filter.
TEST_F(FleetListsTest, ABucketIsReadByOneFilter) {
  for (const char* name : {"a", "b", "c"}) AddVm("n1", name, v1::VM_STATE_RUNNING);
  EXPECT_EQ(Names(OfNames({"a", "b"})), "prod/n1/a\nprod/n1/b\n");
  ASSERT_EQ(nats_.consumers.size(), 2u) << "of the VMs, and of the heartbeats";
  for (const std::string& consumer : nats_.consumers) {
    EXPECT_THAT(consumer, AllOf(HasSubstr("\"filter_subject\""), HasSubstr("last_per_subject")));
  }
}

TEST_F(FleetListsTest, AMissingFleetIsNotFoundAndAnUnreachableServerUnreachable) {
  NameFormatter formatter;
  nats_.streams.clear();
  EXPECT_EQ(Run(VmsCommand{}, &formatter)->code, ExitCode::kNotFound);
  EXPECT_EQ(Run(EventsCommand{}, &formatter)->code, ExitCode::kNotFound);
  nats_.reachable = false;
  EXPECT_EQ(Run(FleetCommand{}, &formatter)->code, ExitCode::kUnreachable);
}

}  // namespace
}  // namespace vmeventd::client
