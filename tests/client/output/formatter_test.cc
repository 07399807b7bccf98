#include "client/output/formatter.h"

#include <string>
#include <utility>

#include "absl/strings/str_split.h"
#include "client/output/event_text.h"
#include "client/output/node_state.h"
#include "client/output/trouble.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/fake_server.h"
#include "tests/support/status_matchers.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

v1::ShutdownDetail PowerdownShutdown() {
  return FromText<v1::ShutdownDetail>(R"(
      shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_POWERDOWN
      rule: 'guest-shutdown-in-window' powerdown_age { seconds: 4 }
      evidence { time { seconds: 1782907200 } what: 'POWERDOWN' }
      evidence { what: 'SHUTDOWN reason=guest-shutdown' })");
}

v1::Intent OpenIntent() {
  return FromText<v1::Intent>(
      "intent_id: 'intent-7' actor: 'alice' reason: 'maintenance' "
      "expire_time { seconds: 1782907200 }");
}

absl::Time Noon() { return absl::FromUnixSeconds(1782907200); }

const TableStyle kNarrow = {.width = 80, .brief = true, .now = Noon};  // a terminal

v1::Event StoppedEvent() {
  v1::Event event = MakeEvent(42);
  event.set_type(v1::EVENT_TYPE_STOPPED);
  event.set_message("the host pressed the power button and the guest obeyed");
  *event.mutable_shutdown() = PowerdownShutdown();
  return event;
}

// The rows of events that come one by one, below a heading.
std::string Rows(const TableStyle& style, Formatter::Events events) {
  TableFormatter formatter(style);
  static_cast<void>(formatter.FormatEvents({}));
  return *formatter.FormatEvents(events);
}

std::string EventLine(const v1::Event& event, bool color = false, bool wide = false) {
  return Rows({.color = color, .wide = wide}, {{event}});
}

TEST(TableFormatter, AStoppedRowIsOneLineAndAWideOneHasTheEvidenceInASentence) {
  EXPECT_EQ(EventLine(StoppedEvent()),
            "2026-07-01 12:00:00  web1              STOPPED     ADMIN    host powerdown\n");
  EXPECT_THAT(EventLine(StoppedEvent(), false, true),
              testing::EndsWith("  The host pressed the power button and the guest obeyed. Seen: "
                                "POWERDOWN, SHUTDOWN reason=guest-shutdown.\n"));
}

TEST(TableFormatter, AnEndThatNobodySawHasTwoTimes) {
  v1::Event event = StoppedEvent();
  event.mutable_shutdown()->mutable_last_seen_time()->set_seconds(1782907186);
  EXPECT_THAT(EventLine(event),
              testing::EndsWith("  ended between 11:59:46 and 12:00:00: host powerdown\n"));
  event.mutable_shutdown()->mutable_last_seen_time()->set_seconds(1782820786);
  EXPECT_THAT(EventLine(event), HasSubstr("between 2026-06-30 11:59:46 and 2026-07-01 12:00:00"));
}

TEST(TableFormatter, AStoppedRowHasTheExitThatSaysMore) {
  v1::Event event = StoppedEvent();
  event.mutable_shutdown()->set_exit_code(0);
  EXPECT_THAT(EventLine(event), testing::EndsWith("  host powerdown\n"));
  event.mutable_shutdown()->set_exit_code(3);
  EXPECT_THAT(EventLine(event), testing::EndsWith("  host powerdown, exit 3\n"));
  event.mutable_shutdown()->mutable_exit_signal()->set_number(11);
  EXPECT_THAT(EventLine(event), testing::EndsWith("  host powerdown, SIGSEGV\n"));
  v1::SignalSender* const sender = event.mutable_shutdown()->mutable_sender();
  sender->set_signal(9);
  sender->set_pid(7);
  event.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_HOST_KILL);
  EXPECT_THAT(EventLine(event), testing::EndsWith("  host kill by pid 7\n"));
  sender->set_uid(0);
  sender->set_command("virtqemud");
  EXPECT_THAT(EventLine(event), testing::EndsWith("  host kill by virtqemud\n"));
  event.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_NEVER_RAN);
  EXPECT_THAT(EventLine(event), testing::EndsWith("  never ran, SIGSEGV\n")) << "no act of its";
  *event.mutable_shutdown()->mutable_intent() = OpenIntent();
  EXPECT_THAT(EventLine(event), testing::EndsWith("  alice: maintenance; never ran, SIGSEGV\n"));
}

