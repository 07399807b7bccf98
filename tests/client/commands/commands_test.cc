#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands/events.h"
#include "client/commands/health.h"
#include "client/commands/info.h"
#include "client/commands/intents.h"
#include "client/commands/stats.h"
#include "client/commands/streams.h"
#include "client/commands/unknown_names.h"
#include "client/commands/vms.h"
#include "client/connect/known_services.h"
#include "client/output/trouble.h"
#include "client/output/vm_rows.h"
#include "client/sources/daemon_lists.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/documented_services.h"
#include "tests/support/fake_server.h"
#include "tests/support/fake_service.h"
#include "tests/support/files.h"
#include "tests/support/formatters.h"
#include "tests/support/proto_text.h"
#include "tests/support/server_messages.h"
#include "tests/support/string_output.h"
#include "tests/support/unix_socket.h"
#include "vmeventd/v1/vm_events.grpc.pb.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

// A failure with this code, and a sentence that matches.
MATCHER_P2(Fails, code, sentence, "") {
  return arg.has_value() && arg->code == code &&
         testing::ExplainMatchResult(sentence, arg->sentence, result_listener);
}

class CommandsTest : public testing::Test {
 protected:
  CommandsTest() { server_.Start(); }

  template <typename Command>
  std::optional<Failure> Run(const Command& command) {
    return With([&](const CommandContext& context) -> std::optional<Failure> {
      if constexpr (requires { RunCommand(command, context); }) {
        return RunCommand(command, context);
      } else if constexpr (std::is_same_v<Command, IntentsCommand>) {
        DaemonLists lists(context.nodes.front());
        return RunList(command, &lists, &formatter_, &output_);
      } else {
        DaemonLists lists(context.nodes.front());
        return RunList(command, &lists, &formatter_, &output_, &empty_);
      }
    });
  }
  std::optional<Failure> With(
      const std::function<std::optional<Failure>(const CommandContext&)>& run) {
    return run(CommandContext(server_.address(), &formatter_, &output_));
  }
  size_t Lines() const {
    return static_cast<size_t>(std::count(output_.text.begin(), output_.text.end(), '\n'));
  }

  // Serves the events 1 to `newest` in pages of the requested size.
  void ServeEvents(uint64_t newest) {
    server_.service().list_events = [this, newest](const v1::ListEventsRequest& request,
                                                   v1::ListEventsResponse* response) {
      requests_.push_back(request);
      uint64_t next = request.page_token().empty() ? 1 : std::stoull(request.page_token());
      for (int i = 0; i < request.page_size() && next <= newest; ++i, ++next) {
        *response->add_events() = MakeEvent(next);
      }
      if (next <= newest) response->set_next_page_token(std::to_string(next));
      return grpc::Status::OK;
    };
  }

  FakeServer server_;
  JsonFormatter formatter_;
  StringOutput output_;
  std::string empty_;  // what an empty list means
  std::vector<v1::ListEventsRequest> requests_;
};

EventsCommand EventsOf(const std::string& request) {
  return {.request = FromText<v1::ListEventsRequest>(request)};
}

EventsCommand EventsSince(absl::Time since) {
  EventsCommand command;
  command.SetTimes(since, std::nullopt);
  return command;
}

TEST_F(CommandsTest, AnEmptyListPrintsThatItIsEmpty) {
  ServeEvents(0);
  server_.service().list_vms = Answers<v1::ListVmsResponse>("");
  const auto run = [this](const auto& command) {
    EXPECT_FALSE(Run(command));
    return empty_;
  };
  const auto of_name = FromText<v1::EventFilter>("vm_names: 'a'");
  EXPECT_EQ(run(EventsSince(absl::Now() - absl::Hours(1))),
            "no events match; the journal has no event");
  EXPECT_THAT(run(EventsSince(absl::Now() + absl::Hours(1))),
              HasSubstr("--since is in the future"));
  EXPECT_THAT(run(VmsCommand{}), HasSubstr("vmevents doctor"));
  EXPECT_EQ(run(VmsCommand{.filter = of_name}),
            "no VMs match; --all includes those that have stopped");
  EXPECT_EQ(run(VmsCommand{.filter = of_name, .include_stopped = true}), "no VMs match");
}

