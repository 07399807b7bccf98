// What people see on terminals of 80 and 120 columns, as in golden/. Run it with
// VMEVENTS_WRITE_CAPTURES=1 to write the files again, and read the difference.

#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/commands/vms.h"
#include "client/output/formatter.h"
#include "client/output/table_style.h"
#include "client/output/vm_rows.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/formatters.h"
#include "tests/support/golden_file.h"
#include "tests/support/proto_text.h"
#include "tests/support/server_messages.h"

namespace vmeventd::client {
namespace {

constexpr int64_t kCaptured = 1'782'907'200;

struct Row {
  int64_t age;
  const char* name;
  v1::EventType type;
  const char* message;
  const char* shutdown;
};

constexpr char kOfBash[] =
    "sender { signal: 9 pid: 812 command: 'bash' cgroup: '/user.slice' uid: 0 } ";

NodeEvents Night() {
  const std::string killed = absl::StrCat(
      "shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_KILL rule: "
      "'killed-by-host' ",
      "exit_signal { number: 9 } numbers { ran_for { seconds: 9900 } } ", kOfBash,
      "evidence { what: 'SIGKILL sent by bash (pid 812, uid 0, /user.slice)' "
      "time { seconds: 1782907100 nanos: 51000000 } } "
      "evidence { what: 'process gone' time { seconds: 1782907100 nanos: 70000000 } } "
      "evidence { what: 'exit signal 9 (SIGKILL)' time { seconds: 1782907100 nanos: 70000000 } }");
  const Row rows[] = {
      {40'000'000, "web1", v1::EVENT_TYPE_STARTED, "QEMU 7.2.22, pid 4711, named web1, running",
       ""},
      {4000, "database-server-04.prod", v1::EVENT_TYPE_POWERDOWN_REQUESTED,
       "the host pressed the power button", ""},
      {3990, "database-server-04.prod", v1::EVENT_TYPE_STOPPED, "",
       "shutdown_class: SHUTDOWN_CLASS_USER cause: SHUTDOWN_CAUSE_GUEST_POWEROFF "
       "caveats: SHUTDOWN_CAVEAT_POWERDOWN_EARLIER"},
      {3000, "db2", v1::EVENT_TYPE_GUEST_PANICKED, "the guest's kernel panicked", ""},
      {2999, "db2", v1::EVENT_TYPE_STOPPED, "",
       "shutdown_class: SHUTDOWN_CLASS_CRASH cause: SHUTDOWN_CAUSE_GUEST_PANIC rule: "
       "'guest-panic'"},
      {900, "web2", v1::EVENT_TYPE_INTENT_DECLARED,
       "alice intends to end the VM: ticket 4711: kernel update of node7", ""},
      {890, "web2", v1::EVENT_TYPE_STOPPED, "",
       "shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_QUIT rule: 'host-quit' "
       "intent { actor: 'alice' reason: 'ticket 4711: kernel update of node7' }"},
      {100, "web1", v1::EVENT_TYPE_STOPPED, "bash (pid 812, uid 0, /user.slice) sent QEMU SIGKILL",
       killed.c_str()},
      {90, "web1", v1::EVENT_TYPE_STARTED, "QEMU 7.2.22, pid 4799, named web1, running", ""},
  };
  NodeEvents events;
  for (const Row& row : rows) {
    v1::Event event = MakeEvent(events.size() + 1, row.name);
    event.mutable_observe_time()->set_seconds(kCaptured - row.age);
    event.set_type(row.type);
    event.set_message(row.message);
    if (row.shutdown[0] != 0) {
      *event.mutable_shutdown() = FromText<v1::ShutdownDetail>(row.shutdown);
    }
    events.push_back({event});
  }
  return events;
}

// The runs of the events.
NodeVms Runs(const NodeEvents& events) {
  NodeVms runs;
  for (const NodeEvent& one : events) {
    const bool ended = one.event.has_shutdown();
    if (!ended && &one != &events.back()) continue;
    v1::Vm vm = MakeVm(one.event.vm().name());
    vm.mutable_ref()->set_pid(4799);
    vm.set_state(ended ? v1::VM_STATE_STOPPED : v1::VM_STATE_RUNNING);
    *vm.mutable_state_time() = one.event.observe_time();
    vm.mutable_start_time()->set_seconds(one.event.observe_time().seconds() - (ended ? 60 : 0));
    if (ended) *vm.mutable_shutdown() = one.event.shutdown();
    runs.push_back({vm});
  }
  return runs;
}

std::string Capture(size_t width) {
  TableStyle style = {
      .width = width, .brief = true, .now = [] { return absl::FromUnixSeconds(kCaptured); }};
  NodeEvents events = Night();
  TableFormatter list(style);
  std::string text = absl::StrCat("$ vmevents events\n", *list.FormatEvents(events));
  TableFormatter live(style);
  absl::StrAppend(&text, "\n$ vmevents watch\n", *live.FormatEvents({}));
  for (const NodeEvent& one : events) text += *live.FormatEvents({{one}});
  NodeVms vms = RowsOf(Runs(events), /*runs_known=*/true);
  SortVms({}, &vms);
  absl::StrAppend(&text, "\n$ vmevents vms -a\n", *TableFormatter(style).FormatVms(vms));
  VmStory story = {.name = "web1", .end = events[events.size() - 2], .vm = vms[0]};
  story.ends = {{v1::SHUTDOWN_CLASS_ADMIN, 1}};
  absl::StrAppend(&text, "\n$ vmevents why web1\n", *TableFormatter(style).FormatWhy(story));
  style.nodes = true;
  for (NodeEvent& one : events) one.node.name = one.event.sequence() % 2 == 0 ? "n1" : "n2:19555";
  for (NodeVm& one : vms) one.node.name = "node2.example:9556";
  TableFormatter merged(style);
  absl::StrAppend(&text, "\n$ vmevents --server n1,n2:19555 events\n", *merged.FormatEvents(events),
                  "\n$ vmevents --server n1,node2.example:9556 vms -a\n",
                  *TableFormatter(style).FormatVms(vms));
  return text;
}

TEST(Captures, TablesMatchTheGoldenFilesAtEachWidth) {
  for (const size_t width : {80U, 120U}) {
    ExpectGolden(absl::StrCat("tests/client/output/golden/", width, "-columns.txt"),
                 Capture(width));
  }
}

// The demo's night, as the documents show it: web1 crashed and was started again, web2 was stopped
// by a signal, web3 was killed after an intent.
constexpr int64_t kDemo = 1'795'739'820;  // 2026-11-27 00:37:00

NodeEvents DemoEvents() {
  const auto at = [](const char* field, int second, int millis) {
    return absl::StrCat(field, " { seconds: ", kDemo + second, " nanos: ", millis, "000000 } ");
  };
  const auto saw = [&at](int second, int millis, const char* what) {
    return absl::StrCat("evidence { ", at("time", second, millis), " what: '", what, "' } ");
  };
  const auto event = [&at](const char* name, const char* type, int second,
                           const std::string& rest) {
    return NodeEvent{FromText<v1::Event>(absl::StrCat("durable: true vm { name: '", name,
                                                      "' pid: 6018 } type: EVENT_TYPE_", type, " ",
                                                      at("observe_time", second, 900), rest))};
  };
  const std::string crash =
      "shutdown_class: SHUTDOWN_CLASS_CRASH cause: SHUTDOWN_CAUSE_QEMU_CRASHED rule: "
      "'qemu-crashed' exit_signal { number: 11 core_dumped: true } numbers { ran_for { seconds: 3 "
      "} } ";
  const std::string signal =
      "shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_SIGNAL rule: 'host-signal' "
      "sender { signal: 15 pid: 5934 command: 'bash' cgroup: '/' } numbers { ran_for { seconds: 4 "
      "} } ";
  const std::string kill =
      "shutdown_class: SHUTDOWN_CLASS_ADMIN cause: SHUTDOWN_CAUSE_HOST_KILL rule: "
      "'killed-by-host' exit_signal { number: 9 } numbers { ran_for { seconds: 5 } } sender { "
      "signal: 9 pid: 5934 command: 'bash' cgroup: '/' } intent { actor: 'alice' reason: 'node is "
      "emptied' } ";
  return {
      event("web1", "STOPPED", 1,
            absl::StrCat("message: 'QEMU was killed by SIGSEGV, whose sender is not recorded: it "
                         "counts as a crash of QEMU' shutdown { ",
                         crash, saw(1, 705, "monitor closed"), saw(1, 706, "process gone"),
                         saw(1, 706, "exit signal 11 (SIGSEGV)"), "}")),
      event("web2", "STOPPED", 2,
            absl::StrCat("message: 'bash (pid 5934, uid 0) sent QEMU SIGTERM' shutdown { ", signal,
                         saw(2, 714, "SIGTERM sent by bash (pid 5934, uid 0, /)"),
                         saw(2, 714, "SHUTDOWN reason=host-signal"), saw(2, 715, "monitor closed"),
                         saw(2, 719, "process gone"), saw(2, 719, "exit code 0"), "}")),
      event("web3", "INTENT_DECLARED", 3,
            "message: 'alice intends to end the VM: node is emptied'"),
      event("web3", "STOPPED", 3,
            absl::StrCat("message: 'bash (pid 5934, uid 0) sent QEMU SIGKILL' shutdown { ", kill,
                         saw(3, 855, "intent declared by alice"),
                         saw(3, 898, "SIGKILL sent by bash (pid 5934, uid 0, /)"),
                         saw(3, 903, "monitor closed"), saw(3, 904, "process gone"),
                         saw(3, 904, "exit signal 9 (SIGKILL)"), "}")),
      event("web1", "STARTED", 6, "message: 'QEMU 7.2.22, pid 6125, named web1, running'")};
}

// The output of a command 9 s after the demo began.
std::string OutputOf(absl::string_view command) {
  const TableStyle style = {.now = [] { return absl::FromUnixSeconds(kDemo + 9); }};
  const NodeEvents events = DemoEvents();
  if (command == "events -n 4") {
    return *TableFormatter(style).FormatEvents(Formatter::Events(events).subspan(1));
  }
  const auto running = [](const char* name, int64_t pid, int64_t second) {
    v1::Vm vm = MakeVm(name);
    vm.mutable_ref()->set_pid(pid);
    vm.mutable_state_time()->set_seconds(kDemo + second);
    return NodeVm{vm};
  };
  NodeVms runs = Runs(events);
  runs.back() = running("web1", 6125, 6);
  if (command == "vms --all") {
    runs.push_back(running("db1", 6019, -2));
    NodeVms vms = RowsOf(runs, /*runs_known=*/true);
    SortVms({}, &vms);
    return *TableFormatter(style).FormatVms(vms);
  }
  const std::string name(absl::StripPrefix(command, "why "));
  VmStory story = {.name = name};
  for (const NodeEvent& one : events) {
    if (one.event.has_shutdown() && one.event.vm().name() == name) story.end = one;
  }
  if (!story.end) return absl::StrCat("no output of ", command, " is known here");
  if (name == "web1") story.vm = runs.back();
  story.ends = {{story.end->event.shutdown().shutdown_class(), 1}};
  return *TableFormatter(style).FormatWhy(story);
}

// A document shows an output from its beginning, and may omit its end.
TEST(Captures, OutputsInTheDocumentsMatchTheProgram) {
  for (const char* document : {"README.md", "docs/answers.md", "docs/vmevents.md"}) {
    std::ifstream file(absl::StrCat(VMEVENTD_SOURCE_DIR "/", document));
    const std::string text(std::istreambuf_iterator<char>(file), {});
    const std::string kPrompt = "\n$ vmevents ";
    size_t examples = 0;
    for (size_t at = 0; (at = text.find(kPrompt, at)) != std::string::npos; ++examples) {
      at += kPrompt.size();
      const size_t line = text.find('\n', at);
      const size_t end = std::min(text.find("\n```", at), text.find(kPrompt, at));
      const absl::string_view command(text.data() + at, line - at);
      const absl::string_view shown(text.data() + line + 1, end - line - 1);
      EXPECT_THAT(OutputOf(command),
                  testing::StartsWith(std::string(absl::StripTrailingAsciiWhitespace(shown))))
          << document << ": " << command;
    }
    EXPECT_GT(examples, 0) << document;
  }
}

}  // namespace
}  // namespace vmeventd::client