TEST(TableFormatter, DetailBeginsWithin80Columns) {
  for (const bool nodes : {false, true}) {
    TableFormatter formatter({.nodes = nodes, .brief = true, .now = Noon});
    EXPECT_LE(formatter.FormatEvents({})->find("DETAIL"), 80U);
  }
  TableFormatter formatter({});
  EXPECT_LE(formatter.FormatEvents({})->find("DETAIL"), 80U) << "with dates";
}

TEST(TableFormatter, EachTypeFitsItsColumnAndEachRowItsLine) {
  NodeEvents events;
  for (int type = v1::EventType_MIN; type <= v1::EventType_MAX; ++type) {
    events.push_back({StoppedEvent()});
    v1::Event* const event = &events.back().event;
    event->set_type(static_cast<v1::EventType>(type));
    event->mutable_vm()->set_name("web" + std::string(static_cast<size_t>(type), 'x'));
    event->mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_MIGRATION_UNFINISHED);
  }
  for (const size_t width : {80U, 120U}) {
    for (const bool nodes : {false, true}) {
      TableStyle style = kNarrow;
      style.width = width;
      style.nodes = nodes;
      const std::string text = Rows(style, events);
      for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
        EXPECT_LE(DisplayWidth(line), width) << line;
        EXPECT_EQ(DisplayWidth(line.substr(0, line.find("ADMIN"))),
                  DisplayWidth(text.substr(0, text.find("ADMIN"))))
            << line;
      }
      EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), events.size()) << text;
    }
  }
}

TEST(TableFormatter, NamesTheNodeOfEachEvent) {
  const std::string text = Rows({.nodes = true, .brief = true, .now = Noon},
                                {{MakeEvent(1), {"node1"}}, {MakeEvent(2), {"node2"}}});
  EXPECT_THAT(text, HasSubstr("Jul 01 12:00:00   node1         web1 "));
  EXPECT_THAT(text, HasSubstr("Jul 01 12:00:00   node2         web1 "));
}