// Summer time of this zone began at 2026-03-29 01:00 UTC, and ended at 2026-10-25 01:00 UTC.
TEST_F(CommandsTest, StatsByDayUseTheUtcOffsetOfEachDay) {
  absl::TimeZone zone;
  ASSERT_TRUE(absl::LoadTimeZone("Europe/Berlin", &zone));
  std::vector<std::string> asked;
  server_.service().count_events = [&](const v1::CountEventsRequest& request,
                                       v1::CountEventsResponse* response) {
    const auto text = [](const auto& time) {
      return absl::FormatTime("%Y-%m-%d %H:%M", absl::FromUnixSeconds(time.seconds()),
                              absl::UTCTimeZone());
    };
    asked.push_back(absl::StrCat(request.has_start_time() ? text(request.start_time()) : "", " to ",
                                 request.has_end_time() ? text(request.end_time()) : "", ": ",
                                 request.utc_offset().seconds()));
    *response = FromText<v1::CountEventsResponse>("counts { key: '2026-01-01' events: 1 }");
    return grpc::Status::OK;
  };
  server_.service().info.mutable_oldest_time()->set_seconds(
      absl::ToUnixSeconds(absl::FromCivil(absl::CivilDay(2026, 1, 1), zone)));
  StatsCommand command = {.by = v1::COUNT_KEY_DAY};
  command.events.SetTimes(std::nullopt, absl::FromCivil(absl::CivilDay(2026, 11, 1), zone));
  const auto count = [&] {
    EXPECT_FALSE(With([&](const CommandContext& context) {
      DaemonLists lists(context.nodes.front());
      return RunList(command, &lists, zone, &formatter_, &output_, &empty_);
    }));
    return std::exchange(asked, {});
  };
  EXPECT_THAT(count(), ElementsAre(" to 2026-03-29 01:00: 3600",
                                   "2026-03-29 01:00 to 2026-10-25 01:00: 7200",
                                   "2026-10-25 01:00 to 2026-10-31 23:00: 3600"));
  command.events.SetTimes(absl::FromCivil(absl::CivilDay(2026, 10, 30), zone), std::nullopt);
  EXPECT_THAT(count(), ElementsAre("2026-10-29 23:00 to 2026-10-31 23:00: 3600"));
  command.by = v1::COUNT_KEY_VM;
  EXPECT_THAT(count(), SizeIs(1));
}

TEST_F(CommandsTest, AnEmptyListOfEventsNamesTheStartOfTheJournal) {
  server_.service().list_events = [](const v1::ListEventsRequest& request,
                                     v1::ListEventsResponse* response) {
    if (request.filter().vm_names().empty()) {
      *response->add_events() = MakeEvent(1);
      response->mutable_events(0)->mutable_observe_time()->set_seconds(1795899473);
    }
    return grpc::Status::OK;
  };
  EXPECT_FALSE(Run(EventsOf("filter { vm_names: 'a' }")));
  EXPECT_EQ(empty_, "no events match; the journal begins 2026-11-28 20:57:53");
}

TEST_F(CommandsTest, VmsAreFilteredByTheirEndAndByTheirRun) {
  server_.service().list_vms = Answers<v1::ListVmsResponse>(R"(
      vms { ref { name: 'a' run_id: 'a' }
            shutdown { shutdown_class: SHUTDOWN_CLASS_USER cause: SHUTDOWN_CAUSE_HOST_KILL } }
      vms { ref { name: 'b' run_id: 'b' }
            shutdown { shutdown_class: SHUTDOWN_CLASS_CRASH cause: SHUTDOWN_CAUSE_WATCHDOG } }
      vms { ref { name: 'c' run_id: 'c' } })");
  const auto chosen = [this](const std::string& filter) {
    output_.text.clear();
    EXPECT_FALSE(Run(VmsCommand{.filter = FromText<v1::EventFilter>(filter)}).has_value());
    return Lines() == 1 ? output_.text : std::to_string(Lines());
  };
  EXPECT_THAT(chosen("classes: SHUTDOWN_CLASS_CRASH"), HasSubstr("\"name\":\"b\""));
  EXPECT_THAT(chosen("causes: SHUTDOWN_CAUSE_WATCHDOG"), HasSubstr("\"name\":\"b\""));
  EXPECT_THAT(chosen("run_ids: 'c'"), HasSubstr("\"name\":\"c\""));
  EXPECT_EQ(chosen("run_ids: 'c' causes: SHUTDOWN_CAUSE_HOST_KILL"), "0");
}

