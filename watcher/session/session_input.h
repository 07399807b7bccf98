#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"
#include "watcher/session/classification.h"
#include "watcher/session/guest_agent_probe.h"

namespace vmeventd {

// The inputs of a run. References and views are valid during the call. Texts that are named
// `what`, `why` or `by` are for people.
namespace input {

// The monitor.

// It is about to be attached by the socket `identity`.
struct Socket {
  SocketIdentity identity;
};
// The handshake is complete: for the first time, or again after the monitor was lost.
struct MonitorReady {
  const MonitorInfo& info;
};
// Connected, but no greeting came in time. May come for each attempt.
struct MonitorHeld {};
// `problem` stands in the VM's problems until the next MonitorReady.
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
// The connection ended, as by "EOF".
struct MonitorClosed {
  absl::string_view why;
};

// The process.

// `process` is QEMU's, and is followed from now on: none was known, or another's.
struct ProcessFound {
  const ProcessInfo& process;
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
// States of the threads of a QEMU that does not end or does not answer ("1 D (waits in the
// kernel)"); empty: they cannot be read.
struct Threads {
  absl::string_view states;
};
// All input of the monitor came before.
struct ProcessGone {
  ProcessEnd end = {};
};

// The answer to ReadLastWords: last words, numbers and core.
struct WordsRead {
  const v1::ShutdownDetail& facts;
};

// libvirt. A ProcessGone follows each end, once the process is gone where it can be seen.

struct NewLabels {
  const Labels& labels;
};
// A container was rebooted: it has a next id, and process, and is the same run.
struct NextId {
  int64_t domain_id;
};
struct ReportedEnd {
  ManagerEnd end;
  absl::string_view what;
};

// The shutdown file.

// The wanted step was tried. Unset: it was not, because the name belongs to a later run.
struct FileDone {
  std::optional<absl::Status> status;
};

// The host.

// It shuts down, or does not any more. May come again with what is known.
struct HostShutdown {
  bool shutting_down;
  absl::string_view by;
};
// The restored run ran under another kernel: that is its end.
struct HostRebooted {};
// `problem` names the other VM that has the same UUID; empty: none has.
struct SharedUuid {
  absl::string_view problem;
};

// Requests.

// CheckIntent() was OK. It replaces an open one. It expires by the monotonic clock, as long after
// now as its expire_time is.
struct IntentDeclared {
  const Intent& intent;
};
// Nothing happens without an open intent.
struct IntentWithdrawn {};
// The daemon stops, and hands the run's monitor to the next one. The last input.
struct HandOver {};
// It is time: NextTick().
struct Tick {};

}  // namespace input

using Input =
    std::variant<input::Socket, input::MonitorReady, input::MonitorHeld, input::MonitorProblem,
                 input::Event, input::StateAnswer, input::AgentAnswer, input::MonitorClosed,
                 input::ProcessFound, input::TrackingLost, input::OomKills, input::SignalSent,
                 input::NamedOomVictim, input::Threads, input::ProcessGone, input::WordsRead,
                 input::NewLabels, input::NextId, input::ReportedEnd, input::FileDone,
                 input::HostShutdown, input::HostRebooted, input::SharedUuid, input::IntentDeclared,
                 input::IntentWithdrawn, input::HandOver, input::Tick>;

}  // namespace vmeventd
