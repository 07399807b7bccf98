#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "base/compact.h"

// Output of the watcher. These types mirror the messages of vm_events.proto, whose comments
// explain each value; the numbers are the same, and the server checks that at compile time. All
// text is valid UTF-8.

namespace vmeventd {

enum class ShutdownClass { kUser = 1, kAdmin = 2, kCrash = 3, kUnknown = 4 };
inline constexpr ShutdownClass kLastShutdownClass = ShutdownClass::kUnknown;

enum class ShutdownCause {
  kGuestPoweroff = 1,
  kGuestRebootExit = 2,
  kGuestHibernate = 3,
  kHostPowerdown = 4,
  kHostQuit = 5,
  kHostSignal = 6,
  kHostUi = 7,
  kHostResetExit = 8,
  kMigratedAway = 9,
  kGuestPanic = 10,
  kWatchdog = 11,
  kHostError = 12,
  kQemuKilled = 13,
  kQemuCrashed = 14,
  kOutOfMemory = 15,
  kProcessExited = 16,
  kUnobserved = 17,
  kHostRequest = 18,
  kGuestRequest = 19,
  kHostDestroy = 20,
  kHostSave = 21,
  kMigrationFailed = 22,
  kNeverRan = 23,
  kMigrationUnfinished = 24,
  kHostKill = 25,
  kHostShutdown = 26,
};
inline constexpr ShutdownCause kLastShutdownCause = ShutdownCause::kHostShutdown;

// Doubts that a verdict leaves open.
enum class ShutdownCaveat {
  kGuestAgentConnected = 1,
  kGuestAgentPossible = 2,
  kPowerdownEarlier = 3,
  kHostShuttingDown = 4,
};

enum class EventType {
  kStarted = 1,
  kStopped = 2,
  kGuestShutdown = 3,
  kPowerdownRequested = 4,
  kReset = 5,
  kPaused = 6,
  kResumed = 7,
  kSuspended = 8,
  kWoken = 9,
  kHibernating = 10,
  kGuestPanicked = 11,
  kWatchdogExpired = 12,
  kIoError = 13,
  kMemoryFailure = 14,
  kMigration = 15,
  kMonitorLost = 16,
  kMonitorRestored = 17,
  kIntentDeclared = 18,
  kIntentWithdrawn = 19,
  kGap = 20,
  kStateChanged = 21,
  kProblemsChanged = 22,
  kPvshutdownRequested = 23,
};
inline constexpr EventType kLastEventType = EventType::kPvshutdownRequested;

// End of an intent before the run's.
enum class IntentEnd {
  kWithdrawn = 1,
  kExpired = 2,
  kReplaced = 3,
};

enum class GapReason {
  kRateLimited = 1,
  kUnseenChange = 2,
  kLibvirtLost = 3,
  kQueueFull = 4,
  kNotWritten = 5,
  kJournalReplaced = 6,
  kJournalLate = 7,
};

enum class ProblemCode {
  kNone = 0,
  kNoGreeting = 1,
  kStarting = 2,
  kNoAnswer = 3,
  kMonitorLost = 4,
  kNotQmp = 5,
  kNoMonitor = 6,
  kRefused = 7,
  kCannotConnect = 8,
  kFollowedElsewhere = 9,
  kOutOfDescriptors = 10,
  kLibvirtLost = 11,
  kNotListed = 12,
  kProcessNotVisible = 13,
  kIoError = 14,
  kInternalError = 15,
  kShutdownFile = 16,
  kExitLate = 17,
  kSharedUuid = 18,
};
inline constexpr ProblemCode kLastProblemCode = ProblemCode::kSharedUuid;

// A problem of a VM, a socket or a connection. No text: there is none.
struct Problem {
  ProblemCode code = ProblemCode::kNone;
  std::string text;  // UTF-8

