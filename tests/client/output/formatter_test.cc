#include "client/output/formatter.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/output/enum_names.h"
#include "client/output/node_state.h"
#include "client/output/table_style.h"
#include "client/output/trouble.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/formatters.h"
#include "tests/support/golden_file.h"
#include "tests/support/proto_text.h"
#include "tests/support/server_messages.h"
#include "tests/support/status_matchers.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/unfollowed_limit.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
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

// Samples of all lists, for the golden files.

// Events of VMs that are named after what is special about them.
NodeEvents SampleEvents() {
  NodeEvents events;
  const auto add = [&events](const char* name) {
    events.push_back({StoppedEvent()});
    v1::Event* const event = &events.back().event;
    event->set_sequence(events.size());
    event->mutable_vm()->set_name(name);
    return event;
  };
  v1::Event* const usual = add("usual");
  usual->mutable_vm()->set_run_id("run-7");
  usual->set_state(v1::VM_STATE_STOPPED);
  add("not-durable")->set_durable(false);
  add("unseen-end")->mutable_shutdown()->mutable_last_seen_time()->set_seconds(1782907186);
  add("unseen-for-a-day")->mutable_shutdown()->mutable_last_seen_time()->set_seconds(1782820786);
  v1::Event* const obeyed = add("other-message");
  obeyed->mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
  obeyed->set_message("the guest obeyed");
  for (const auto& [end, name] : {std::pair(v1::INTENT_END_EXPIRED, "expired"),
                                  std::pair(v1::INTENT_END_REPLACED, "replaced"),
                                  std::pair(v1::INTENT_END_WITHDRAWN, "withdrawn")}) {
    v1::Event* const event = add(name);
    event->set_type(v1::EVENT_TYPE_INTENT_ENDED);
    event->set_message("the intent has ended");
    event->clear_shutdown();
    *event->mutable_intent() = OpenIntent();
    event->set_intent_end(end);
  }
  v1::Event* const unknown = add("unknown-type");
  unknown->set_type(static_cast<v1::EventType>(99));
  unknown->clear_shutdown();
  v1::Event* const gap = add("");
  gap->clear_vm();
  gap->set_type(v1::EVENT_TYPE_GAP);
  gap->set_gap_reason(v1::GAP_REASON_RETENTION);
  gap->set_message("retention has deleted events");
  gap->clear_shutdown();
  return events;
}

NodeVms SampleVms() {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("a-longer-name")}, {MakeVm("db1")}};
  vms[0].vm.mutable_ref()->set_pid(4711);
  vms[0].vm.mutable_ref()->set_source("qmp:/run/qemu");
  vms[0].vm.set_qemu_version("7.2.22");
  *vms[0].vm.mutable_state_time() = ToTimestamp(Noon() - absl::Seconds(200));
  vms[0].ends = 3;
  vms[0].last_end.set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  vms[0].last_end.set_cause(v1::SHUTDOWN_CAUSE_GUEST_PANIC);
  vms[1].vm.set_state(v1::VM_STATE_STOPPED);
  *vms[1].vm.mutable_shutdown() = PowerdownShutdown();
  vms[2].vm.mutable_ref()->set_source("libvirt:qemu:///system");
  vms[2].vm.add_problems()->set_text("monitor held by another client");
  return vms;
}

NodeVms VmsOfOneName() {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("web1")}};
  vms[0].vm.mutable_ref()->set_run_id("run-1");
  vms[1].vm.mutable_ref()->set_uuid("uuid-2");
  return vms;
}

NodeVms SampleIntents() {
  NodeVms vms = {{MakeVm("web1")}};
  *vms[0].vm.mutable_intent() = OpenIntent();
  return vms;
}

v1::GetServerInfoResponse SampleInfo() {
  return FromText<v1::GetServerInfoResponse>(R"(
      version: '1.0.0' vms: 3 journal_writable: true
      directories { path: '/run/ctrl' pattern: '*.kvmd' present: true sockets: 3 }
      directories { path: '/run/qemu' pattern: '*.sock' present: true sockets: 1 }
      directories { path: '/run/other' }
      listeners { address: 'unix:/run/a.sock' listening: true }
      listeners { address: 'unix:/mnt/b.sock' }
      libvirt_connections { uri: 'qemu:///system' connected: true domains: 1 }
      libvirt_connections { uri: 'qemu:///session' problem { text: 'Connection refused' }
                            since { seconds: 1782907200 } }
      unfollowed_sockets { path: '/run/ctrl/a.kvmd' })");
}

