#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "watcher/core/labels.h"
#include "watcher/core/monitor_info.h"
#include "watcher/core/oom_victim.h"
#include "watcher/core/problem.h"
#include "watcher/core/process_end.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/core/signal_sender.h"
#include "watcher/session/evidence.h"
#include "watcher/session/guest_agent_probe.h"

namespace vmeventd {

// The inputs of a run. References and views are valid during the call. Texts that are named
// `what`, `why` or `by` are for people.
namespace input {

// The monitor.

// The monitor is about to be attached by the socket `identity`.
struct Socket {
  SocketIdentity identity;
};
// The restored run has the connection that the previous daemon handed over, so nothing that the
// monitor sent was missed. It is the first input of such a run, and has no effects.
struct TakenOver {};
// QEMU's own name, which becomes the VM's name. Valid only before anything was published.
struct OwnName {
  absl::string_view name;
};
// The handshake is complete: for the first time, or again after the monitor was lost.
struct MonitorReady {
  const MonitorInfo& info;
};
// Connected, but no greeting came in time. May come for each attempt.
struct MonitorHeld {};
// `problem` is one of the VM's problems until the next MonitorReady.
struct MonitorProblem {
  const Problem& problem;
};
struct Event {
  const QmpEvent& event;
};
// The answer to query-status.
struct StateAnswer {
  absl::string_view run_state;
};
struct AgentAnswer {
  const GuestAgentInfo& info;
};
// The connection ended; `why` is the reason, such as "EOF".
struct MonitorClosed {
  absl::string_view why;
};
// A SHUTDOWN may have been missed. Its absence is no evidence until the monitor is attached again.
struct ShutdownMissed {};

// The process.

// `process` is QEMU's, and is followed from now on. Before, no process or another one was known.
struct ProcessFound {
  const ProcessInfo& process;
};
// The command line of a QEMU that has not answered was read: whether it stays alive when its guest
// is down, and whether its guest can end it by a device.
struct ArgumentsRead {
  bool stays_down = false;
  bool guest_can_exit = false;
};
// The process cannot be followed any more: the end of the monitor is the end of the run.
struct TrackingLost {};
// RunInfo::oom_kills, read again while the process lives.
struct OomKills {
  uint64_t kills;
};
// A signal that may end it was sent to the process, or the kernel is about to kill it because
// memory ran out.
struct SignalSent {
  const SignalSender& sender;
};
struct NamedOomVictim {
  const OomVictim& victim;
};
// The reason why a QEMU does not end or does not answer, as far as its threads and its cgroup show
// it.
struct Threads {
  absl::string_view states;     // "1 D (waits in the kernel)"; empty: they cannot be read
  absl::string_view frozen_by;  // the cgroup with which it is frozen; empty: it is not
  bool dumps_core = false;      // it has crashed, and the kernel writes its core
};
// The process is gone. All input of the monitor came before this.
struct ProcessGone {
  ProcessEnd end = {};
};

// The answer to ReadLastWords: last words, numbers and core.
struct WordsRead {
  const v1::ShutdownDetail& facts;
};

// A manager. If the process can be seen, a ProcessGone follows each end, once the process is gone.

struct NewLabels {
  const Labels& labels;
};
// A container was rebooted: it has a new id and a new process, but is the same run.
struct NextId {
  int64_t domain_id;
};
// The domain was paused; `run_state` is QEMU's run state for that. Its STOP came before.
struct ReportedPause {
  absl::string_view run_state;
};
struct ReportedEnd {
  ManagerEnd end;
  absl::string_view what;
};

// The shutdown file.

// SetShutdownFile was tried, with this status. Unset: it was not tried, because the name belongs to
// a later run.
struct FileDone {
  std::optional<absl::Status> status;
};

// The host.

// The host shuts down, or the shutdown was cancelled. May repeat what is known.
struct HostShutdown {
  bool shutting_down;
  absl::string_view by;
};
// The host was rebooted since the restored run was followed: the run has ended.
struct HostRebooted {};
// `problem` names the other VM that has the same UUID; empty: none has.
struct SharedUuid {
  absl::string_view problem;
};
// `problem` names the other QEMU on its monitor's path, or the VM after which its socket is named;
// empty: there is none.
struct SharedPath {
  absl::string_view problem;
};
// The directory of its socket hangs, or answers again.
struct DirectoryHangs {
  bool hangs;
};

// Requests.

// Only after CheckIntent() returned OK. Replaces an open intent. Expires after (expire_time - now)
// on the monotonic clock.
struct IntentDeclared {
  const v1::Intent& intent;
};
// Ignored without an open intent.
struct IntentWithdrawn {};
// The daemon stops: publishes the count of dropped events and the unsaved changes at once. The last
// input.
struct DaemonStops {};
// The time that NextTick() returned has come.
struct Tick {};

}  // namespace input

using Input =
    std::variant<input::Socket, input::TakenOver, input::OwnName, input::MonitorReady,
                 input::MonitorHeld, input::MonitorProblem, input::Event, input::StateAnswer,
                 input::AgentAnswer, input::MonitorClosed, input::ShutdownMissed,
                 input::ProcessFound, input::ArgumentsRead, input::TrackingLost, input::OomKills,
                 input::SignalSent, input::NamedOomVictim, input::Threads, input::ProcessGone,
                 input::WordsRead, input::NewLabels, input::NextId, input::ReportedPause,
                 input::ReportedEnd, input::FileDone, input::HostShutdown, input::HostRebooted,
                 input::SharedUuid, input::SharedPath, input::DirectoryHangs, input::IntentDeclared,
                 input::IntentWithdrawn, input::DaemonStops, input::Tick>;

}  // namespace vmeventd