TEST_F(CommandsTest, AVmThatIsFoundByItsLabelHasTheEndsOfAllItsRuns) {
  server_.service().list_vms = Answers<v1::ListVmsResponse>(R"(
      vms { ref { name: 'a' run_id: '1' } state: VM_STATE_STOPPED }
      vms { ref { name: 'a' run_id: '2' labels { key: 'app' value: 'web' } }
            state: VM_STATE_RUNNING state_time { seconds: 1 } }
      vms { ref { name: 'b' run_id: '3' labels { key: 'app' value: 'web' } }
            state: VM_STATE_STOPPED }
      vms { ref { name: 'b' run_id: '4' } state: VM_STATE_RUNNING state_time { seconds: 1 } })");
  EXPECT_FALSE(Run(VmsCommand{.filter = FromText<v1::EventFilter>("labels: 'app=web'")}));
  EXPECT_THAT(output_.text, AllOf(HasSubstr("\"name\":\"a\""), HasSubstr("\"ends\":1")));
  EXPECT_EQ(Lines(), 1) << "b has the label no longer";
}

TEST_F(CommandsTest, ALabelThatNoVmHasIsExplained) {
  ServeEvents(0);
  server_.service().list_vms = Answers<v1::ListVmsResponse>(R"(
      vms { ref { name: 'a' labels { key: 'project' value: 'P' } labels { key: 'app' value: 'x' } }
            state: VM_STATE_STOPPED })");
  const auto filter = FromText<v1::EventFilter>("labels: 'projet=P,!canary'");
  constexpr char kWhy[] =
      "; no VM has a label \"projet\"; did you mean project?; the labels are app, project";
  EXPECT_FALSE(Run(VmsCommand{.filter = filter}));
  EXPECT_EQ(empty_, absl::StrCat("no VMs match", kWhy));
  EXPECT_FALSE(Run(EventsOf("filter { labels: 'projet=P,!canary' }")));
  EXPECT_EQ(empty_, absl::StrCat("no events match", kWhy, "; the journal has no event"));
  EXPECT_FALSE(Run(VmsCommand{.filter = FromText<v1::EventFilter>("labels: 'app=y'")}));
  EXPECT_EQ(empty_, "no VMs match; --all includes those that have stopped");
  server_.service().list_vms = Answers<v1::ListVmsResponse>("vms { ref { name: 'a' } }");
  EXPECT_FALSE(Run(VmsCommand{.filter = filter}));
  EXPECT_EQ(empty_, "no VMs match; no VM has a label \"projet\", or any other");
}

TEST_F(CommandsTest, ARunOrASourceThatNoEventAndNoVmHasIsExplained) {
  server_.service().list_events = [](const v1::ListEventsRequest& request,
                                     v1::ListEventsResponse* response) {
    const v1::EventFilter& filter = request.filter();
    if (!filter.run_ids().empty() && filter.run_ids(0) == "old" && filter.types().empty()) {
      *response->add_events() = MakeEvent(1);
    }
    return grpc::Status::OK;
  };
  server_.service().list_vms = [](const v1::ListVmsRequest& request,
                                  v1::ListVmsResponse* response) {
    if (request.sources().empty() || request.sources(0) == "qmp") {
      *response->add_vms() = FromText<v1::Vm>("ref { name: 'a' run_id: 'r' source: 'qmp' }");
    }
    return grpc::Status::OK;
  };
  const auto why = [this](const std::string& filter) {
    EXPECT_FALSE(Run(EventsOf(absl::StrCat("filter { types: EVENT_TYPE_PAUSED ", filter, " }"))));
    return empty_;
  };
  constexpr char kNone[] = "no events match; the journal has no event";
  EXPECT_EQ(why("run_ids: ['r', 'old'] sources: 'qmp'"), kNone);
  EXPECT_EQ(why("run_ids: ['r', 'zzz']"),
            "no events match; no event and no VM has the run ID \"zzz\"; the journal has no event");
  EXPECT_EQ(
      why("sources: 'nope'"),
      "no events match; no event and no VM is of a source \"nope\"; the journal has no event");
}

// A run of a VM that ended, or began, so many seconds after 1970.
NodeVm RunAt(const std::string& name, v1::VmState state, int64_t time,
             v1::ShutdownClass end = v1::SHUTDOWN_CLASS_UNSPECIFIED) {
  NodeVm run = {MakeVm(name)};
  run.vm.set_state(state);
  run.vm.mutable_state_time()->set_seconds(time);
  run.vm.mutable_start_time()->set_seconds(time);
  if (state == v1::VM_STATE_STOPPED) run.vm.mutable_shutdown()->set_shutdown_class(end);
  return run;
}

