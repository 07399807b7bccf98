#include "watcher/qmp/socket_problems.h"

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "watcher/core/foreign_text.h"
#include "watcher/qmp/connect_rules.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

constexpr char kNoMonitor[] =
    "no running QEMU's command line names this socket as a QMP monitor: a QEMU that ended has left "
    "it, or it is another program's, and vmeventd leaves it alone; a monitor that no command line "
    "names must be called NAME.qmp";

// The problem text for a socket that has a monitor's name, but belongs to another program.
std::string ForeignListener(int64_t pid) {
  const std::string name = ReadProcessStat(pid).value_or(ProcessStat()).name;
  return absl::StrCat("its listener, ", EscapeName(name), " (pid ", pid,
                      "), is not a QEMU: it sent no QMP greeting, and no running QEMU's command "
                      "line names this socket; vmeventd leaves it alone");
}

}  // namespace

Problem ManagersOwnProblem(const Manager& manager) {
  return {ProblemCode::kManagersOwn, absl::StrCat("this monitor ", Refusal(manager))};
}

Problem NoMonitorProblem(const RunContext& context, const SocketSlot& slot) {
  return {ProblemCode::kNoMonitor,
          IsForeign(context, slot) ? ForeignListener(slot.listener->process.pid) : kNoMonitor};
}

Problem CannotConnect(ProblemCode code, absl::string_view why) {
  return {code, absl::StrCat("cannot connect to the monitor: ", why)};
}

}  // namespace vmeventd
