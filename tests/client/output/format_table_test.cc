#include "client/output/format_table.h"

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::ShutdownDetail PowerdownShutdown() {
  v1::ShutdownDetail shutdown;
  shutdown.set_class_(v1::SHUTDOWN_CLASS_ADMIN);
  shutdown.set_cause(v1::SHUTDOWN_CAUSE_HOST_POWERDOWN);
  shutdown.set_rule("guest-shutdown-in-window");
  shutdown.mutable_powerdown_age()->set_seconds(4);
  v1::Evidence* pressed = shutdown.add_evidence();
  pressed->mutable_time()->set_seconds(1782907200);
  pressed->set_what("POWERDOWN");
  shutdown.add_evidence()->set_what("SHUTDOWN reason=guest-shutdown");
  return shutdown;
}

v1::Event StoppedEvent() {
  v1::Event event = MakeEvent(42);
  event.set_type(v1::EVENT_TYPE_STOPPED);
  event.set_message("the host pressed the power button and the guest obeyed");
  *event.mutable_shutdown() = PowerdownShutdown();
  return event;
}

std::string EventLine(const v1::Event& event, bool color = false) {
  Formatter::Events events;
  *events.Add() = event;
  return *TableFormatter(color, absl::UTCTimeZone()).FormatEvents(events);
}

TEST(TableFormatter, AStoppedRowShowsClassCauseAndEvidenceInASentence) {
  EXPECT_EQ(EventLine(StoppedEvent()),
            "2026-07-01 12:00:00.123  42        web1              STOPPED             ADMIN    "
            "host powerdown: the host pressed the power button and the guest obeyed (seen: "
            "POWERDOWN, then SHUTDOWN reason=guest-shutdown)\n");
}

TEST(TableFormatter, AnEventThatIsNotDurableIsMarked) {
  v1::Event event = StoppedEvent();
  EXPECT_THAT(EventLine(event), Not(HasSubstr("not durable")));
  event.set_durable(false);
  EXPECT_THAT(EventLine(event), HasSubstr("ADMIN    (not durable) host powerdown: "));
}

TEST(TableFormatter, RowsStandUnderTheirHeadings) {
  TableFormatter formatter(false, absl::UTCTimeZone());
  const std::string heading = formatter.EventHeading();
  const std::string line = EventLine(StoppedEvent());
  EXPECT_EQ(heading.find("CLASS"), line.find("ADMIN"));
  EXPECT_EQ(heading.find("DETAIL"), line.find("host powerdown"));
}

TEST(TableFormatter, ALongNameMovesTheRowsThatFollowAsWell) {
  TableFormatter formatter(false, absl::UTCTimeZone());
  Formatter::Events events;
  *events.Add() = MakeEvent(1, "web1");
  *events.Add() = MakeEvent(2, "a-very-long-name-of-a-vm.example.org");
  const std::vector<std::string> lines = absl::StrSplit(*formatter.FormatEvents(events), '\n');
  EXPECT_EQ(lines[0].find("STARTED"), lines[1].find("STARTED"));
}

TEST(TableFormatter, ShowsTimesInTheZone) {
  Formatter::Events events;
  *events.Add() = MakeEvent(1);
  TableFormatter formatter(false, absl::FixedTimeZone(7200));
  EXPECT_THAT(*formatter.FormatEvents(events), HasSubstr("2026-07-01 14:00:00.123"));
}

TEST(TableFormatter, ColoursTheClass) {
  EXPECT_THAT(EventLine(StoppedEvent(), true), HasSubstr("\x1b[34mADMIN\x1b[0m"));
  EXPECT_THAT(EventLine(StoppedEvent(), false), Not(HasSubstr("\x1b")));
}

TEST(TableFormatter, TheServersTextDoesNotControlTheTerminal) {
  const std::string evil = "x\x1b]0;owned\x07\n\xc2\x9b\xe2\x80\xae";
  v1::Event event = StoppedEvent();
  event.mutable_vm()->set_name(evil);
  event.set_message(evil);
  event.mutable_shutdown()->mutable_evidence(0)->set_what(evil);
  event.mutable_intent()->set_actor(evil);
  v1::Vm vm = MakeVm(evil);
  for (std::string* text :
       {vm.mutable_ref()->mutable_run_id(), vm.mutable_ref()->mutable_uuid(),
        vm.mutable_qemu_version(), vm.mutable_monitor_path(), vm.add_problems(),
        vm.mutable_intent()->mutable_actor(), vm.mutable_intent()->mutable_reason(),
        vm.mutable_shutdown()->mutable_rule(),
        vm.mutable_shutdown()->mutable_intent()->mutable_actor(),
        vm.mutable_shutdown()->add_evidence()->mutable_what()}) {
    *text = evil;
  }
  Formatter::Vms vms;
  *vms.Add() = vm;
  v1::GetServerInfoResponse info;
  info.set_version(evil);
  info.set_node(evil);
  info.set_journal_id(evil);
  info.set_exit_status_source(evil);
  info.add_directories()->set_path(evil);
  info.mutable_directories(0)->set_pattern(evil);
  TableFormatter formatter(false, absl::UTCTimeZone());
  const std::string all = EventLine(event) + *formatter.FormatVms(vms) + *formatter.FormatVm(vm) +
                          *formatter.FormatInfo(info);
  for (const char* bad : {"\x1b", "\x07", "\xc2\x9b", "\xe2\x80\xae"}) {
    EXPECT_THAT(all, Not(HasSubstr(bad)));
  }
  EXPECT_EQ(EventLine(event).find('\n'), EventLine(event).size() - 1);
}