std::vector<std::string> NamesOf(const NodeVms& vms) {
  std::vector<std::string> names;
  for (const NodeVm& one : vms) names.push_back(one.vm.ref().name());
  return names;
}

NodeVms RunsOfThree() {
  return {RunAt("a", v1::VM_STATE_STOPPED, 10, v1::SHUTDOWN_CLASS_CRASH),
          RunAt("b", v1::VM_STATE_STOPPED, 5, v1::SHUTDOWN_CLASS_USER),
          RunAt("b", v1::VM_STATE_STOPPED, 20, v1::SHUTDOWN_CLASS_ADMIN),
          RunAt("b", v1::VM_STATE_RUNNING, 21),
          RunAt("c", v1::VM_STATE_STOPPED, 30, v1::SHUTDOWN_CLASS_USER)};
}

TEST(RowsOf, HasARowForEachVmWithItsNewestRunAndItsLastEnd) {
  const NodeVms rows = RowsOf(RunsOfThree(), /*runs_known=*/true);
  EXPECT_THAT(NamesOf(rows), ElementsAre("a", "b", "c"));
  EXPECT_EQ(rows[1].vm.state(), v1::VM_STATE_RUNNING);
  EXPECT_EQ(rows[1].ends, 2);
  EXPECT_EQ(rows[1].end()->shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN);
  EXPECT_EQ(rows[2].ends, 1);
  EXPECT_FALSE(RowsOf(RunsOfThree(), /*runs_known=*/false)[1].ends.has_value());
}

TEST(RowsOf, TwoLivingVmsOfOneNameHaveTwoRows) {
  NodeVms runs = RunsOfThree();
  runs.push_back(RunAt("b", v1::VM_STATE_UNREACHABLE, 22));
  for (NodeVm& run : runs)
    run.vm.mutable_ref()->set_run_id(absl::StrCat(run.vm.state_time().seconds()));
  NodeVms rows = RowsOf(runs, /*runs_known=*/true);
  SortVms({.order = VmOrder::kName}, &rows);
  EXPECT_THAT(NamesOf(rows), ElementsAre("a", "b", "b", "c"));
  EXPECT_EQ(rows[1].ends.value_or(0) + rows[2].ends.value_or(0), 2);
}

TEST(RowsOf, TwoUuidsOfOneNameAreTwoVms) {
  NodeVms runs = {RunAt("db1", v1::VM_STATE_STOPPED, 5, v1::SHUTDOWN_CLASS_CRASH),
                  RunAt("db1", v1::VM_STATE_STOPPED, 10, v1::SHUTDOWN_CLASS_USER),
                  RunAt("db1", v1::VM_STATE_RUNNING, 20)};
  runs[0].vm.mutable_ref()->set_uuid("1111");
  runs[2].vm.mutable_ref()->set_uuid("1111");
  EXPECT_EQ(RowsOf(runs, true).size(), 1u) << "without a UUID it is of the only VM that has one";
  runs[2].vm.mutable_ref()->set_uuid("2222");
  runs[1].vm.mutable_ref()->set_uuid("2222");
  const NodeVms rows = RowsOf(runs, true);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].vm.ref().uuid(), "1111");
  EXPECT_EQ(rows[0].end()->shutdown_class(), v1::SHUTDOWN_CLASS_CRASH);
  EXPECT_EQ(rows[1].vm.state(), v1::VM_STATE_RUNNING);
  EXPECT_EQ(rows[1].ends, 1) << "its own";
}

