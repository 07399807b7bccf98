#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "tests/simulation/kernel.h"
#include "watcher/core/vm_event.h"
#include "watcher/session/classification.h"

namespace vmeventd::simulation {

// One thing that QEMU said, or would have said to who listens.
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
  bool kept = false;    // with kManager: libvirt was asked, after the end
  absl::Duration at;    // monotonic
  int64_t wall_us = 0;  // as QEMU stamps it; 0: an answer, which has no stamp
  // To whom, and where it is in what that connection was sent; null: nobody listened.
  ConnectionPtr heard_by;
  uint64_t begin = 0;
  uint64_t end = 0;
  int daemon = 0;       // which of the daemons that was
  bool unsure = false;  // libvirt said it before its first list, which may be older or newer

  // Whether it was sent to a daemon, and whether that has read it.
  bool was_sent() const { return heard_by != nullptr && heard_by->of_daemon; }
  bool was_read() const { return was_sent() && heard_by->handed_out >= end; }
};

// An intent for a life, as its declarer knows it.
struct Declared {
  absl::Duration asked;
  absl::Duration answered = absl::InfiniteDuration();  // with OK
  absl::Duration ttl;
  bool withdrawn = false;
  absl::Duration withdrawn_at = absl::InfiniteDuration();  // that was answered with OK
  int asked_daemon = 0;            // to withdraw it; 0: none, or that was answered
  absl::Duration asked_daemon_at;  // when
};

// The life of one QEMU process, as it truly is.
struct Life {
  int number = 0;
  std::string name;
  std::string run_id;
  std::string uuid;       // of a domain of libvirt; empty: it has a monitor of its own
  int64_t domain_id = 0;  // likewise
  std::string boot_id;
  int major = 7;
  int minor = 2;
  bool no_shutdown = false;
  bool no_reboot = false;

  ProcessPtr process;
  // Listens on its monitor for it, and passes the socket on; null: it listens itself. Until
  // somebody has spoken the run may be this process's.
  ProcessPtr launcher;
  // Listens in its place, beside its own socket, and forks a child for each client; null: nobody.
  ProcessPtr proxy;
  ProcessPtr proxy_child;               // who serves `client`
  std::set<int64_t> proxy_pids;         // of these, so far
  std::set<std::string> proxy_run_ids;  // by who listened or spoke
  ListenerPtr listener;
  ListenerPtr second;  // another monitor of it; null: there is none
  std::string second_run_id;
  std::string listed_as;  // by the socket at which it was found
  std::string socket;
  uint64_t socket_inode = 0;
  ConnectionPtr client;     // that is served
  int client_daemon = 0;    // which daemon that is; 0: a manager
  ConnectionPtr attached;   // the newest one of a daemon
  bool negotiated = false;  // events go out
  // A fork that answers in its place, as of a compromised QEMU; null: there is none. It answers the
  // daemon that knew the QEMU before, and no other.
  ProcessPtr fork;
  int fork_daemon = 0;
  bool fork_serves = false;  // `client`
  ConnectionPtr fork_spoke;  // where it spoke first, and where that ends in what was sent there
  uint64_t fork_spoke_end = 0;
  bool hangs = false;  // its main loop, or that has ended: nothing is answered
  std::string run_state = "running";
  absl::Duration answered_at;  // when its client was greeted, or answered last
  absl::Duration began;

  std::vector<Saying> sayings;
  std::set<int> daemons;  // that have had a connection
  // What truly ended it; a class is set with the step that decides.
  std::string ending;
  std::optional<ShutdownClass> truth;
  std::optional<ManagerEnd> reported;  // by libvirt; unset: as it seems
  std::vector<Declared> intents;

  // When something last kept daemons from its monitor: it did not listen, hung, or had another
  // client.
  absl::Duration kept_at = absl::ZeroDuration();
  // When its last client's connection was closed, if that was a daemon's.
  absl::Duration left_daemon_at = -absl::InfiniteDuration();
  bool process_gone = false;
  bool gone = false;  // the process, its fork and its proxy
  absl::Duration gone_at = absl::InfiniteDuration();
  bool oom_killed = false;
  // Another process killed it, while that daemon read the kernel's records; 0: none.
  bool killed_by_host = false;
  int kill_seen_by = 0;
  int kill_ring = 0;              // the kernel's ring that has the record of it
  bool ended_unattended = false;  // its process, while no daemon ran
  bool kept_over_crash = false;   // its monitor, at least once
  int handed_to = 0;              // the last daemon to which its monitor was handed over
  bool handed_by_crash = false;   // likewise: what that had read was noted
  int process_handed_to = 0;      // of a domain: the last daemon to which its process was
  bool reaped_before = false;     // likewise: it had an exit status by then
};

// Its -uuid.
inline std::string UuidOf(const Life& life) {
  if (!life.uuid.empty()) return life.uuid;
  return absl::StrFormat("00000000-0000-4000-8000-%012d", life.number);
}

}  // namespace vmeventd::simulation