TEST(TableFormatter, TheClassAndTheEvidenceAreShownOnce) {
  v1::Event event = StoppedEvent();
  event.set_message("ADMIN: the guest obeyed. Seen: POWERDOWN, SHUTDOWN reason=guest-shutdown.");
  EXPECT_THAT(EventLine(event),
              testing::EndsWith("ADMIN    host powerdown: the guest obeyed. Seen: POWERDOWN, "
                                "SHUTDOWN reason=guest-shutdown.\n"));
}

TEST(TableFormatter, AnUnknownEventTypeIsShownAsItsNumber) {
  v1::Event event = MakeEvent(1);
  event.set_type(static_cast<v1::EventType>(99));
  EXPECT_THAT(EventLine(event), HasSubstr("99"));
}

TEST(TableFormatter, ListsVms) {
  Formatter::Vms vms;
  *vms.Add() = MakeVm("web1");
  vms[0].mutable_ref()->set_pid(4711);
  vms[0].set_qemu_version("7.2.22");
  vms[0].mutable_state_time()->set_seconds(1782907200);
  *vms.Add() = MakeVm("a-longer-name");
  vms[1].set_state(v1::VM_STATE_STOPPED);
  *vms[1].mutable_shutdown() = PowerdownShutdown();
  EXPECT_EQ(*TableFormatter(false, absl::UTCTimeZone()).FormatVms(vms),
            "VM             STATE    SINCE                    PID   QEMU    CLASS  DETAIL\n"
            "web1           RUNNING  2026-07-01 12:00:00.000  4711  7.2.22\n"
            "a-longer-name  STOPPED  -                        -     -       ADMIN  host powerdown "
            "(seen: POWERDOWN, then SHUTDOWN reason=guest-shutdown)\n");
}

TEST(TableFormatter, ShowsAVmWithItsVerdictEvidenceAndProblems) {
  v1::Vm vm = MakeVm("web1");
  vm.set_state(v1::VM_STATE_STOPPED);
  vm.mutable_ref()->set_run_id("run-7");
  *vm.mutable_shutdown() = PowerdownShutdown();
  vm.mutable_shutdown()->set_exit_status_known(true);
  vm.mutable_shutdown()->set_exit_signal(9);
  vm.add_problems("monitor held by another client");
  EXPECT_EQ(*TableFormatter(false, absl::UTCTimeZone()).FormatVm(vm),
            "name            web1\n"
            "state           STOPPED\n"
            "since           -\n"
            "run             run-7\n"
            "pid             not visible\n"
            "started         -\n"
            "last sequence   0\n"
            "class           ADMIN\n"
            "cause           host powerdown\n"
            "rule            guest-shutdown-in-window\n"
            "powerdown       4s before the shutdown\n"
            "exit            killed by SIGKILL\n"
            "shutdown file   not written\n"
            "evidence        2026-07-01 12:00:00.000  POWERDOWN\n"
            "                SHUTDOWN reason=guest-shutdown\n"
            "problems        monitor held by another client\n");
}

TEST(TableFormatter, ShowsTheOpenIntentOfAVm) {
  v1::Vm vm = MakeVm("web1");
  vm.mutable_intent()->set_intent_id("intent-7");
  vm.mutable_intent()->set_actor("alice");
  vm.mutable_intent()->set_reason("maintenance");
  vm.mutable_intent()->mutable_expire_time()->set_seconds(1782907200);
  EXPECT_THAT(*TableFormatter(false, absl::UTCTimeZone()).FormatVm(vm),
              HasSubstr("open intent     alice: maintenance\n"
                        "intent id       intent-7\n"
                        "expires         2026-07-01 12:00:00.000\n"));
}

TEST(TableFormatter, ShowsTheServersInfo) {
  v1::GetServerInfoResponse info;
  info.set_version("0.1.0");
  info.set_vms(3);
  info.set_journal_writable(true);
  auto* present = info.add_directories();
  present->set_path("/run/ctrl");
  present->set_pattern("*.kvmd");
  present->set_present(true);
  present->set_sockets(3);
  info.add_directories()->set_path("/run/other");
  const std::string text = *TableFormatter(false, absl::UTCTimeZone()).FormatInfo(info);
  EXPECT_THAT(text, HasSubstr("version         0.1.0\n"));
  EXPECT_THAT(text, HasSubstr("watched         /run/ctrl:*.kvmd  3 sockets\n"));
  EXPECT_THAT(text, HasSubstr("                /run/other:  missing\n"));
  present->set_sockets(1);
  EXPECT_THAT(*TableFormatter(false, absl::UTCTimeZone()).FormatInfo(info),
              HasSubstr("*.kvmd  1 socket\n"));
}

TEST(TableFormatter, TheEventsOfASnapshotStandInATableOfTheirOwn) {
  TableFormatter formatter(false, absl::UTCTimeZone());
  EXPECT_THAT(formatter.EventHeading(), testing::StartsWith("TIME"));
  EXPECT_TRUE(formatter.FormatVms({}).ok());
  EXPECT_THAT(formatter.EventHeading(), testing::StartsWith("\nTIME"));
}

}  // namespace
}  // namespace vmeventd::client