TEST(TroubledVms, AreTheSameInANodesReportAndInTheListEvenIfANewVmHasTheName) {
  const absl::Time now = absl::FromUnixSeconds(100);
  NodeVms runs = {RunAt("db1", v1::VM_STATE_STOPPED, 5, v1::SHUTDOWN_CLASS_CRASH),
                  RunAt("db1", v1::VM_STATE_RUNNING, 20),
                  RunAt("web1", v1::VM_STATE_STOPPED, 30, v1::SHUTDOWN_CLASS_CRASH),
                  RunAt("web1", v1::VM_STATE_STOPPED, 40, v1::SHUTDOWN_CLASS_USER),
                  RunAt("web2", v1::VM_STATE_STOPPED, 50, v1::SHUTDOWN_CLASS_CRASH),
                  RunAt("web2", v1::VM_STATE_RUNNING, 51)};
  runs[0].vm.mutable_ref()->set_uuid("1111");
  runs[1].vm.mutable_ref()->set_uuid("2222");
  NodeReport report = {.node = {.name = "n1"}};
  for (const NodeVm& run : runs) {
    if (run.vm.state() != v1::VM_STATE_STOPPED) {
      report.vms.push_back(run);
      continue;
    }
    v1::Event end;
    *end.mutable_vm() = run.vm.ref();
    *end.mutable_observe_time() = run.vm.state_time();
    *end.mutable_shutdown() = run.vm.shutdown();
    report.ends.push_back({end});
  }
  NodeVms listed = RowsOf(runs, /*runs_known=*/true);
  std::erase_if(listed,
                [now](const NodeVm& row) { return TroubleOf(row, now) == TroubleKind::kNone; });
  EXPECT_THAT(NamesOf(listed), testing::UnorderedElementsAre("db1", "web2"));
  const NodeVms troubled = TroubledVms(report, now);
  EXPECT_THAT(NamesOf(troubled), ElementsAre("db1", "web2"));
  EXPECT_EQ(troubled[0].vm.state(), v1::VM_STATE_STOPPED);
  EXPECT_EQ(TroubleText(troubled[0], now), TroubleText(listed[0], now));
}

TEST(SortVms, SortsByStateNameAgeEndsOrClass) {
  const auto sorted = [](VmOrder order, bool runs) {
    NodeVms rows = runs ? RunsOfThree() : RowsOf(RunsOfThree(), true);
    SortVms({.runs = runs, .order = order}, &rows);
    return NamesOf(rows);
  };
  EXPECT_THAT(sorted(VmOrder::kState, false), ElementsAre("b", "c", "a"));
  EXPECT_THAT(sorted(VmOrder::kName, false), ElementsAre("a", "b", "c"));
  EXPECT_THAT(sorted(VmOrder::kAge, false), ElementsAre("c", "b", "a"));
  EXPECT_THAT(sorted(VmOrder::kEnds, false), ElementsAre("b", "a", "c"));
  EXPECT_THAT(sorted(VmOrder::kClass, false), ElementsAre("a", "b", "c"));
  EXPECT_THAT(sorted(VmOrder::kState, true), ElementsAre("c", "b", "b", "a", "b"));
}

TEST_F(CommandsTest, EventsStopsAtTheLimit) {
  ServeEvents(5000);
  EXPECT_FALSE(Run(EventsCommand{.limit = 1200}).has_value());
  EXPECT_EQ(Lines(), 1200U);
  ASSERT_THAT(requests_, SizeIs(2));
  EXPECT_EQ(requests_[0].page_size(), 1000);
}

TEST_F(CommandsTest, AGapOfTheNodeCountsOnlyIfItWasRequested) {
  server_.service().list_events = [](const v1::ListEventsRequest& request,
                                     v1::ListEventsResponse* response) {
    const uint64_t sequence = request.page_token().empty() ? 1 : 2;
    v1::Event* event = response->add_events();
    *event = MakeEvent(sequence);
    response->set_next_page_token(sequence == 1 ? "2" : "");
    if (sequence == 1) event->set_type(v1::EVENT_TYPE_GAP);
    if (sequence == 1) event->clear_vm();
    return grpc::Status::OK;
  };
  const auto lines = [this](const EventsCommand& command) {
    output_.text.clear();
    EXPECT_FALSE(Run(command));
    return Lines();
  };
  const auto of_web1 = FromText<v1::ListEventsRequest>("filter { vm_names: 'web1' }");
  const auto of_gaps = FromText<v1::ListEventsRequest>("filter { types: EVENT_TYPE_GAP }");
  EXPECT_EQ(lines({.request = of_web1, .limit = 1}), 2) << "the GAP besides";
  EXPECT_EQ(lines({.request = of_web1, .last = 1}), 2);
  EXPECT_EQ(lines({.limit = 1}), 1) << "all were asked for";
  EXPECT_EQ(lines({.request = of_gaps, .limit = 1}), 1);
  server_.service().list_vms = Answers<v1::ListVmsResponse>("");
  EXPECT_FALSE(With([&](const CommandContext& context) {
    DaemonLists lists(context.nodes.front());
    return CheckNames(of_web1.filter(), {}, &lists);
  })) << "the event behind the GAP has the name";
}

