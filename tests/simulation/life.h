#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "tests/simulation/endings.h"
#include "tests/simulation/kernel.h"
#include "watcher/session/classification.h"

namespace vmeventd::simulation {

// A thing that QEMU said, or would have said to a listener.
struct Saying {
  enum class Kind {
    kPowerdown,
    kShutdown,  // `text` is the reason
    kStop,
    kResume,
    kReset,
    kPanic,  // `text` is the action, as with kWatchdog
    kWatchdog,
    kHibernate,
    kOther,     // no evidence
    kRunState,  // an answer to query-status, or libvirt's, of which `text` is the state
    kManager,   // libvirt reports the end
  };
  Kind kind = Kind::kOther;
  std::string text;
  std::optional<bool> guest;  // SHUTDOWN's
  ManagerEnd manager = ManagerEnd::kShutdown;
  absl::Duration at;    // monotonic
  int64_t wall_us = 0;  // QEMU's stamp; 0: an answer, which has no stamp
  // The connection that got it, and its place in what that was sent; null: nobody listened.
  ConnectionPtr heard_by;
  uint64_t begin = 0;
  uint64_t end = 0;
  int daemon = 0;       // number of the daemon that heard it
  bool unsure = false;  // libvirt said it before its first list, which may be older or newer
  // Time by which it was read, and whether what followed from it is in the journal for certain.
  absl::Duration read_by = absl::InfiniteDuration();
  bool kept = false;

  // Returns whether it was sent to a daemon, and whether that has read it.
  bool was_sent() const { return heard_by != nullptr && heard_by->of_daemon; }
  bool was_read() const { return was_sent() && heard_by->handed_out >= end; }
};

// An intent for a life, as its declarer knows it.
struct Declared {
  absl::Duration asked;
  absl::Duration answered = absl::InfiniteDuration();  // time of an OK answer
  absl::Duration ttl;
  bool withdrawn = false;
  absl::Duration withdrawn_at = absl::InfiniteDuration();  // time of an OK withdrawal
  int asked_daemon = 0;            // asked to withdraw it; 0: none, or that was answered
  absl::Duration asked_daemon_at;  // time of that request
};

// The life of one QEMU process, as it truly is.
struct Life {
  int number = 0;
  std::string name;
  std::string run_id;
  std::string uuid;       // UUID of a domain of libvirt; empty: it has a monitor of its own
  int64_t domain_id = 0;  // the domain's id
  std::string boot_id;
  int major = 7;
  int minor = 2;
  bool no_shutdown = false;
  bool no_reboot = false;

  ProcessPtr process;
  // A process that listens on its monitor for it, and passes the socket on; null: it listens
  // itself. The run may be this process's until somebody has spoken.
  ProcessPtr launcher;
  ListenerPtr listener;
  ListenerPtr second;  // another monitor; null: there is none
  std::string second_run_id;
  std::string listed_as;  // name by the socket at which it was found
  std::string socket;
  uint64_t socket_inode = 0;
  ConnectionPtr client;     // connection that is served
  int client_daemon = 0;    // number of that daemon; 0: a manager
  ConnectionPtr attached;   // the newest one of a daemon
  bool negotiated = false;  // events go out
  bool hangs = false;       // main loop hangs or has ended: nothing is answered
  std::string run_state = "running";
  absl::Duration answered_at;  // last time that its client was greeted or answered
  absl::Duration began;

  std::vector<Saying> sayings;
  // Those that have had a connection, or to which libvirt has spoken of the domain.
  std::set<int> daemons;
  // How it ends, as the step says that decides; null: nothing has decided yet.
  const Ending* ending = nullptr;
  // Time of the last press of its power button that counts: no reset came since, and no return to a
  // snapshot of before.
  absl::Duration pressed = -absl::InfiniteDuration();
  // Time of the last press, panic or watchdog since the last reset, which would make it void; and
  // whether it was resumed since, as by a return to a snapshot.
  absl::Duration voidable = -absl::InfiniteDuration();
  bool resumed_since = false;
  bool stricken = false;        // by a panic or its watchdog, and not reset since
  bool guest_can_exit = false;  // its command line has a device by which the guest ends it
  // Sender of the signal that ends it; 0: the kernel, -1: nobody.
  int64_t sender = -1;
  // The last time at which another process of its cgroup was killed for memory.
  absl::Duration others_oom_kill = -absl::InfiniteDuration();
  std::optional<ManagerEnd> reported;  // end that libvirt reports; unset: as it seems
  std::vector<Declared> intents;

  // Last time at which something kept daemons from its monitor: it did not listen, hung, or had
  // another client.
  absl::Duration kept_at = absl::ZeroDuration();
  // Time at which its last client's connection was closed, if that was a daemon's.
  absl::Duration left_daemon_at = -absl::InfiniteDuration();
  // Last time at which a daemon lost sight of it, or libvirt did.
  absl::Duration unseen_at = -absl::InfiniteDuration();
  bool process_gone = false;
  bool gone = false;  // the process, and its next life may begin
  absl::Duration gone_at = absl::InfiniteDuration();
  // The daemon that read the kernel's records as its signal was sent; 0: none.
  int kill_seen_by = 0;
  uint64_t earlier_inode = 0;     // the newest file when a daemon connected first
  int kill_ring = 0;              // the kernel's ring that has the record of it
  int victim_seen_by = 0;         // the daemon that followed it as the kernel named its victim
  int ended_under = 0;            // the daemon that ran as its process ended; 0: none
  bool ended_unattended = false;  // its process ended while no daemon ran
  int handed_to = 0;              // the last daemon to which its monitor was handed over
  int process_handed_to = 0;      // for a domain: the last daemon to which its process was
  bool reaped_before = false;     // for a domain: it had an exit status by then
};

// The UUID of its -uuid.
inline std::string UuidOf(const Life& life) {
  if (!life.uuid.empty()) return life.uuid;
  return absl::StrFormat("00000000-0000-4000-8000-%012d", life.number);
}

}  // namespace vmeventd::simulation
