#pragma once

#include "absl/strings/string_view.h"
#include "watcher/core/managers.h"
#include "watcher/core/problem.h"
#include "watcher/qmp/socket_slot.h"
#include "watcher/runs/run_context.h"

// The problems of sockets that vmeventd does not connect to, or cannot. Loop thread.

namespace vmeventd {

// Returns the problem of a monitor that `manager` needs.
Problem ManagersOwnProblem(const Manager& manager);

// Returns the problem of a socket for which JudgeConnect() returned kNoMonitor.
Problem NoMonitorProblem(const RunContext& context, const SocketSlot& slot);

// Returns the problem of a connect that failed. `why` is for people.
Problem CannotConnect(ProblemCode code, absl::string_view why);

}  // namespace vmeventd