TEST(TableFormatter, WideShowsTheRunAndNoLimit) {
  v1::Event event = StoppedEvent();
  event.mutable_vm()->set_run_id("run-7");
  event.set_state(v1::VM_STATE_STOPPED);
  const std::string text = Rows({.wide = true, .width = 80, .brief = true, .now = Noon}, {{event}});
  EXPECT_THAT(text, HasSubstr("2026-07-01 12:00:00.123"));
  EXPECT_THAT(text, HasSubstr("STOPPED      run-7"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST(TableFormatter, HeadingsMayBeLeftOut) {
  TableFormatter formatter({.headings = false});
  EXPECT_EQ(*formatter.FormatEvents({}), "");
  EXPECT_EQ(*formatter.FormatVms({}), "");
}

TEST(TableFormatter, ListsOpenIntents) {
  NodeVms vms = {{MakeVm("web1")}};
  *vms[0].vm.mutable_intent() = OpenIntent();
  EXPECT_EQ(*TableFormatter({}).FormatIntents(vms),
            "INTENT    VM    ACTOR  EXPIRES              REASON\n"
            "intent-7  web1  alice  2026-07-01 12:00:00  maintenance\n");
}

TEST(TableFormatter, AnEventThatIsNotDurableIsMarked) {
  v1::Event event = StoppedEvent();
  EXPECT_THAT(EventLine(event), Not(HasSubstr("not durable")));
  event.set_durable(false);
  EXPECT_THAT(EventLine(event), HasSubstr("ADMIN    (not durable) host powerdown\n"));
}

TEST(TableFormatter, ShowsTimesInTheZone) {
  EXPECT_THAT(Rows({.zone = absl::FixedTimeZone(7200)}, {{MakeEvent(1)}}),
              HasSubstr("2026-07-01 14:00:00 "));
}

TEST(TableFormatter, ColoursTheClass) {
  EXPECT_THAT(EventLine(StoppedEvent(), true), HasSubstr("\x1b[34mADMIN\x1b[0m"));
  EXPECT_THAT(EventLine(StoppedEvent(), false), Not(HasSubstr("\x1b")));
}

// Sets each text of the message, and of those in it.
void Poison(google::protobuf::Message* message, const std::string& text, int depth = 4) {
  const google::protobuf::Reflection& reflection = *message->GetReflection();
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const auto* field = message->GetDescriptor()->field(i);
    if (field->cpp_type() == field->CPPTYPE_STRING && field->is_repeated()) {
      reflection.AddString(message, field, text);
    } else if (field->cpp_type() == field->CPPTYPE_STRING) {
      reflection.SetString(message, field, text);
    } else if (field->cpp_type() == field->CPPTYPE_MESSAGE && depth > 0) {
      Poison(field->is_repeated() ? reflection.AddMessage(message, field)
                                  : reflection.MutableMessage(message, field),
             text, depth - 1);
    }
  }
}

TEST(Formatter, TheServersTextDoesNotControlTheTerminal) {
  const std::string evil = "x\x1b]0;owned\x07\n\xc2\x9b\xe2\x80\xae";
  v1::GetServerInfoResponse info;
  Poison(&info, evil);
  std::vector<NodeStream> streams(1);
  Poison(&streams[0].stream, evil);
  Formatter::Heartbeats nodes;
  Poison(nodes.Add(), evil);
  NodeVms vms(2);  // the second is from no such source: they are shown
  Poison(&vms[0].vm, evil);
  vms[0].node.name = evil;
  NodeEvents events(1);
  Poison(&events[0].event, evil);
  NodeReport report = {.node = vms[0].node, .info = info, .vms = vms, .ends = events};
  VmStory story = {.name = evil, .end = events[0], .vm = vms[0]};
  story.end->node.name = evil + evil;
  const std::pair<Form, TableStyle> forms[] = {{Form::kTable, {.nodes = true}},
                                               {Form::kTable, {.nodes = true, .wide = true}},
                                               {Form::kTable, {.markdown = true}},
                                               {Form::kName, {}}};
  for (const auto& [form, style] : forms) {
    Formatter formatter(form, style);
    std::string all = *formatter.FormatEvents({}) + *formatter.FormatVms(vms) +
                      *formatter.FormatIntents(vms) + *formatter.FormatInfo(info) +
                      *formatter.FormatStreams(streams) + *formatter.FormatFleet(nodes, Noon()) +
                      *formatter.FormatNodes({report}, Noon()) +
                      formatter.FormatTrouble(vms, Noon(), 2);
    for (int cause = 0; cause <= v1::ShutdownCause_MAX; ++cause) {
      for (v1::Event* event : {&events[0].event, &story.end->event}) {
        event->mutable_shutdown()->set_cause(static_cast<v1::ShutdownCause>(cause));
      }
      const std::string row = *formatter.FormatEvents(events);
      EXPECT_EQ(std::count(row.begin(), row.end(), '\n'), 1);
      all += row + *formatter.FormatWhy(story);
    }
    for (const char* bad : {"\x1b", "\x07", "\xc2\x9b", "\xe2\x80\xae"}) {
      EXPECT_THAT(all, Not(HasSubstr(bad)));
    }
  }
}

TEST(TableFormatter, AStreamIsItsClientAndHowFarItIs) {
  const std::vector<NodeStream> streams = {{FromText<v1::Stream>(R"(
          stream_id: '1f' peer: 'user 1000' sequence: 7 filter { vm_names: 'web*' })")},
                                           {FromText<v1::Stream>(R"(
          stream_id: '2f' peer: '10.0.0.7' certificate_names: 'URI spiffe://site/mover' sequence: 5
          lag: 2 filter { types: EVENT_TYPE_STOPPED })")}};
  EXPECT_EQ(*TableFormatter({}).FormatStreams(streams),
            "STREAM  CLIENT                   OPEN  SEQUENCE  LAG  FILTER\n"
            "1f      user 1000                -     7         0    vm_names: \"web*\"\n"
            "2f      URI spiffe://site/mover  -     5         2    types: EVENT_TYPE_STOPPED\n");
}

TEST(Formatter, AnEventOfTheWholeNodeIsLeftOutWhereItWasNotAskedFor) {
  v1::Event gap = MakeEvent(2);
  gap.clear_vm();
  gap.set_type(v1::EVENT_TYPE_GAP);
  const NodeEvents events = {{MakeEvent(1)}, {gap}};
  const auto lines = [&events](bool node_events) {
    const std::string text =
        *Formatter(Form::kJson, {.node_events = node_events}).FormatEvents(events);
    return std::count(text.begin(), text.end(), '\n');
  };
  EXPECT_EQ(lines(true), 2);
  EXPECT_EQ(lines(false), 1);
}

TEST(TableFormatter, ANodeIsARowAndOneThatIsAwayToo) {
  NodeReport up = {.node = {.name = "n1"}};
  up.info = FromText<v1::GetServerInfoResponse>(
      "version: '1.0.0' vms: 2 journal_writable: true start_time { seconds: 1782907000 }");
  NodeVm paused = {MakeVm("db1")};
  paused.vm.set_state(v1::VM_STATE_PAUSED);
  up.vms = {paused, {MakeVm("web1")}};
  v1::Event crash = StoppedEvent();
  crash.mutable_vm()->set_name("web1");
  crash.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  *crash.mutable_observe_time() = ToProto(Noon() - absl::Hours(1));
  up.ends = {{crash}};
  NodeReport away = {.node = {.name = "n2"}, .problem = "no answer"};
  EXPECT_THAT(*TableFormatter({.nodes = true}).FormatNodes({up, away}, Noon()),
              testing::MatchesRegex("NODE  UP +VMS  TROUBLE  ENDS-24H    JOURNAL   VERSION\n"
                                    "n1    [^ ]+ +2    2        1, CRASH 1  writable  1.0.0\n"
                                    "n2    AWAY +-    -        -           -         -\n"));
  EXPECT_THAT(*JsonFormatter().FormatNodes({up, away}, Noon()),
              AllOf(HasSubstr("\"node\":\"n1\""), HasSubstr("\"reachable\":true"),
                    HasSubstr("\"vm\":\"db1\""), HasSubstr("\"ends_in_24h\":{\"CRASH\":1}"),
                    HasSubstr("{\"node\":\"n2\",\"reachable\":false,\"problem\":\"no answer\"")));
}

TEST(TableFormatter, ACountSaysWhatItCounts) {
  EXPECT_EQ(*TableFormatter({}).FormatCounts("vm", "ends", {{"web1", 3}}, /*csv=*/false),
            "ENDS    VM\n3       web1\n");
  EXPECT_EQ(*TableFormatter({}).FormatCounts("vm", "ends", {{"web1", 3}}, /*csv=*/true),
            "vm,events\n\"web1\",3\n");
}

TEST(TableFormatter, TheStatesOfAllServicesAreInOneColumn) {
  NodeHealth up = {.node = "n1", .service = "journal"};
  up.health.set_status(grpc::health::v1::HealthCheckResponse::SERVING);
  const NodeHealth away = {.node = "a-node-of-a-long-name.example"};
  EXPECT_EQ(*TableFormatter({}).FormatHealth({up, away}),
            "n1                             journal   SERVING\n"
            "a-node-of-a-long-name.example            UNKNOWN\n");
  EXPECT_EQ(*TableFormatter({}).FormatHealth({{.health = up.health}}), "SERVING\n");
}

TEST(TableFormatter, TroubleHasItsCauseAndTheLineThatExplainsIt) {
  NodeVm silent = {MakeVm("db1")};
  silent.vm.set_state(v1::VM_STATE_UNREACHABLE);
  silent.vm.add_problems()->set_text("monitor held by another client");
  NodeVm crashed = {MakeVm("my web")};
  crashed.ends = 1;
  crashed.last_end.set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  crashed.last_end.set_cause(v1::SHUTDOWN_CAUSE_GUEST_PANIC);
  crashed.last_end_time = Noon() - absl::Hours(2);
  const std::vector<NodeVm> vms = {silent, crashed, silent};
  const std::string text =
      TableFormatter({.invocation = {.client = "vmevents -x"}}).FormatTrouble(vms, Noon(), 2);
  EXPECT_THAT(text, HasSubstr("monitor held by another client\n"));
  EXPECT_THAT(text, HasSubstr("crashed 2 h ago: guest panic\n"));
  EXPECT_THAT(text, testing::EndsWith("and 1 more: vmevents -x vms --trouble\n"
                                      "why: vmevents -x why db1 'my web'\n"));
}

TEST(TableFormatter, TroubleNamesItsVmsAsTheCommandThatExplainsThemTakesThem) {
  NodeVms vms = {{MakeVm("web2")}, {MakeVm("-dash")}, {MakeVm("a\n*")}};
  EXPECT_THAT(TableFormatter({}).FormatTrouble(vms, Noon(), 1),
              testing::EndsWith("why: vmevents why web2\n"));
  EXPECT_THAT(TableFormatter({}).FormatTrouble(vms, Noon(), 3),
              testing::EndsWith("why: vmevents why -- web2 -dash $'a\\n[*]'\n"));
}

TEST(TableFormatter, AnEndOfWhichNobodyKnowsWhyIsTroubleForADay) {
  NodeVm ended = {MakeVm("web1")};
  ended.vm.set_state(v1::VM_STATE_STOPPED);
  *ended.vm.mutable_state_time() = ToProto(Noon());
  ended.vm.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_UNKNOWN);
  ended.vm.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_UNOBSERVED);
  const absl::Time later = Noon() + absl::Hours(2);
  EXPECT_EQ(TroubleOf(ended, later), TroubleKind::kEndedUnknown);
  EXPECT_EQ(TroubleText(ended, later), "ended 2 h ago, and why is not known: unobserved");
  EXPECT_EQ(TroubleOf(ended, Noon() + absl::Hours(24)), TroubleKind::kNone);
  NodeReport report = {.node = {.name = "n1"}};
  v1::Event end = StoppedEvent();
  end.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_UNKNOWN);
  report.ends = {{end}};
  EXPECT_EQ(TroubledVms(report, later).size(), 1);
  const std::string table = *TableFormatter({.nodes = true}).FormatNodes({report}, later);
  EXPECT_THAT(table, HasSubstr("  1, UNKNOWN 1  "));
}

TEST(TableFormatter, AnIntentSaysHowItEnded) {
  v1::Event event = MakeEvent(42);
  event.set_type(v1::EVENT_TYPE_INTENT_ENDED);
  *event.mutable_intent() = OpenIntent();
  for (const auto& [end, name] : {std::pair(v1::INTENT_END_EXPIRED, " INTENT_EXPIRED "),
                                  std::pair(v1::INTENT_END_REPLACED, " INTENT_REPLACED "),
                                  std::pair(v1::INTENT_END_WITHDRAWN, " INTENT_WITHDRAWN ")}) {
    event.set_intent_end(end);
    EXPECT_THAT(EventLine(event, false, true), HasSubstr(name));
    EXPECT_THAT(EventLine(event), HasSubstr(" INTENT_END "));
  }
  EXPECT_EQ(*ParseEnumName(*v1::EventType_descriptor(), "intent-expired"),
            v1::EVENT_TYPE_INTENT_ENDED);
}

TEST(TableFormatter, TroubleIsAPauseWithItsReasonAndAnIntentThatWaits) {
  NodeVm paused = {MakeVm("db1")};
  paused.vm.set_state(v1::VM_STATE_PAUSED);
  paused.vm.set_pause_reason("io-error");
  EXPECT_EQ(TroubleOf(paused, Noon()), TroubleKind::kPaused);
  EXPECT_EQ(TroubleText(paused, Noon()), "paused after an I/O error");
  NodeVm waits = {MakeVm("web1")};
  waits.vm.mutable_intent()->set_actor("alice");
  waits.vm.mutable_intent()->set_reason("node is emptied");
  *waits.vm.mutable_intent()->mutable_expire_time() = ToProto(Noon() + kLateIntent);
  EXPECT_EQ(TroubleOf(waits, Noon()), TroubleKind::kNone);
  const absl::Time later = Noon() + absl::Seconds(90);
  EXPECT_EQ(TroubleOf(waits, later), TroubleKind::kIntentWaits);
  EXPECT_EQ(TroubleText(waits, later),
            "intent of alice: node is emptied, which expires in 30 s while the VM runs");
  waits.vm.set_state(v1::VM_STATE_STOPPED);
  EXPECT_EQ(TroubleOf(waits, later), TroubleKind::kNone);
}

TEST(TableFormatter, TheClassAndTheEvidenceAreShownOnce) {
  v1::Event event = StoppedEvent();
  event.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
  event.set_message("the guest obeyed");
  EXPECT_THAT(EventLine(event, false, true),
              testing::EndsWith("  The guest obeyed. Seen: POWERDOWN, "
                                "SHUTDOWN reason=guest-shutdown.\n"));
}

TEST(TableFormatter, AnUnknownEventTypeIsShownAsItsNumber) {
  v1::Event event = MakeEvent(1);
  event.set_type(static_cast<v1::EventType>(99));
  EXPECT_THAT(EventLine(event), HasSubstr("99"));
}

TEST(TableFormatter, ListsVms) {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("a-longer-name")}};
  vms[0].vm.mutable_ref()->set_pid(4711);
  vms[0].vm.set_qemu_version("7.2.22");
  vms[0].vm.mutable_state_time()->set_seconds(1782907200);
  vms[0].ends = 3;
  vms[0].last_end.set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  vms[0].last_end.set_cause(v1::SHUTDOWN_CAUSE_GUEST_PANIC);
  vms[1].vm.set_state(v1::VM_STATE_STOPPED);
  *vms[1].vm.mutable_shutdown() = PowerdownShutdown();
  EXPECT_EQ(*TableFormatter({}).FormatVms(vms),
            "VM             STATE    ENDS  CLASS  WHY\n"
            "web1           RUNNING  3     CRASH  guest panic\n"
            "a-longer-name  STOPPED  -     ADMIN  host powerdown\n");
  const std::string wide = *TableFormatter({.wide = true}).FormatVms(vms);
  EXPECT_THAT(wide, HasSubstr("host powerdown. Seen: POWERDOWN, SHUTDOWN reason=guest-shutdown."));
  EXPECT_THAT(wide, HasSubstr("  4711  7.2.22  "));
  EXPECT_THAT(wide, HasSubstr("2026-07-01 12:00:00.000"));
}