TEST_F(CommandsTest, TheLastEventsAreShownOldestFirst) {
  server_.service().list_events = [this](const v1::ListEventsRequest& request,
                                         v1::ListEventsResponse* response) {
    requests_.push_back(request);
    for (const uint64_t sequence : {9, 8}) *response->add_events() = MakeEvent(sequence);
    return grpc::Status::OK;
  };
  EXPECT_FALSE(Run(EventsCommand{.last = 2}).has_value());
  EXPECT_EQ(requests_[0].page_size(), 2);
  EXPECT_TRUE(requests_[0].newest_first());
  EXPECT_LT(output_.text.find("\"8\""), output_.text.find("\"9\""));
  output_.text.clear();
  EventsCommand newest_first = EventsOf("newest_first: true");
  newest_first.last = 2;
  EXPECT_FALSE(Run(newest_first).has_value());
  EXPECT_GT(output_.text.find("\"8\""), output_.text.find("\"9\""));
}

TEST_F(CommandsTest, EventsSendsItsFilterTimesAndOrder) {
  ServeEvents(1);
  EventsCommand command = EventsOf("filter { classes: SHUTDOWN_CLASS_CRASH } newest_first: true");
  command.SetTimes(absl::FromUnixSeconds(5), absl::FromUnixSeconds(9));
  Run(command);
  EXPECT_EQ(requests_[0].start_time().seconds(), 5);
  EXPECT_EQ(requests_[0].end_time().seconds(), 9);
  EXPECT_TRUE(requests_[0].newest_first());
  EXPECT_THAT(requests_[0].filter().classes(), ElementsAre(v1::SHUTDOWN_CLASS_CRASH));
}

TEST_F(CommandsTest, AReaderThatHasGoneEndsTheListQuietly) {
  ServeEvents(5000);
  output_.after_write = [this] {
    if (!output_.text.empty()) output_.status = absl::CancelledError("gone");
  };
  EXPECT_FALSE(Run(EventsCommand{}).has_value());
  EXPECT_THAT(requests_, SizeIs(2));
}

TEST_F(CommandsTest, VmsReadsAllPages) {
  server_.service().list_vms = [](const v1::ListVmsRequest& request,
                                  v1::ListVmsResponse* response) {
    EXPECT_TRUE(request.include_stopped());
    EXPECT_THAT(request.vm_names(), ElementsAre("web*"));
    EXPECT_THAT(request.sources(), ElementsAre("libvirt:*"));
    v1::Vm* const vm = response->add_vms();
    *vm = MakeVm(request.page_token().empty() ? "web1" : "web2");
    vm->set_state(v1::VM_STATE_STOPPED);
    if (request.page_token().empty()) response->set_next_page_token("more");
    return grpc::Status::OK;
  };
  EXPECT_FALSE(
      Run(VmsCommand{.filter = FromText<v1::EventFilter>("vm_names: 'web*' sources: 'libvirt:*'"),
                     .states = {v1::VM_STATE_STOPPED},
                     .include_stopped = true})
          .has_value());
  EXPECT_EQ(Lines(), 2U);
}

TEST_F(CommandsTest, StreamsPrintsTheStreamsOfEachPage) {
  server_.service().stream_pages = {
      FromText<v1::ListStreamsResponse>("streams { stream_id: '1' } next_page_token: '1'"),
      FromText<v1::ListStreamsResponse>("streams { stream_id: '2' }")};
  EXPECT_FALSE(Run(StreamsCommand{}).has_value());
  EXPECT_EQ(Lines(), 2U);
  EXPECT_THAT(output_.text, HasSubstr("\"stream_id\":\"2\""));
}

TEST_F(CommandsTest, HealthPrintsTheStatusAndFailsUnlessServing) {
  EXPECT_FALSE(Run(HealthCommand{"", absl::Minutes(1)}).has_value());
  EXPECT_EQ(output_.text, "{\"status\":\"SERVING\"}\n");
  output_.text.clear();
  server_.SetServing(false);
  EXPECT_THAT(Run(HealthCommand{"", absl::Minutes(1)}), Fails(ExitCode::kFailed, testing::_));
  EXPECT_EQ(output_.text, "{\"status\":\"NOT_SERVING\"}\n");
}

TEST_F(CommandsTest, HealthOfAllServicesStopsAtAnUnknownOne) {
  EXPECT_THAT(Run(HealthCommand{.timeout = absl::Minutes(1), .all = true}),
              Fails(ExitCode::kNotFound, AllOf(HasSubstr("has no service \"journal\""),
                                               HasSubstr("vmeventd.v1.VmEventService"))));
  EXPECT_EQ(output_.text, "{\"service\":\"vmeventd\",\"status\":\"SERVING\"}\n");
}