// One node that answers, with a paused VM and a crash, and one that does not.
NodeReports SampleNodes() {
  NodeReport up = {.node = {.name = "n1"}};
  up.info = FromText<v1::GetServerInfoResponse>(
      "version: '1.0.0' vms: 2 journal_writable: true start_time { seconds: 1782907000 }");
  NodeVm paused = {MakeVm("db1")};
  paused.vm.set_state(v1::VM_STATE_PAUSED);
  up.vms = {paused, {MakeVm("web1")}};
  v1::Event crash = StoppedEvent();
  crash.mutable_vm()->set_name("web1");
  crash.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_CRASH);
  *crash.mutable_observe_time() = ToTimestamp(Noon() - absl::Hours(1));
  up.ends = {{crash}};
  return {up, {.node = {.name = "n2"}, .problem = "no answer"}};
}

std::vector<NodeStream> SampleStreams() {
  return {{FromText<v1::Stream>(
              "stream_id: '1f' peer: 'user 1000' sequence: 7 filter { vm_names: 'web*' }")},
          {FromText<v1::Stream>(
              "stream_id: '2f' peer: '10.0.0.7' certificate_names: 'URI spiffe://site/mover' "
              "sequence: 5 lag: 2 filter { types: EVENT_TYPE_STOPPED }")}};
}

std::vector<NodeHealth> SampleHealth() {
  NodeHealth up = {.node = "n1", .service = "journal"};
  up.health.set_status(grpc::health::v1::HealthCheckResponse::SERVING);
  return {up, {.node = "a-node-of-a-long-name.example"}};
}

v1::NodeHeartbeat Node(const std::string& name, int64_t age, int64_t interval) {
  v1::NodeHeartbeat node;
  node.set_cluster("prod");
  node.set_node(name);
  node.set_newest_sequence(10);
  node.set_published_sequence(7);
  *node.mutable_time() = ToTimestamp(Noon() - absl::Seconds(age));
  if (interval > 0) node.mutable_interval()->set_seconds(interval);
  return node;
}

// A fleet of one cluster or of two, whose nodes are up, silent, stopped and share a name.
Formatter::Heartbeats SampleFleet(const char* last_cluster) {
  Formatter::Heartbeats nodes;
  *nodes.Add() = Node("n1", 0, 30);
  *nodes.Add() = Node("n2", 91, 30);
  *nodes.Add() = Node("n3", 91, 0);
  *nodes.Add() = Node("n4", 0, 30);
  nodes.Mutable(3)->set_other_journal_id("journal-b");
  nodes.Mutable(3)->set_cluster(last_cluster);
  return nodes;
}

// Each list in one form, below a line that names it.
std::string AllLists(Form form, const TableStyle& style) {
  const auto make = [form, &style] { return Formatter(form, style); };
  const NodeHealth one = {.health = SampleHealth()[0].health};
  const std::pair<const char*, std::string> lists[] = {
      {"events", *make().FormatEvents(SampleEvents())},
      {"VMs", *make().FormatVms(SampleVms())},
      {"VMs of one name", *make().FormatVms(VmsOfOneName())},
      {"intents", *make().FormatIntents(SampleIntents())},
      {"info", *make().FormatInfo(SampleInfo())},
      {"info of a server that reports nothing", *make().FormatInfo({})},
      {"nodes", *make().FormatNodes(SampleNodes(), Noon())},
      {"counts", *make().FormatCounts("vm", "ends", {{"web1", 3}}, /*csv=*/false)},
      {"streams", *make().FormatStreams(SampleStreams())},
      {"health", *make().FormatHealth(SampleHealth())},
      {"health of one server", *make().FormatHealth({one})},
      {"a fleet", *make().FormatFleet(SampleFleet("prod"), Noon())},
      {"a fleet of two clusters", *make().FormatFleet(SampleFleet("test"), Noon())}};
  std::string text;
  for (const auto& [name, list] : lists) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", "# ", name, "\n", list);
  }
  return text;
}