TEST(TableFormatter, VmsOfOneNameHaveTheirUuidsOrRuns) {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("web1")}};
  EXPECT_THAT(*TableFormatter({}).FormatVms(vms), Not(HasSubstr("UUID"))) << "of one VM";
  vms[0].vm.mutable_ref()->set_run_id("run-1");
  vms[1].vm.mutable_ref()->set_uuid("uuid-2");
  EXPECT_EQ(*TableFormatter({}).FormatVms(vms),
            "VM    UUID    STATE    CLASS  WHY\n"
            "web1  run-1   RUNNING\n"
            "web1  uuid-2  RUNNING\n");
  vms[1].node.name = "node2";
  EXPECT_THAT(*TableFormatter({}).FormatVms(vms), Not(HasSubstr("UUID"))) << "of two nodes";
}

TEST(TableFormatter, ShowsHowLongAVmIsInItsState) {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("web2")}};
  vms[0].vm.mutable_state_time()->set_seconds(1782907200 - 200);
  vms[1].vm.add_problems()->set_text("monitor held by another client");
  EXPECT_EQ(*TableFormatter(kNarrow).FormatVms(vms),
            "VM    STATE    AGE    CLASS  WHY\n"
            "web1  RUNNING  3m20s\n"
            "web2  RUNNING  -             monitor held by another client\n");
}