TEST_F(CommandsTest, ASuggestedCommandAsksTheSameServer) {
  const auto run = [this](const auto& command) {
    CommandContext context(server_.address(), &formatter_, &output_);
    context.nodes.front().invocation.client = "vmevents --context prod";
    return RunCommand(command, context);
  };
  server_.SetServing(false);
  EXPECT_THAT(run(HealthCommand{"", absl::Minutes(1)}),
              Fails(ExitCode::kFailed, HasSubstr("`vmevents --context prod info` or its log")));
  server_.service().declare_intent = Refuses(WithInfo(grpc::NOT_FOUND, "any words", "NO_SUCH_VM"));
  EXPECT_THAT(run(DeclareIntentCommand{"web1", "", "alice", "maintenance", std::nullopt}),
              Fails(ExitCode::kNotFound, HasSubstr("; `vmevents --context prod vms` lists those")));
}

TEST_F(CommandsTest, HealthOfAllServicesNamesEachThatDoesNotServe) {
  const std::map<std::string, std::string> services = KnownServices({});
  for (const auto& [service, why] : services) {
    server_.SetServing(service != "journal" && service != "watch", service);
  }
  EXPECT_THAT(Run(HealthCommand{.timeout = absl::Minutes(1), .all = true}),
              Fails(ExitCode::kFailed, AllOf(HasSubstr(" cannot write its journal"),
                                             HasSubstr("; it misses a directory of --watch"),
                                             Not(HasSubstr("libvirt")))));
  EXPECT_EQ(Lines(), services.size()) << "the daemon as a whole, and each service";
}

// A newer vmeventd may have such a service.
TEST_F(CommandsTest, HealthNamesAServiceThatItDoesNotKnow) {
  server_.SetServing(true, "third");
  EXPECT_FALSE(Run(HealthCommand{"third", absl::Minutes(1)}).has_value());
  server_.SetServing(false, "third");
  EXPECT_THAT(Run(HealthCommand{"third", absl::Minutes(1)}),
              Fails(ExitCode::kFailed, HasSubstr(" has a service \"third\" that does not serve")));
}

TEST(HealthServicesTest, TheClientKnowsTheDocumentedServices) {
  std::set<std::string> known = {v1::VmEventService::service_full_name()};
  for (const auto& [service, why] : KnownServices({})) known.insert(service);
  EXPECT_EQ(known, DocumentedServices());
}

TEST_F(CommandsTest, HealthOfAServerThatDoesNotAnswerEndsInTime) {
  // A socket that listens and never accepts.
  server_.Stop();
  const UniqueFd listener(e2e::ListenUnix(server_.address().path));
  EXPECT_THAT(Run(HealthCommand{"", absl::Milliseconds(50)}),
              Fails(ExitCode::kUnreachable, HasSubstr("did not answer in time")));
}

TEST_F(CommandsTest, EventsWaitsForARateLimit) {
  int refusals = 2;
  ServeEvents(1500);
  server_.service().list_events = [this, &refusals, serve = server_.service().list_events](
                                      const v1::ListEventsRequest& request,
                                      v1::ListEventsResponse* response) {
    if (!requests_.empty() && refusals-- > 0) {
      return grpc::Status(grpc::RESOURCE_EXHAUSTED, "too many requests");
    }
    return serve(request, response);
  };
  EXPECT_FALSE(Run(EventsCommand{}).has_value());
  EXPECT_EQ(Lines(), 1500U);
}

