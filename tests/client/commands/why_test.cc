#include "client/commands/why.h"

#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_split.h"
#include "client/commands/unknown_names.h"
#include "client/output/formatter.h"
#include "client/sources/daemon_lists.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/fake_server.h"
#include "tests/support/formatters.h"
#include "tests/support/proto_text.h"
#include "tests/support/server_messages.h"
#include "tests/support/string_output.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kPresent = 1'782'907'200;

NodeEvent EndOf(const std::string& name, int64_t age, v1::ShutdownClass shutdown_class,
                const std::string& run = "old", const std::string& node = "") {
  v1::Event event = MakeEvent(1, name);
  event.mutable_vm()->set_run_id(run);
  event.mutable_observe_time()->set_seconds(kPresent - age);
  event.set_type(v1::EVENT_TYPE_STOPPED);
  event.mutable_shutdown()->set_shutdown_class(shutdown_class);
  return {event, {.name = node}};
}

NodeVm RunIn(const std::string& name, v1::VmState state, int64_t age,
             const std::string& run = "new", const std::string& node = "") {
  v1::Vm vm = MakeVm(name);
  vm.mutable_ref()->set_run_id(run);
  vm.set_state(state);
  vm.mutable_state_time()->set_seconds(kPresent - age);
  vm.mutable_start_time()->set_seconds(kPresent - age - 5);
  return {vm, {.name = node}};
}

// A source that only has lists.
class ListsAlone : public ListSource {
 public:
  std::optional<Failure> ReadReports(const ReportQuestion& /*question*/,
                                     NodeReports* /*reports*/) override {
    return Failure{};
  }
  std::optional<Failure> CountEvents(const StatsCommand& /*command*/, absl::TimeZone /*zone*/,
                                     NodeCounts* /*counts*/) override {
    return Failure{};
  }
};

// A node with one VM, and events of one that it no longer knows.
class TwoNames : public ListsAlone {
 public:
  std::optional<Failure> ReadEvents(const EventsCommand& command, const Take& take) override {
    if (command.request.filter().vm_names(0) == "old1")
      take(EndOf("old1", 5, v1::SHUTDOWN_CLASS_USER));
    return std::nullopt;
  }
  std::optional<Failure> ReadVms(const v1::EventFilter& filter, bool /*stopped_too*/,
                                 NodeVms* vms) override {
    for (const std::string& name : filter.vm_names()) {
      if (name == "web1" || name == "web*") vms->push_back(RunIn("web1", v1::VM_STATE_STOPPED, 1));
    }
    if (filter.vm_names().empty()) vms->push_back(RunIn("web1", v1::VM_STATE_STOPPED, 1));
    return std::nullopt;
  }
};

TEST(CheckNames, ANameOrGlobThatMatchesNoVmAndNoEventIsNotFound) {
  TwoNames node;
  const auto check = [&node](const std::vector<std::string>& names) {
    v1::EventFilter filter;
    for (const std::string& name : names) filter.add_vm_names(name);
    return CheckNames(filter, {.client = "vmevents -x", .where = " to vmeventd at node1"}, &node);
  };
  EXPECT_FALSE(check({}));
  EXPECT_FALSE(check({"web1", "web*", "old1"}));
  EXPECT_FALSE(check({"web1,old1", "web1", "old1"})) << "a list is known by its parts";
  EXPECT_THAT(check({"web1,web2", "web1", "web2"})->sentence, HasSubstr("no VM \"web2\" is known"));
  const auto failure = check({"web1", "web2"});
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, ExitCode::kNotFound);
  EXPECT_EQ(failure->sentence, "no VM \"web2\" is known to vmeventd at node1; did you mean web1?");
  EXPECT_EQ(check({"db*"})->sentence,
            "no VM \"db*\" is known to vmeventd at node1; `vmevents -x vms --all` lists those that "
            "are");
}