TEST(TableFormatter, AWideTableHasTheSourcesOfVms) {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("web2")}};
  vms[0].vm.mutable_ref()->set_source("qmp:/run/qemu");
  vms[1].vm.mutable_ref()->set_source("libvirt:qemu:///system");
  EXPECT_THAT(*TableFormatter({}).FormatVms(vms),
              Not(AnyOf(HasSubstr("SOURCE"), HasSubstr("qmp"))));
  EXPECT_THAT(*TableFormatter({.wide = true}).FormatVms(vms),
              AllOf(HasSubstr("SOURCE"), HasSubstr("  qmp:/run/qemu  "),
                    HasSubstr("  libvirt:qemu:///system  ")));
}

TEST(TableFormatter, ShowsTheServersInfo) {
  auto info = FromText<v1::GetServerInfoResponse>(R"(
      version: '1.0.0' vms: 3 journal_writable: true
      directories { path: '/run/ctrl' pattern: '*.kvmd' present: true sockets: 3 }
      directories { path: '/run/other' }
      listeners { address: 'unix:/run/a.sock' listening: true }
      listeners { address: 'unix:/mnt/b.sock' })");
  const std::string text = *TableFormatter({}).FormatInfo(info);
  EXPECT_THAT(text, HasSubstr("closed          unix:/mnt/b.sock  cannot be listened on"));
  EXPECT_THAT(text, Not(HasSubstr("/run/a.sock")));
  EXPECT_THAT(text, HasSubstr("version         1.0.0\n"));
  EXPECT_THAT(text, HasSubstr("watched         /run/ctrl:*.kvmd  3 sockets\n"));
  EXPECT_THAT(text, HasSubstr("                /run/other:  missing\n"));
  info.mutable_directories(0)->set_sockets(1);
  EXPECT_THAT(*TableFormatter({}).FormatInfo(info), HasSubstr("*.kvmd  1 socket\n"));
  info.add_unfollowed_sockets()->set_path("/run/ctrl/a.kvmd");
  EXPECT_THAT(*TableFormatter({}).FormatInfo(info),
              AllOf(HasSubstr("without a VM    /run/ctrl/a.kvmd"), Not(HasSubstr("more"))));
  while (info.unfollowed_sockets_size() < 1000) info.add_unfollowed_sockets();
  EXPECT_THAT(*TableFormatter({}).FormatInfo(info), HasSubstr("vmeventd lists at most 1000"));
}

