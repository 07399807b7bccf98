// What people see on terminals of 80 and 120 columns, as in golden/. Run it with
// VMEVENTS_WRITE_CAPTURES=1 to write the files again, and read the difference.

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/commands/commands.h"
#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

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
      {100, "web1", v1::EVENT_TYPE_STOPPED, "", killed.c_str()},
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
  const TableStyle style = {
      .width = width, .brief = true, .now = [] { return absl::FromUnixSeconds(kCaptured); }};
  const NodeEvents events = Night();
  TableFormatter list(style);
  const std::string rows = *list.FormatEvents(events);
  std::string text = absl::StrCat("$ vmevents events\n", list.EventHeading(), rows);
  TableFormatter live(style);
  absl::StrAppend(&text, "\n$ vmevents watch\n", live.EventHeading());
  for (const NodeEvent& one : events) text += *live.FormatEvents({{one}});
  NodeVms vms = RowsOf(Runs(events), /*runs_known=*/true);
  SortVms({}, &vms);
  absl::StrAppend(&text, "\n$ vmevents vms -a\n", *TableFormatter(style).FormatVms(vms));
  VmStory story = {.name = "web1", .end = events[events.size() - 2], .vm = vms[0]};
  story.ends = {{v1::SHUTDOWN_CLASS_ADMIN, 1}};
  absl::StrAppend(&text, "\n$ vmevents why web1\n", *TableFormatter(style).FormatWhy(story));
  return text;
}

TEST(Captures, AreThoseOfTheGoldenFiles) {
  for (const size_t width : {80U, 120U}) {
    const std::string path =
        absl::StrCat(VMEVENTD_SOURCE_DIR "/tests/client/output/golden/", width, "-columns.txt");
    const std::string text = Capture(width);
    if (getenv("VMEVENTS_WRITE_CAPTURES") != nullptr) std::ofstream(path) << text;
    std::ifstream file(path);
    EXPECT_EQ(text, std::string(std::istreambuf_iterator<char>(file), {})) << path;
  }
}

}  // namespace
}  // namespace vmeventd::client
