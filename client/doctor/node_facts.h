#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/specs.h"

// The facts of a node, from which the doctor decides what is wrong there.

namespace vmeventd::client {

// A Unix socket of this network namespace, as `ss -xp` sees it.
struct UnixSocket {
  uint32_t inode = 0;
  // The text that it was bound to, raw bytes, which may be relative, or a path in another mount
  // namespace; an accepted one has its listener's; empty: not bound to a path.
  std::string path;
  bool listening = false;
  bool waited_at = false;  // a listening one: nobody has accepted some connection yet
  uint32_t peer = 0;       // a connected one's other end, by its inode
  uint32_t file = 0;       // the inode of the file that it was bound to; 0: not known
};

// The facts of a process in /proc, without those that the reader may not see.
struct NodeProcess {
  int64_t pid = 0;
  std::string program;                 // its name, at most 15 bytes
  std::vector<std::string> arguments;  // the program first
  char state = '?';                    // as in ps: R, S, D, T, ...
  bool stopped() const { return state == 'T' || state == 't'; }
  std::string user;                 // owner
  uint32_t uid = 0;                 // of the owner
  std::string cgroups;              // the text of its cgroup file
  bool sees_descriptors = false;    // `sockets` is known
  std::map<int, uint32_t> sockets;  // the inodes of its sockets, by descriptor
  // Facts of a QEMU alone:
  bool sees_network = true;  // the Unix sockets of its network namespace are known
  bool own_root = false;     // its root directory is another one: it runs in a container
  bool own_tmp = false;      // only its /tmp is another one, as in a unit with PrivateTmp=
  std::string frozen_by;     // the cgroup that is frozen; empty: none is
  bool dumps_core = false;
  // The paths at which vmeventd finds its sockets, by those that it bound them to, as far as they
  // differ. Unset: vmeventd sees them nowhere.
  std::map<std::string, std::optional<std::string>> paths;
  std::set<std::string> lost_paths;  // those where its socket is not any more
  // Facts of a vmeventd alone:
  bool reads_logs = true;     // those of libvirt, if the host has any
  bool reads_journal = true;  // systemd's, if the host has one
};
// Returns whether its cgroup is a container's.
bool IsContained(const NodeProcess& process);
inline constexpr char kDaemonProgram[] = "vmeventd";
inline constexpr char kLibvirtLogs[] = "/var/log/libvirt/qemu";

// A --watch, and what is there.
struct WatchedPlace {
  WatchSpec spec;
  bool exists = false;  // the directory, as the doctor sees it
  bool hangs = false;   // the doctor has not looked at it
  // The users who may make a socket in it.
  uint32_t owner = 0;
  bool open_to_all = false;
};

struct NodeFacts {
  // This node's own:
  bool examined = false;  // false: the daemon is of another node, and these are unset
  std::vector<NodeProcess> processes;
  std::vector<UnixSocket> sockets;
  std::vector<WatchedPlace> watches;
  bool is_root = false;
  int64_t daemon_pid = 0;    // the vmeventd that was asked; 0: it is not seen
  bool has_systemd = false;  // it runs this host
  // The daemon's answer:
  std::string address;
  v1::GetServerInfoResponse info;
  std::vector<v1::Vm> vms;  // VMs that have not stopped

  std::string client = "vmevents";  // with the option that asks the same daemon
};

// Adds the facts of this node, whose daemon has answered. Connects to no socket. An error names
// what could not be read.
absl::Status ReadNode(NodeFacts* facts);

}  // namespace vmeventd::client