TEST(TableFormatter, ShowsTheConnectionsToLibvirt) {
  const auto info = FromText<v1::GetServerInfoResponse>(R"(
      libvirt_connections { uri: 'qemu:///system' connected: true domains: 1 }
      libvirt_connections { uri: 'qemu:///session' problem { text: 'Connection refused' }
                            since { seconds: 1782907200 } })");
  EXPECT_THAT(*TableFormatter({}).FormatInfo(info),
              HasSubstr("libvirt         qemu:///system  1 domain\n"
                        "                qemu:///session  not connected since 2026-07-01 "
                        "12:00:00: Connection refused\n"));
}

TEST(TableFormatter, TheEventsOfASnapshotStandInATableOfTheirOwn) {
  TableFormatter formatter({});
  EXPECT_THAT(*formatter.FormatVms({}), testing::StartsWith("VM"));
  EXPECT_THAT(*formatter.FormatEvents({}), testing::StartsWith("\nTIME"));
}

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
  TableFormatter formatter({});
  EXPECT_EQ(*formatter.FormatFleet(nodes, now),
            "NODE  STATE   SEEN                 LAST EVENT  LAG  VMS  VERSION  JOURNAL\n"
            "n1    up      2026-07-01 12:00:00  -           3    0\n"
            "n2    silent  2026-07-01 11:58:29  -           3    0\n");
  nodes.Mutable(1)->set_cluster("test");
  EXPECT_THAT(*formatter.FormatFleet(nodes, now), HasSubstr("test     n2"));
  EXPECT_THAT(*TableFormatter({.wide = true}).FormatFleet(nodes, now), HasSubstr("PUBLISHED"));
}

