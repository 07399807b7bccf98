#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "vmeventd/contract/enums.h"
#include "vmeventd/v1/vm_events.pb.h"

// Output of the watcher: the messages of vm_events.proto, and the types by which the watcher itself
// decides. The enumerations are generated from vm_events.proto. All text is valid UTF-8.

namespace vmeventd {

// Times outside of what a Timestamp can hold (years 1 to 9999) become its nearest end.
google::protobuf::Timestamp ToTimestamp(absl::Time time);
absl::Time FromTimestamp(const google::protobuf::Timestamp& time);
google::protobuf::Duration ToProtoDuration(absl::Duration duration);
// "2026-11-28 21:12:38 and 21:12:53 UTC" with the word "and" in between.
std::string TimesText(absl::Time from, absl::string_view word, absl::Time to);

// A problem of a VM, a socket or a connection. No text: there is none.
struct Problem {
  ProblemCode code = ProblemCode::kUnspecified;
  std::string text;  // UTF-8

  bool empty() const { return text.empty(); }
  bool operator==(const Problem&) const = default;
};

// Keys and values, sorted by key; no key twice. VmRef.labels in vm_events.proto has the rules.
using Labels = std::vector<std::pair<std::string, std::string>>;

// The subject of an evidence entry that a later event may make void; kOther: no event does.
enum class EvidenceId {
  kOther,
  kPowerdown,
  kShutdown,
  kStop,
  kPanic,
  kWatchdogPaused,
  kWatchdog,
  kHibernation,
  kMigration,
  kDownBeforeAttach,
  kNotRunning,
  kFinishingMigration,
  kSignalSent,
  kHostShutdown,
  kIoError,
  kInternalError,
};

// One observation, in words for people.
struct EvidenceEntry {
  absl::Time time;
  std::string what;
  EvidenceId id = EvidenceId::kOther;
  int signal = 0;  // of kSignalSent; 0: it is about an OOM victim
};

// End of a process, as the kernel reports it.
struct ExitStatus {
  int code = 0;    // valid if signal is 0
  int signal = 0;  // the signal that ended it; 0: none
  bool core_dumped = false;
};

// The sender of a signal to QEMU: a process or the kernel. Text is UTF-8 without control
// characters.
struct SignalSender {
  int signal = 0;
  bool by_kernel = false;  // the members up to `sent` are then empty
  int64_t pid = 0;
  std::optional<uint32_t> uid;  // the real one; unset: nothing more is known of it
  std::string command;          // its comm
  std::string executable;       // empty, like `cgroup`: it was gone before it was read
  std::string cgroup;
  bool of_qemu = false;           // QEMU itself, or a process that may descend from it
  bool descent_unproven = false;  // with of_qemu: the descent is neither shown nor excluded
  absl::Time sent = absl::InfinitePast();  // InfinitePast: before all further input of QEMU
  // If the kernel killed QEMU because the first process of its PID namespace (its container) ended:
  // that process; else 0. Then all members but `signal` describe the signal that ended the first
  // process, whose number is `first_signal`. `first_signal` 0: nobody saw such a signal, and
  // by_kernel is set.
  int64_t first_process = 0;
  int first_signal = 0;
  // The end of another process that made the kernel send the signal, for people: of QEMU's parent,
  // as QEMU's launcher had requested (PR_SET_PDEATHSIG), or of a tracer. Empty: none.
  std::string ended_with = {};
  // It runs, or may run, as the user of QEMU, which is not root: a guest that broke out of a QEMU
  // can have chosen the sender's name.
  bool of_qemus_user = false;
  bool from_last_words = false;  // only QEMU's last words name it, by `pid` and `command`
  // The user from whose login the sender descends, and the login session, as the kernel's audit
  // numbers them; unset: no login, or not known.
  std::optional<uint32_t> login_uid = {};
  std::optional<uint32_t> login_session = {};
  std::string login_user = {};   // that user's name, from systemd-logind; empty: not known
  std::string remote_host = {};  // where the user came from; empty: this host, or not known
};

v1::SignalSender ToProto(const SignalSender& sender);
v1::Problem ToProto(const Problem& problem);

v1::Event MakeEvent(EventType type, std::string message);
// A GAP, observed at `time`.
v1::Event MakeGap(GapReason reason, std::string message, absl::Time time);

// One step of what is known: an event, the VM's status after it, or both.
//   status and event   the event happened to that VM, which is now as `status` says
//   status alone       something changed that is no event (a problem came or went)
//   event alone        an event of the node as a whole (a GAP)
struct VmUpdate {
  std::optional<v1::Vm> status;  // without last_sequence
  // Without its sequence, `durable`, and what `status` has: vm, state, problems.
  std::optional<v1::Event> event;
  // The run of `status` as VmSession::Save() writes it, to be saved in place of the last one.
  // Empty: the run is over. Unset: unchanged.
  std::optional<std::string> saved_run = std::nullopt;
  // Called once, on the sink's thread, when the step is public (and durable, if the journal can be
  // written). Unset: nobody waits for that.
  std::function<void()> on_public = nullptr;
  // Time of `event` on the monotonic clock, for latencies; unset: not known.
  std::optional<absl::Duration> observed = std::nullopt;
};

// Receives what the watcher sees. Called on the watcher's loop thread; must never block.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // Takes one step, in the order in which things happened.
  virtual void Push(VmUpdate update) = 0;

  // Called at the end of each turn of the loop, after its last Push().
  virtual void EndTurn() {}

  // Called when everything that happened to VMs up to this time was pushed.
  virtual void Watched(absl::Time /*until*/) {}
};

}  // namespace vmeventd