  bool empty() const { return text.empty(); }
  bool operator==(const Problem&) const = default;
};

enum class VmState {
  kRunning = 1,
  kPaused = 2,
  kSuspended = 3,
  kGuestDown = 4,
  kUnreachable = 5,
  kStopped = 6,
};

// Keys and values, by key; no key twice. As the contract has them for VmRef.labels.
using Labels = std::vector<std::pair<std::string, std::string>>;

// One life of one QEMU process.
struct VmRef {
  std::string name;
  std::string run_id;  // empty while no process has been seen behind the socket
  std::string uuid;    // empty if QEMU has none, or it is not known yet
  int64_t pid = 0;     // 0 if it cannot be seen
  std::string source;  // "qmp:DIRECTORY" or "libvirt:URI"
  Labels labels;       // empty if it has none, or they are not known yet
  std::string unit;    // its process's systemd unit, or else cgroup; empty: none is known
};

// Subject of an entry of the evidence, as far as something may make it void.
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

// One thing that was seen, in words for people.
struct EvidenceEntry {
  absl::Time time;
  std::string what;
  EvidenceId id = EvidenceId::kOther;
};

// An orchestrator's word given beforehand: who is about to end a run, and why.
struct Intent {
  std::string intent_id;
  std::string actor;
  std::string reason;
  absl::Time expire_time;
  std::string request_id;   // of the declaration; empty: it had none
  std::string declared_by;  // the caller, as the server knows it
};

// End of a process, as the kernel reports it.
struct ExitStatus {
  int code = 0;    // valid if signal is 0
  int signal = 0;  // that ended it; 0: none
  bool core_dumped = false;
};

// The process that sent a signal to QEMU's, or the kernel. Text is UTF-8 without control
// characters.
struct SignalSender {
  int signal = 0;
  bool by_kernel = false;  // what follows is then empty
  int64_t pid = 0;
  std::optional<uint32_t> uid;  // the real one; unset: nothing more is known of it
  std::string command;          // its comm
  std::string executable;       // empty, as the next: it was gone before it was read
  std::string cgroup;
  bool of_qemu = false;                    // QEMU itself, or it may descend from it
  absl::Time sent = absl::InfinitePast();  // InfinitePast: before all further input of QEMU
  // The first process of QEMU's PID namespace, as a container has one, if the kernel killed QEMU
  // because that ended; 0: it did not. All but `signal` is then of the signal that ended the first
  // process: its number is `first_signal`. 0: nobody saw one, and by_kernel is set.
  int64_t first_process = 0;
  int first_signal = 0;
  // Belongs to the user that QEMU runs as, who is not root, or may be: a guest that broke out of a
  // QEMU can have given it its name.
  bool of_qemus_user = false;
  bool said_by_qemu = false;  // nobody but its last words names it: `pid` and `command`
};

// A guest kernel's word as it panicked (qapi/run-state.json, GuestPanicInformation): all of it
// is the guest's word, and bounded.
struct HyperVPanic {
  std::array<uint64_t, 5> args{};
};
struct S390Panic {
  uint32_t core = 0;
  uint64_t psw_mask = 0;
  uint64_t psw_addr = 0;
  std::string reason;
};
struct TdxPanic {
  uint32_t error_code = 0;
  std::string message;  // one line
  std::optional<uint64_t> gpa;
};
struct GuestPanic {
  std::string action;  // QEMU's
  std::variant<std::monostate, HyperVPanic, S390Panic, TdxPanic> info;
};

enum class WordsSource { kLibvirtLog = 1, kJournal = 2, kStandardError = 3 };

// QEMU's last lines, which nobody checks; each is one line of UTF-8.
struct LastWords {
  std::vector<std::string> lines;  // empty: there are none
  WordsSource source = WordsSource::kLibvirtLog;
  bool truncated = false;
};

// Facts that are read of a process once it is gone.
struct EndFacts {
  LastWords words;
  std::string core;                      // where the core is, for people; empty: not known
  std::optional<uint64_t> peak_memory;   // of its cgroup, in bytes; unset: not known
  std::optional<uint64_t> memory_limit;  // unset: there is none, or it is not known
  std::optional<absl::Duration> ran_for;
};

// QEMU's data of an event. Texts are its words, in one line.
struct IoErrorDetail {
  std::string device;
  std::string node_name;
  std::string operation;
  std::string action;
  std::optional<bool> no_space;
};
struct MigrationDetail {
  std::string status;
};
struct ResetDetail {
  std::optional<bool> by_guest;
  std::string reason;
};
struct MemoryFailureDetail {
  std::string recipient;
  std::string action;
  bool action_required = false;
  bool recursive = false;
};
using EventDetail = std::variant<std::monostate, GuestPanic, IoErrorDetail, MigrationDetail,
                                 ResetDetail, MemoryFailureDetail>;

struct ShutdownDetail {
  ShutdownClass shutdown_class = ShutdownClass::kUnknown;
  ShutdownCause cause = ShutdownCause::kUnobserved;
  std::string rule;                             // the classification rule's id
  std::optional<absl::Duration> powerdown_age;  // last POWERDOWN to shutdown
  std::vector<EvidenceEntry> evidence;          // oldest first
  bool shutdown_file_written = false;
  std::optional<ExitStatus> exit_status;  // unset: not known
  Rare<Intent> intent;                    // that was open when the run ended
  std::vector<ShutdownCaveat> caveats;
  std::optional<SignalSender> sender;  // of the signal that ended it; unset: none, or not known
  Rare<GuestPanic> panic;              // that stands
  Rare<EndFacts> end;                  // once the process is gone
};

struct VmEvent {
  EventType type = EventType::kGap;
  absl::Time observe_time;
  std::optional<absl::Time> qemu_time;
  Rare<ShutdownDetail> shutdown;
  std::string qmp_event;
  std::string detail_json;
  std::string message;
  Rare<Intent> intent;                  // with INTENT_*
  std::optional<IntentEnd> intent_end;  // with INTENT_WITHDRAWN
  std::optional<GapReason> gap_reason;  // with GAP
  Rare<EventDetail> detail;             // of its type
  // observe_time on the monotonic clock, since an arbitrary origin, for latencies; unset: not
  // known.
  std::optional<absl::Duration> observe_monotonic;
};

// A VM as it is now.
struct VmStatus {
  VmRef ref;
  VmState state = VmState::kUnreachable;
  absl::Time state_time;
  absl::Time start_time = absl::InfinitePast();  // the process's; InfinitePast: not known
  std::string qemu_version;
  std::string monitor_path;
  Rare<ShutdownDetail> shutdown;
  std::vector<Problem> problems;
  Rare<Intent> intent;  // that is open
  bool attached = false;
};

// One step of what is known: an event, the VM's status after it, or both.
//   status and event   the event happened to that VM, which is now as `status` says
//   status alone       something changed that is no event (a problem came or went)
//   event alone        an event of the node as a whole (a GAP)
struct VmUpdate {
  std::optional<VmStatus> status;
  std::optional<VmEvent> event;
  // The run of `status` as VmSession::Save() writes it, to be saved in place of the last one.
  // Empty: the run is over. Unset: unchanged.
  std::optional<std::string> saved_run = std::nullopt;
  // Called once, on the sink's thread, when the step is public (and durable, if the journal can be
  // written). Unset: nobody waits for that.
  std::function<void()> on_public = nullptr;
};

// The state of one --watch.
struct WatchedDirectory {
  std::string path;
  std::string pattern;
  bool present = false;
  int sockets = 0;
};

// A connection to libvirt, as GetServerInfo lists it. Text is UTF-8.
struct LibvirtConnectionState {
  std::string uri;  // as connected to: a glob is resolved
  bool connected = false;
  Problem problem;   // empty while connected
  absl::Time since;  // when `connected` last changed
  int domains = 0;   // that are followed through it
};

// A socket in a watched directory behind which no run is followed, and why. Text is UTF-8.
struct UnfollowedSocket {
  std::string path;
  std::string name;  // name that a VM there would have
  Problem problem;
  absl::Time since;
};

// Destination of what the watcher sees. Called on the watcher's loop thread; must never block.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // Takes one step, in the order in which things happened.
  virtual void Push(VmUpdate update) = 0;

  // A turn of the loop is over: nothing is pushed before it has waited for input again.
  virtual void EndTurn() {}

  // Sets the watched directories as they are now; called whenever one of them changes.
  virtual void SetDirectories(std::vector<WatchedDirectory> directories) = 0;
};

}  // namespace vmeventd