TEST(FormatFleet, ANameThatTwoNodesHaveIsTheState) {
  Formatter::Heartbeats nodes;
  *nodes.Add() = Node("n1", 0, 30);
  nodes.Mutable(0)->set_other_journal_id("journal-b");
  EXPECT_THAT(*TableFormatter({}).FormatFleet(nodes, absl::FromUnixSeconds(kNow)),
              HasSubstr("n1    name shared"));
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
  TableFormatter formatter({.nodes = true});
  const auto row = [&formatter](const char* cluster) {
    return *formatter.FormatEvents({{MakeEvent(1), {"n1", cluster}}});
  };
  EXPECT_THAT(row("prod"), Not(HasSubstr("prod")));
  EXPECT_THAT(row("test"), HasSubstr("test/n1"));
  EXPECT_THAT(row("prod"), HasSubstr("prod/n1"));
}

TEST(JsonFormatter, PrintsOneObjectALine) {
  NodeEvents events = {{MakeEvent(1)}, {MakeEvent(2)}};
  events[1].event.set_message("two\nlines\x1b");
  const std::string text = *JsonFormatter().FormatEvents(events);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_THAT(text, HasSubstr("two\\nlines\\u001b"));
}

TEST(JsonFormatter, UsesTheContractsNamesAndTimesInUtc) {
  NodeEvents events = {{MakeEvent(7)}};
  events[0].event.set_type(v1::EVENT_TYPE_STOPPED);
  events[0].event.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_USER);
  const std::string text = *JsonFormatter().FormatEvents(events);
  EXPECT_THAT(text, HasSubstr("\"sequence\":\"7\""));
  EXPECT_THAT(text, HasSubstr("\"observe_time\":\"2026-07-01T12:00:00.123Z\""));
  EXPECT_THAT(text, HasSubstr("\"type\":\"EVENT_TYPE_STOPPED\""));
  EXPECT_THAT(text, HasSubstr("\"shutdown_class\":\"SHUTDOWN_CLASS_USER\""));
  EXPECT_THAT(text, Not(HasSubstr("gap_reason")));
  EXPECT_THAT(text, Not(HasSubstr("intent_end")));
}

