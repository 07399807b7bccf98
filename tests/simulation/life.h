#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "tests/simulation/declared.h"
#include "tests/simulation/endings.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/report.h"
#include "watcher/session/evidence.h"

namespace vmeventd::simulation {

// The true state of one QEMU process, from start to end.
struct Life {
  int number = 0;
  std::string name;
  std::string run_id;
  std::string uuid;       // UUID of a domain of libvirt; empty: not a domain, it has a monitor
  int64_t domain_id = 0;  // id of the domain
  std::string boot_id;
  int major = 7;
  int minor = 2;
  bool no_shutdown = false;
  bool no_reboot = false;

  ProcessPtr process;
  // A process that listens on the monitor and passes the socket to QEMU; null: QEMU listens itself.
  // Until QEMU has sent something, the daemon may attribute the run to this process.
  ProcessPtr launcher;
  ListenerPtr listener;
  ListenerPtr second;  // a second monitor; null: there is none
  std::string second_run_id;
  std::string listed_as;  // its name from the socket by which it was found
  std::string socket;
  uint64_t socket_inode = 0;
  ConnectionPtr client;     // the connection that QEMU serves
  int client_daemon = 0;    // number of the daemon that is this client; 0: the client is a manager
  ConnectionPtr attached;   // the newest connection of a daemon
  bool negotiated = false;  // the client gets events
  bool hangs = false;       // QEMU answers nothing: its main loop hangs or has ended
  std::string run_state = "running";
  absl::Duration answered_at;  // last time at which its client got the greeting or an answer
  absl::Duration began;

  std::vector<Report> reports;
  // Numbers of the daemons that have had a connection, or to which libvirt has reported the domain.
  std::set<int> daemons;
  // The ending, set by the step that decides; null: not decided yet.
  const Ending* ending = nullptr;
  // Time of the last press of its power button that still counts: since then there was no reset,
  // and no return to an earlier snapshot.
  absl::Duration pressed = -absl::InfiniteDuration();
  // Time of the last press, panic or watchdog since the last reset; a reset would make it void.
  // `resumed_since`: whether the VM was resumed since then, as by a return to a snapshot.
  absl::Duration voidable = -absl::InfiniteDuration();
  bool resumed_since = false;
  bool stricken = false;  // it had a panic or its watchdog expired, and it was not reset since
  bool guest_can_exit = false;  // its command line has a device by which the guest can end it
  // Sender of the signal that ends it; 0: the kernel; -1: no signal.
  int64_t sender = -1;
  // Last time at which another process of its cgroup was killed for memory.
  absl::Duration others_oom_kill = -absl::InfiniteDuration();
  // The end that libvirt reports; unset: what libvirt concludes itself.
  std::optional<ManagerEnd> reported;
  std::vector<Declared> intents;

  // Last time at which daemons could not use its monitor: it did not listen, hung, or had another
  // client.
  absl::Duration kept_at = absl::ZeroDuration();
  // Time at which QEMU closed the connection of its last client at its end, if that was the daemon
  // that runs.
  absl::Duration left_daemon_at = -absl::InfiniteDuration();
  // Last time at which a daemon lost its connection to it, or libvirt did.
  absl::Duration unseen_at = -absl::InfiniteDuration();
  bool process_gone = false;
  bool gone = false;  // the process is gone, and the next life with this name may begin
  absl::Duration gone_at = absl::InfiniteDuration();
  // The daemon that read the kernel's records when its signal was sent; 0: none.
  int kill_seen_by = 0;
  uint64_t earlier_inode = 0;  // inode of the newest file when a daemon first connected
  int kill_ring = 0;           // the kernel's ring that has the record of its signal
  int victim_seen_by = 0;      // the daemon that followed it when the kernel chose it as the victim
  int ended_under = 0;         // the daemon that ran when its process ended; 0: none
  bool ended_unattended = false;  // its process ended when no daemon ran
  int handed_to = 0;              // the last daemon to which its monitor was handed over
  int process_handed_to = 0;   // for a domain: the last daemon to which its process was handed over
  bool reaped_before = false;  // for a domain: its process was already reaped at that time
};

// Returns whether it has one monitor, at which QEMU itself has always listened.
inline bool HasOneMonitor(const Life& life) {
  return life.launcher == nullptr && life.second == nullptr && life.uuid.empty();
}

// The UUID in its -uuid.
inline std::string UuidOf(const Life& life) {
  if (!life.uuid.empty()) return life.uuid;
  return absl::StrFormat("00000000-0000-4000-8000-%012d", life.number);
}

}  // namespace vmeventd::simulation