TEST_F(CommandsTest, AnErrorOfTheServerIsExplained) {
  const std::tuple<grpc::StatusCode, const char*, ExitCode, const char*> rows[] = {
      {grpc::PERMISSION_DENIED, "you may only read", ExitCode::kFailed, "does not permit"},
      {grpc::INVALID_ARGUMENT, "end_time: before start_time", ExitCode::kUsage, "not accept"},
      {grpc::INTERNAL, "the journal cannot be read", ExitCode::kFailed, "could not do this"}};
  for (const auto& [error, message, code, sentence] : rows) {
    server_.service().list_events = Refuses({error, message});
    EXPECT_THAT(Run(EventsCommand{}), Fails(code, AllOf(HasSubstr(message), HasSubstr(sentence))));
  }
  const std::pair<grpc::Status, ExitCode> unavailable[] = {
      {WithInfo(grpc::UNAVAILABLE, "not writable; try again later", "JOURNAL_UNAVAILABLE"),
       ExitCode::kFailed},  // it was reached
      {WithInfo(grpc::UNAVAILABLE, "stopping; try again later", "SHUTTING_DOWN"),
       ExitCode::kUnreachable},
      {{grpc::UNAVAILABLE, "starting"}, ExitCode::kUnreachable}};
  for (const auto& [status, code] : unavailable) {
    server_.service().declare_intent = Refuses(status);
    EXPECT_THAT(
        Run(DeclareIntentCommand{"web1", "", "alice", "maintenance", std::nullopt}),
        Fails(code, AllOf(HasSubstr(status.error_message()),
                          Not(testing::ContainsRegex("try.*try")), HasSubstr("try again"))));
  }
  server_.Stop();
  EXPECT_THAT(Run(InfoCommand{}), Fails(ExitCode::kUnreachable, testing::_));
}

TEST_F(CommandsTest, DeclaresAnIntentAndShowsIt) {
  server_.service().declare_intent = [](const v1::DeclareIntentRequest& request,
                                        v1::DeclareIntentResponse* response) {
    EXPECT_EQ(request.vm_name(), "web1");
    EXPECT_EQ(request.run_id(), "run-1");
    EXPECT_EQ(request.ttl().seconds(), 300);
    response->mutable_intent()->set_intent_id("intent-1");
    response->mutable_intent()->set_actor(request.actor());
    response->mutable_intent()->set_reason(request.reason());
    return grpc::Status::OK;
  };
  const DeclareIntentCommand command = {"web1", "run-1", "alice", "maintenance", absl::Minutes(5)};
  EXPECT_FALSE(Run(command).has_value());
  EXPECT_THAT(output_.text, HasSubstr("\"intent_id\":\"intent-1\""));
  EXPECT_THAT(output_.text, HasSubstr("\"reason\":\"maintenance\""));
}

TEST_F(CommandsTest, ExplainsWhyAnIntentWasNotDeclared) {
  const DeclareIntentCommand command = {"web1", "", "alice", "maintenance", std::nullopt};
  const auto refuse = [this](grpc::StatusCode code, const std::string& reason,
                             const std::map<std::string, std::string>& metadata = {}) {
    server_.service().declare_intent = Refuses(WithInfo(code, "any words", reason, metadata));
  };
  refuse(grpc::NOT_FOUND, "NO_SUCH_VM");
  EXPECT_THAT(Run(command), Fails(ExitCode::kNotFound, HasSubstr("no VM \"web1\" runs")));
  refuse(grpc::FAILED_PRECONDITION, "SEVERAL_VMS_RUN", {{"run_ids", "a,b"}});
  EXPECT_THAT(Run(command),
              Fails(ExitCode::kFailed, HasSubstr("choose one with --run RUN_ID: a, b")));
  refuse(grpc::FAILED_PRECONDITION, "END_IS_DECIDED", {{"vm_name", "web1.a"}});
  EXPECT_THAT(Run(command), Fails(ExitCode::kFailed, "\"web1.a\": any words"));
  refuse(grpc::FAILED_PRECONDITION, "RUN_IS_LATER");
  EXPECT_THAT(Run(command), Fails(ExitCode::kFailed, "\"web1\": any words"));
  refuse(grpc::ALREADY_EXISTS, "INTENT_IS_OPEN", {{"intent_id", "intent-0"}, {"actor", "bob"}});
  EXPECT_THAT(Run(command),
              Fails(ExitCode::kFailed,
                    "\"web1\": the run has an open intent, intent-0, declared by \"bob\": leave it "
                    "open, or withdraw it first with `vmevents intent withdraw intent-0`"));
}

TEST_F(CommandsTest, ListsTheVmsThatHaveAnOpenIntent) {
  server_.service().list_vms = Answers<v1::ListVmsResponse>(
      "vms { ref { name: 'web1' } } vms { ref { name: 'web2' } intent { intent_id: 'intent-2' } }");
  EXPECT_FALSE(Run(IntentsCommand{}).has_value());
  EXPECT_EQ(Lines(), 1U);
  EXPECT_THAT(output_.text, AllOf(testing::StartsWith("{\"vm\":{\"name\":\"web2\""),
                                  HasSubstr("\"intent_id\":\"intent-2\"")));
}

}  // namespace
}  // namespace vmeventd::client