// Run it with VMEVENTS_WRITE_CAPTURES=1 to write the files again, and read the difference.
TEST(Formatter, ListsOfEachFormMatchTheirGoldenFiles) {
  const TableStyle style = {.now = Noon};
  const TableStyle wide = {.wide = true, .now = Noon};
  const std::string csv =
      *TableFormatter(style).FormatCounts("vm", "ends", {{"web1", 3}}, /*csv=*/true);
  const std::string directory = "tests/client/output/golden/";
  ExpectGolden(directory + "table.txt", AllLists(Form::kTable, style));
  ExpectGolden(directory + "wide-table.txt", AllLists(Form::kTable, wide));
  ExpectGolden(directory + "json.txt", AllLists(Form::kJson, style));
  ExpectGolden(directory + "names.txt", AllLists(Form::kName, style));
  ExpectGolden(directory + "counts.csv", csv);
}

TEST(TableFormatter, AStoppedRowShowsAnExitThatAddsToTheCause) {
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

TEST(TableFormatter, EachTypeFitsItsColumnAndEachRowFitsItsLine) {
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

TEST(TableFormatter, AWideTableHasNoLimit) {
  const auto wide = [](size_t width) {
    return Rows({.wide = true, .width = width, .brief = true, .now = Noon}, {{StoppedEvent()}});
  };
  EXPECT_EQ(wide(80), wide(0));
}

TEST(TableFormatter, HeadingsMayBeLeftOut) {
  TableFormatter formatter({.headings = false});
  EXPECT_EQ(*formatter.FormatEvents({}), "");
  EXPECT_EQ(*formatter.FormatVms({}), "");
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

TEST(Formatter, AnEventOfTheNodeIsOmittedUnlessItWasRequested) {
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

TEST(TableFormatter, AnUnreachableNodeHasARowToo) {
  const NodeReports nodes = SampleNodes();
  EXPECT_THAT(*TableFormatter({.nodes = true}).FormatNodes(nodes, Noon()),
              AllOf(HasSubstr("\nn1 "), HasSubstr("\nn2    AWAY ")));
  EXPECT_THAT(*JsonFormatter().FormatNodes(nodes, Noon()),
              AllOf(HasSubstr("\"node\":\"n1\","), HasSubstr("\"reachable\":true"),
                    HasSubstr("\"node\":\"n2\",\"reachable\":false")));
}

TEST(TableFormatter, TroubleIsShownWithItsCauseAndTheCommandThatExplainsIt) {
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

TEST(TableFormatter, TroubleQuotesVmNamesForTheSuggestedCommand) {
  NodeVms vms = {{MakeVm("web2")}, {MakeVm("-dash")}, {MakeVm("a\n*")}};
  EXPECT_THAT(TableFormatter({}).FormatTrouble(vms, Noon(), 1),
              testing::EndsWith("why: vmevents why web2\n"));
  EXPECT_THAT(TableFormatter({}).FormatTrouble(vms, Noon(), 3),
              testing::EndsWith("why: vmevents why -- web2 -dash $'a\\n[*]'\n"));
}

TEST(TableFormatter, AnUnknownEndIsTroubleForADay) {
  NodeVm ended = {MakeVm("web1")};
  ended.vm.set_state(v1::VM_STATE_STOPPED);
  *ended.vm.mutable_state_time() = ToTimestamp(Noon());
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

TEST(ParseEnumName, IntentExpiredIsAnAliasOfIntentEnded) {
  EXPECT_EQ(*ParseEnumName(*v1::EventType_descriptor(), "intent-expired"),
            v1::EVENT_TYPE_INTENT_ENDED);
}

TEST(TableFormatter, APauseAndAnOverdueIntentAreTrouble) {
  NodeVm paused = {MakeVm("db1")};
  paused.vm.set_state(v1::VM_STATE_PAUSED);
  paused.vm.set_pause_reason("io-error");
  EXPECT_EQ(TroubleOf(paused, Noon()), TroubleKind::kPaused);
  EXPECT_EQ(TroubleText(paused, Noon()), "paused after an I/O error");
  NodeVm waits = {MakeVm("web1")};
  waits.vm.mutable_intent()->set_actor("alice");
  waits.vm.mutable_intent()->set_reason("node is emptied");
  *waits.vm.mutable_intent()->mutable_expire_time() = ToTimestamp(Noon() + kLateIntent);
  EXPECT_EQ(TroubleOf(waits, Noon()), TroubleKind::kNone);
  const absl::Time later = Noon() + absl::Seconds(90);
  EXPECT_EQ(TroubleOf(waits, later), TroubleKind::kIntentWaits);
  EXPECT_EQ(TroubleText(waits, later),
            "intent of alice: node is emptied, which expires in 30 s while the VM runs");
  waits.vm.set_state(v1::VM_STATE_STOPPED);
  EXPECT_EQ(TroubleOf(waits, later), TroubleKind::kNone);
}

TEST(TableFormatter, AVmThatWaitsForAnIncomingMigrationIsNoTrouble) {
  NodeVm arriving = {MakeVm("db1")};
  arriving.vm.set_state(v1::VM_STATE_PAUSED);
  arriving.vm.set_pause_reason("inmigrate");
  EXPECT_EQ(TroubleOf(arriving, Noon()), TroubleKind::kNone);
  arriving.vm.add_problems()->set_text("P");
  EXPECT_EQ(TroubleOf(arriving, Noon()), TroubleKind::kProblem);
  arriving.vm.clear_problems();
  // It is PAUSED with another reason once the migration has ended.
  arriving.vm.set_pause_reason("paused");
  EXPECT_EQ(TroubleOf(arriving, Noon()), TroubleKind::kPaused);
}

TEST(TableFormatter, VmsOfOneNameHaveTheirUuidsOrRuns) {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("web1")}};
  EXPECT_THAT(*TableFormatter({}).FormatVms(vms), Not(HasSubstr("UUID"))) << "of one VM";
  vms = VmsOfOneName();
  EXPECT_THAT(*TableFormatter({}).FormatVms(vms),
              AllOf(HasSubstr("UUID"), HasSubstr("run-1"), HasSubstr("uuid-2")));
  vms[1].node.name = "node2";
  EXPECT_THAT(*TableFormatter({}).FormatVms(vms), Not(HasSubstr("UUID"))) << "of two nodes";
}

TEST(TableFormatter, AFullListOfSocketsNotesThatThereMayBeMore) {
  v1::GetServerInfoResponse info;
  info.add_unfollowed_sockets()->set_path("/run/ctrl/a.kvmd");
  EXPECT_THAT(*TableFormatter({}).FormatInfo(info), Not(HasSubstr("more")));
  while (info.unfollowed_sockets_size() < kMaxUnfollowed) info.add_unfollowed_sockets();
  EXPECT_THAT(*TableFormatter({}).FormatInfo(info), HasSubstr("vmeventd lists at most 1000"));
}

TEST(TableFormatter, EventsAfterASnapshotHaveTheirOwnTable) {
  TableFormatter formatter({});
  EXPECT_THAT(*formatter.FormatVms({}), testing::StartsWith("VM"));
  EXPECT_THAT(*formatter.FormatEvents({}), testing::StartsWith("\nTIME"));
}

TEST(FleetNodes, ANodeIsSilentAfterThreeIntervals) {
  const absl::Time now = Noon();
  EXPECT_EQ(StateOf(Node("n", 90, 30), now), NodeState::kUp);
  EXPECT_EQ(StateOf(Node("n", 91, 30), now), NodeState::kSilent);
  EXPECT_EQ(StateOf(Node("n", 91, 0), now), NodeState::kStopped);
  EXPECT_EQ(LagOf(Node("n", 0, 30)), 3u);
  v1::NodeHeartbeat ahead;
  ahead.set_published_sequence(1);
  EXPECT_EQ(LagOf(ahead), 0u);
}

TEST(TableFormatter, TheNodeColumnShowsTheClusterOnceThereAreSeveral) {
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

TEST(JsonFormatter, NamesTheMessageThatCannotBePrinted) {
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

TEST(NameFormatter, CompletionKeepsTheTextBeforeTheLastComma) {
  EXPECT_EQ(*Formatter(Form::kName, {.before = "a,"}).FormatVms(NodeVms{{MakeVm("web1")}}),
            "web1\na,web1\n");
}

TEST(NameFormatter, CompletionOmitsNamesThatCannotBeTypedAsAnArgument) {
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

TEST(TableName, HasAtMostTenColumns) {
  for (int type = 1; type <= v1::EventType_MAX; ++type) {
    EXPECT_LE(TableName(static_cast<v1::EventType>(type)).size(), 10U) << v1::EventType_Name(type);
  }
}

TEST(ShortName, OmitsThePrefix) {
  EXPECT_EQ(ShortName(v1::EVENT_TYPE_STOPPED), "STOPPED");
  EXPECT_EQ(ShortName(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF), "GUEST_POWEROFF");
  EXPECT_EQ(ShortName(static_cast<v1::VmState>(77)), "77");
}

}  // namespace
}  // namespace vmeventd::client