// Lists that have these ends and runs.
class Scripted : public ListsAlone {
 public:
  std::optional<Failure> ReadEvents(const EventsCommand& /*command*/, const Take& take) override {
    for (const NodeEvent& end : ends) take(end);
    return std::nullopt;
  }
  std::optional<Failure> ReadVms(const v1::EventFilter& /*filter*/, bool /*stopped_too*/,
                                 NodeVms* vms) override {
    *vms = runs;
    return std::nullopt;
  }

  NodeEvents ends;
  NodeVms runs;
};

class StoriesTest : public testing::Test {
 protected:
  std::vector<nlohmann::json> Stories() {
    StringOutput output;
    JsonFormatter formatter;
    EXPECT_FALSE(RunWhy({}, {.where = " here"}, &lists_, &formatter, &output,
                        absl::FromUnixSeconds(kPresent)));
    std::vector<nlohmann::json> stories;
    for (const absl::string_view line : absl::StrSplit(output.text, '\n', absl::SkipEmpty())) {
      stories.push_back(nlohmann::json::parse(line));
    }
    return stories;
  }

  Scripted lists_;
};

TEST_F(StoriesTest, AVmThatRunsAgainHasItsLastEnd) {
  lists_.runs = {RunIn("web1", v1::VM_STATE_STOPPED, 100, "old"),
                 RunIn("web1", v1::VM_STATE_RUNNING, 90)};
  lists_.ends = {EndOf("web1", 100, v1::SHUTDOWN_CLASS_CRASH),
                 EndOf("web1", 5000, v1::SHUTDOWN_CLASS_USER, "older"),
                 EndOf("web1", 200'000, v1::SHUTDOWN_CLASS_USER, "oldest")};
  const auto stories = Stories();
  ASSERT_EQ(stories.size(), 1u);
  EXPECT_EQ(stories[0]["last_end"]["shutdown"]["shutdown_class"], "SHUTDOWN_CLASS_CRASH");
  EXPECT_EQ(stories[0]["vm"]["state"], "VM_STATE_RUNNING");
  EXPECT_EQ(stories[0]["ends_in_24h"].dump(), R"({"CRASH":1,"USER":1})");
}

TEST_F(StoriesTest, AnEndHasTheIntentsThatCameTooLateForIt) {
  lists_.runs = {RunIn("web1", v1::VM_STATE_STOPPED, 100, "old")};
  lists_.ends = {EndOf("web1", 99, v1::SHUTDOWN_CLASS_ADMIN),
                 EndOf("web1", 100, v1::SHUTDOWN_CLASS_ADMIN),
                 EndOf("web1", 5000, v1::SHUTDOWN_CLASS_ADMIN, "older")};
  for (NodeEvent* late : {&lists_.ends[0], &lists_.ends[2]}) {
    late->event.set_type(v1::EVENT_TYPE_INTENT_LATE);
    late->event.mutable_intent()->set_reason("of " + late->event.vm().run_id());
  }
  const auto stories = Stories();
  ASSERT_EQ(stories.size(), 1u);
  ASSERT_EQ(stories[0]["late_intents"].size(), 1u) << "not that of an earlier run";
  EXPECT_EQ(stories[0]["late_intents"][0]["intent"]["reason"], "of old");
}

TEST_F(StoriesTest, AnEndWithoutItsEventIsTakenFromTheVmListAndCountedOnce) {
  lists_.runs = {RunIn("web1", v1::VM_STATE_STOPPED, 100, "old")};
  lists_.runs[0].vm.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  auto stories = Stories();
  ASSERT_EQ(stories.size(), 1u);
  EXPECT_EQ(stories[0]["last_end"]["vm"]["run_id"], "old");
  EXPECT_EQ(stories[0]["ends_in_24h"]["CRASH"], 1);
  lists_.ends = {EndOf("web1", 100, v1::SHUTDOWN_CLASS_CRASH)};
  stories = Stories();
  EXPECT_EQ(stories[0]["last_end"]["sequence"], "1") << "of the event";
  EXPECT_EQ(stories[0]["ends_in_24h"]["CRASH"], 1);
}

TEST_F(StoriesTest, AVmThatMovedHasOneStoryAndTwoLivingVmsHaveTwo) {
  lists_.ends = {EndOf("web1", 100, v1::SHUTDOWN_CLASS_ADMIN, "a", "n1")};
  lists_.runs = {RunIn("web1", v1::VM_STATE_STOPPED, 100, "a", "n1"),
                 RunIn("web1", v1::VM_STATE_RUNNING, 100, "b", "n2")};
  auto stories = Stories();
  ASSERT_EQ(stories.size(), 1u);
  EXPECT_EQ(stories[0]["last_end"]["node"], "n1");
  EXPECT_EQ(stories[0]["vm"]["node"], "n2");
  lists_.runs.push_back(RunIn("web1", v1::VM_STATE_PAUSED, 1, "c", "n3"));
  stories = Stories();
  ASSERT_EQ(stories.size(), 3u);
  EXPECT_EQ(stories[2]["vm"]["node"], "n3");
  EXPECT_FALSE(stories[2].contains("last_end"));
}

TEST_F(StoriesTest, TheTargetOfAMigrationThatFailedHidesNoEnd) {
  lists_.ends = {EndOf("web1", 101, v1::SHUTDOWN_CLASS_CRASH, "a", "n1"),
                 EndOf("web1", 100, v1::SHUTDOWN_CLASS_ADMIN, "b", "n2")};
  lists_.ends[1].event.mutable_shutdown()->set_never_ran(true);
  lists_.runs = {RunIn("web1", v1::VM_STATE_STOPPED, 101, "a", "n1"),
                 RunIn("web1", v1::VM_STATE_STOPPED, 100, "b", "n2")};
  const auto stories = Stories();
  ASSERT_EQ(stories.size(), 2u);
  EXPECT_EQ(stories[0]["last_end"]["node"], "n1");
  EXPECT_EQ(stories[0]["last_end"]["shutdown"]["shutdown_class"], "SHUTDOWN_CLASS_CRASH");
  EXPECT_EQ(stories[1]["last_end"]["node"], "n2");
}

TEST_F(StoriesTest, VmsOfTwoSourcesOfANodeHaveAStoryEach) {
  lists_.ends = {EndOf("dup", 100, v1::SHUTDOWN_CLASS_CRASH, "a", "n1")};
  lists_.runs = {RunIn("dup", v1::VM_STATE_STOPPED, 100, "a", "n1"),
                 RunIn("dup", v1::VM_STATE_RUNNING, 500, "b", "n1")};
  lists_.runs[1].vm.mutable_ref()->set_source("qmp:/run/other");
  EXPECT_EQ(Stories().size(), 2u);
}

TEST_F(StoriesTest, VmsOfDifferentUuidsHaveAStoryEach) {
  lists_.ends = {EndOf("dup", 100, v1::SHUTDOWN_CLASS_CRASH, "a", "n1"),
                 EndOf("dup", 100, v1::SHUTDOWN_CLASS_CRASH, "b", "n2")};
  lists_.ends[0].event.mutable_vm()->set_uuid("1111");
  lists_.ends[1].event.mutable_vm()->set_uuid("2222");
  EXPECT_EQ(Stories().size(), 2u) << "no end disappears";
}

// db1 was rebuilt, and its new QEMU has another UUID.
TEST_F(StoriesTest, ANewVmDoesNotInheritTheEndsOfAnOldOneOfItsName) {
  lists_.ends = {EndOf("db1", 100, v1::SHUTDOWN_CLASS_CRASH, "old")};
  lists_.ends[0].event.mutable_vm()->set_uuid("1111");
  lists_.runs = {RunIn("db1", v1::VM_STATE_STOPPED, 100, "old"),
                 RunIn("db1", v1::VM_STATE_RUNNING, 90, "new")};
  lists_.runs[0].vm.mutable_ref()->set_uuid("1111");
  lists_.runs[1].vm.mutable_ref()->set_uuid("2222");
  const auto stories = Stories();
  ASSERT_EQ(stories.size(), 2u);
  EXPECT_EQ(stories[0]["vm"]["ref"]["uuid"], "2222") << "the one that runs comes first";
  EXPECT_FALSE(stories[0].contains("last_end"));
  EXPECT_EQ(stories[0]["ends_in_24h"].size(), 0u);
  EXPECT_EQ(stories[1]["last_end"]["vm"]["uuid"], "1111");
  StringOutput output;
  TableFormatter table({});
  EXPECT_FALSE(RunWhy({}, {}, &lists_, &table, &output, absl::FromUnixSeconds(kPresent)));
  EXPECT_THAT(output.text,
              AllOf(testing::StartsWith("db1 has not ended"),
                    HasSubstr("\ndb1, another VM of this name, UUID 1111, gone: CRASHED")));
}

// QEMU reports its UUID some time after its start.
TEST_F(StoriesTest, AnEndWithoutAUuidBelongsToTheOnlyVmOfItsName) {
  lists_.ends = {EndOf("db1", 100, v1::SHUTDOWN_CLASS_CRASH, "old")};
  lists_.runs = {RunIn("db1", v1::VM_STATE_RUNNING, 90, "new")};
  lists_.runs[0].vm.mutable_ref()->set_uuid("2222");
  const auto stories = Stories();
  ASSERT_EQ(stories.size(), 1u);
  EXPECT_EQ(stories[0]["last_end"]["vm"]["run_id"], "old");
}

TEST_F(StoriesTest, AVmsStateOnALiveNodeIsPreferredToAStaleOne) {
  lists_.runs = {RunIn("web1", v1::VM_STATE_RUNNING, 10, "a", "n1"),
                 RunIn("web1", v1::VM_STATE_RUNNING, 50, "b", "n2")};
  lists_.runs[0].node.stale_since = absl::FromUnixSeconds(kPresent);
  const auto stories = Stories();
  ASSERT_EQ(stories.size(), 1u);
  EXPECT_EQ(stories[0]["vm"]["node"], "n2");
}

class WhyTest : public testing::Test {
 protected:
  WhyTest() {
    server_.Start();
    server_.service().list_vms = [this](const v1::ListVmsRequest& request,
                                        v1::ListVmsResponse* response) {
      lists_.push_back(request);
      for (const v1::Vm& vm : vms_) {
        const bool by_uuid = request.uuids_size() > 0;
        if (by_uuid ? vm.ref().uuid() == request.uuids(0)
                    : request.vm_names().empty() ||
                          absl::c_linear_search(request.vm_names(), vm.ref().name())) {
          *response->add_vms() = vm;
        }
      }
      return grpc::Status::OK;
    };
    server_.service().list_events = [this](const v1::ListEventsRequest& request,
                                           v1::ListEventsResponse* response) {
      if (absl::c_linear_search(request.filter().types(), v1::EVENT_TYPE_INTENT_LATE)) {
        late_intents_.push_back(request);
        return grpc::Status::OK;
      }
      events_.push_back(request);
      const int at = request.page_token().empty() ? 0 : std::stoi(request.page_token());
      for (int i = at; i < at + 2 && i < static_cast<int>(ends_.size()); ++i) {
        *response->add_events() = ends_[static_cast<size_t>(i)].event;
      }
      if (at + 2 < static_cast<int>(ends_.size())) {
        response->set_next_page_token(std::to_string(at + 2));
      }
      return grpc::Status::OK;
    };
  }

  std::optional<Failure> Why(const std::string& filter) { return Why(filter, &formatter_); }
  std::optional<Failure> Why(const std::string& filter, Formatter* formatter) {
    output_.text.clear();
    DaemonLists lists{DaemonNode(server_.address())};
    return RunWhy({FromText<v1::EventFilter>(filter)}, {.where = " here"}, &lists, formatter,
                  &output_, absl::FromUnixSeconds(kPresent));
  }

  FakeServer server_;
  std::vector<v1::Vm> vms_;
  NodeEvents ends_;  // the newest first
  std::vector<v1::ListVmsRequest> lists_;
  std::vector<v1::ListEventsRequest> events_;
  std::vector<v1::ListEventsRequest> late_intents_;
  NameFormatter formatter_;
  StringOutput output_;
};

TEST_F(WhyTest, ReadsTheLast24HoursAndTheLastEndOfEachName) {
  vms_ = {RunIn("web1", v1::VM_STATE_RUNNING, 1).vm};
  for (const int64_t age : {10, 20, 30, 100'000, 200'000, 300'000}) {
    ends_.push_back(EndOf("web1", age, v1::SHUTDOWN_CLASS_USER));
  }
  EXPECT_FALSE(Why("vm_names: 'web1'"));
  EXPECT_EQ(output_.text, "web1\n");
  ASSERT_EQ(events_.size(), 2u) << "the second page has all that are counted";
  EXPECT_TRUE(events_[0].newest_first());
  EXPECT_THAT(events_[0].filter().vm_names(), ElementsAre("web1"));
  EXPECT_THAT(events_[0].filter().types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_TRUE(lists_[0].include_stopped());
}

TEST_F(WhyTest, AnOldEndOfAVmThatIsNoLongerListedIsFound) {
  for (const int64_t age : {100'000, 200'000, 300'000}) {
    ends_.push_back(EndOf("db1", age, v1::SHUTDOWN_CLASS_USER));
  }
  ends_.push_back(EndOf("web1", 400'000, v1::SHUTDOWN_CLASS_USER));
  EXPECT_FALSE(Why("vm_names: 'web1'"));
  EXPECT_THAT(output_.text, HasSubstr("web1\n"));
}

TEST_F(WhyTest, TheOldEndOfEachVmThatRunsAgainIsFoundWithoutItsName) {
  vms_ = {RunIn("web1", v1::VM_STATE_RUNNING, 1).vm, RunIn("web2", v1::VM_STATE_RUNNING, 1).vm};
  ends_ = {EndOf("web1", 100'000, v1::SHUTDOWN_CLASS_USER),
           EndOf("web1", 200'000, v1::SHUTDOWN_CLASS_USER),
           EndOf("web2", 300'000, v1::SHUTDOWN_CLASS_USER),
           EndOf("web2", 400'000, v1::SHUTDOWN_CLASS_USER),
           EndOf("web2", 500'000, v1::SHUTDOWN_CLASS_USER)};
  EXPECT_FALSE(Why(""));
  EXPECT_EQ(events_.size(), 2u);
}

TEST_F(WhyTest, AVmIsFoundByItsNameInNova) {
  vms_ = {RunIn("instance-2a", v1::VM_STATE_RUNNING, 1).vm};
  vms_[0].mutable_ref()->set_uuid("550e8400-e29b-41d4-a716-446655440000");
  (*vms_[0].mutable_ref()->mutable_labels())["nova.name"] = "shop, 1";
  EXPECT_FALSE(Why("vm_names: 'shop, 1'"));
  EXPECT_EQ(output_.text, "instance-2a\n");
  EXPECT_THAT(lists_[1].labels(), ElementsAre("nova.name=shop\\, 1"));
  EXPECT_THAT(events_[0].filter().uuids(), ElementsAre("550e8400-e29b-41d4-a716-446655440000"));
  EXPECT_TRUE(Why("vm_names: 'shop'"));
}

TEST_F(WhyTest, ALabelThatNoVmHasIsExplained) {
  v1::Vm vm = RunIn("web1", v1::VM_STATE_RUNNING, 1).vm;
  (*vm.mutable_ref()->mutable_labels())["app"] = "web";
  server_.service().list_vms = [&vm](const v1::ListVmsRequest& request,
                                     v1::ListVmsResponse* response) {
    if (request.labels().empty()) *response->add_vms() = vm;
    return grpc::Status::OK;
  };
  EXPECT_EQ(Why("labels: 'ap=web'")->sentence,
            "no VM that matches is known here; no VM has a label \"ap\"; did you mean app?; the "
            "labels are app");
}

TEST_F(WhyTest, AVmIsFoundByThePidOfItsProcess) {
  vms_ = {RunIn("web1", v1::VM_STATE_STOPPED, 9, "first").vm,
          RunIn("web2", v1::VM_STATE_RUNNING, 99, "second").vm,
          RunIn("4711", v1::VM_STATE_RUNNING, 9, "third").vm};
  for (const size_t i : {0, 1}) vms_[i].mutable_ref()->set_pid(4712);
  EXPECT_FALSE(Why("vm_names: '4712'"));
  EXPECT_EQ(output_.text, "web2\n") << "the one that lives has it now";
  output_.text.clear();
  EXPECT_FALSE(Why("vm_names: '4711'"));
  EXPECT_EQ(output_.text, "4711\n") << "a VM may have a number as its name";
  output_.text.clear();
  EXPECT_FALSE(Why("vm_names: ['4712', '4711']"));
  EXPECT_EQ(output_.text, "4711\nweb2\n") << "a pid beside a name";
  output_.text.clear();
  // No list has the run any more.
  server_.service().list_events = [](const v1::ListEventsRequest& request,
                                     v1::ListEventsResponse* response) {
    if (request.filter().vm_names_size() > 0) return grpc::Status::OK;
    *response->add_events() = EndOf("db2", 9, v1::SHUTDOWN_CLASS_USER, "gone").event;
    response->mutable_events(0)->mutable_vm()->set_pid(99);
    return grpc::Status::OK;
  };
  EXPECT_FALSE(Why("vm_names: '99'"));
  EXPECT_EQ(output_.text, "db2\n");
  EXPECT_THAT(Why("vm_names: '98'")->sentence, HasSubstr("no VM \"98\" is known here"));
}

TEST_F(WhyTest, EachEndThatMatchesTheFilterIsExplained) {
  ends_ = {EndOf("web1", 5, v1::SHUTDOWN_CLASS_CRASH, "third"),
           EndOf("db1", 9, v1::SHUTDOWN_CLASS_CRASH, "second"),
           EndOf("web1", 19, v1::SHUTDOWN_CLASS_CRASH, "first")};
  EXPECT_FALSE(Why("classes: SHUTDOWN_CLASS_CRASH"));
  EXPECT_EQ(output_.text, "web1\ndb1\nweb1\n");
  EXPECT_THAT(events_[0].filter().classes(), ElementsAre(v1::SHUTDOWN_CLASS_CRASH));
  EXPECT_THAT(events_[0].filter().types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_THAT(late_intents_[0].filter().classes(), IsEmpty()) << "an intent has none";
  ends_.clear();
  EXPECT_EQ(Why("classes: SHUTDOWN_CLASS_USER")->sentence, "no end that matches is known here");
}

TEST_F(WhyTest, AGapOfTheVmDoesNotEndTheSearchForItsEnd) {
  ends_.push_back(EndOf("web1", 90'000, v1::SHUTDOWN_CLASS_USER));
  ends_.back().event.set_type(v1::EVENT_TYPE_GAP);
  for (const int64_t age : {100'000, 200'000}) {
    ends_.push_back(EndOf("db1", age, v1::SHUTDOWN_CLASS_USER));
  }
  ends_.push_back(EndOf("web1", 300'000, v1::SHUTDOWN_CLASS_USER));
  EXPECT_FALSE(Why("vm_names: 'web1'"));
  EXPECT_THAT(output_.text, HasSubstr("web1\n"));
}

TEST_F(WhyTest, TheErrorForAnUnknownNameNamesKnownOnes) {
  auto failure = Why("vm_names: 'we\\nb'");
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->code, ExitCode::kNotFound);
  EXPECT_EQ(failure->sentence, "no VM \"we\\x0ab\" is known here; no VM is");
  vms_ = {RunIn("web1", v1::VM_STATE_RUNNING, 1).vm, RunIn("db1", v1::VM_STATE_RUNNING, 1).vm};
  EXPECT_EQ(Why("vm_names: 'mail'")->sentence,
            "no VM \"mail\" is known here; `vmevents vms --all` lists those that are");
  EXPECT_EQ(Why("vm_names: 'web2'")->sentence, "no VM \"web2\" is known here; did you mean web1?");
  EXPECT_THAT(Why("vm_names: 'WEB1'")->sentence, HasSubstr("did you mean web1?"));
  EXPECT_EQ(Why("vm_names: ['web2', 'mail']")->sentence,
            "no VM \"web2\" or \"mail\" is known here; `vmevents vms --all` lists those that are")
      << "a proposal would not show of which name it is";
  EXPECT_THAT(Why("vm_names: ['a', 'b', 'c']")->sentence,
              HasSubstr("no VM \"a\", \"b\" or \"c\" is known here"));
  EXPECT_THAT(Why("vm_names: 'web1' run_ids: 'other'")->sentence,
              HasSubstr("no such run is known here"));
  failure = Why("vm_names: ['web1', 'mail*']");
  EXPECT_EQ(output_.text, "web1\n") << "what is known is shown";
  EXPECT_THAT(failure->sentence, HasSubstr("no VM \"mail*\" is known here"));
}

TEST_F(WhyTest, AVmIsFoundByItsUuid) {
  const std::string uuid = "550e8400-e29b-41d4-a716-446655440000";
  vms_ = {RunIn("web1", v1::VM_STATE_RUNNING, 1).vm};
  vms_[0].mutable_ref()->set_uuid(uuid);
  EXPECT_FALSE(Why("vm_names: '" + uuid + "'"));
  EXPECT_EQ(output_.text, "web1\n");
  EXPECT_THAT(events_.back().filter().vm_names(), IsEmpty()) << "another VM may have its name";
  EXPECT_THAT(events_.back().filter().uuids(), ElementsAre(uuid));
  EXPECT_EQ(Why("vm_names: ['" + uuid + "', 'web1']")->code, ExitCode::kUsage);
}

TEST_F(WhyTest, VmsOfOneNameAreDistinguished) {
  vms_ = {RunIn("web1", v1::VM_STATE_RUNNING, 1).vm, RunIn("web1", v1::VM_STATE_RUNNING, 1).vm};
  vms_[0].mutable_ref()->set_source("qmp:/a");
  vms_[0].mutable_ref()->set_uuid("uuid-1");
  vms_[1].mutable_ref()->set_uuid("uuid-2");
  Formatter table(Form::kTable);
  EXPECT_FALSE(Why("vm_names: 'web1'", &table));
  EXPECT_THAT(output_.text, AllOf(HasSubstr("events --uuid uuid-1"), HasSubstr("--uuid uuid-2")));
}

TEST_F(WhyTest, TheStoryOfAnEarlierRunOmitsTheVmsPresentState) {
  vms_ = {RunIn("web1", v1::VM_STATE_STOPPED, 50, "old").vm,
          RunIn("web1", v1::VM_STATE_RUNNING, 10, "new").vm};
  vms_[0].mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  Formatter json(Form::kJson);
  EXPECT_FALSE(Why("vm_names: 'web1' run_ids: 'old'", &json));
  const nlohmann::json story = nlohmann::json::parse(output_.text);
  EXPECT_EQ(story["last_end"]["vm"]["run_id"], "old");
  EXPECT_FALSE(story.contains("vm"));
}

}  // namespace
}  // namespace vmeventd::client