TEST(JsonFormatter, PrintsFieldsThatAreZeroButNoUnsetMessage) {
  v1::GetServerInfoResponse info;
  const std::string text = *JsonFormatter().FormatInfo(info);
  EXPECT_THAT(text, HasSubstr("\"vms\":0"));
  EXPECT_THAT(text, HasSubstr("\"journal_writable\":false"));
  EXPECT_THAT(text, HasSubstr("\"directories\":[]"));
  EXPECT_THAT(text, Not(HasSubstr("start_time")));
}

TEST(JsonFormatter, NamesWhatCannotBeWritten) {
  v1::Vm vm = MakeVm("web1");
  vm.mutable_state_time()->set_seconds(INT64_MAX);
  const auto text = JsonFormatter().FormatVms({{vm}});
  ASSERT_FALSE(text.ok());
  EXPECT_THAT(text, Says("a Vm of the server"));
}

TEST(NameFormatter, PrintsTheNameOfEachVm) {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("b\n")}};
  EXPECT_EQ(*NameFormatter().FormatVms(vms), "web1\nb\\x0a\n");
  vms[0].node.name = "node1";
  vms[1].node.name = "node2";
  EXPECT_EQ(*NameFormatter().FormatVms(vms), "web1\nb\\x0a\n") << "as commands take it";
}

TEST(NameFormatter, ANameCompletesAWord) {
  EXPECT_EQ(*Formatter(Form::kName, {.before = "a,"}).FormatVms(NodeVms{{MakeVm("web1")}}),
            "web1\na,web1\n");
}

TEST(NameFormatter, ANameThatNoWordOfALineCanBeCompletesNothing) {
  const NodeVms vms = {{MakeVm("web1")}, {MakeVm("b\n")}, {MakeVm("-dash")}};
  EXPECT_EQ(*Formatter(Form::kName, {.completes = true}).FormatVms(vms), "web1\n");
  EXPECT_EQ(*Formatter(Form::kName, {.completes = true, .before = "a,"}).FormatVms(vms),
            "web1\na,web1\n-dash\na,-dash\n");
}

TEST(NameFormatter, AnEventOfTheNodeHasNoName) {
  NodeEvents events = {{MakeEvent(1)}, {}};
  events[1].event.set_type(v1::EVENT_TYPE_GAP);
  EXPECT_EQ(*NameFormatter().FormatEvents(events), "web1\n");
}

TEST(ShortName, OmitsThePrefix) {
  EXPECT_EQ(ShortName(v1::EVENT_TYPE_STOPPED), "STOPPED");
  EXPECT_EQ(ShortName(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF), "GUEST_POWEROFF");
  EXPECT_EQ(ShortName(static_cast<v1::VmState>(77)), "77");
}

}  // namespace
}  // namespace vmeventd::client
