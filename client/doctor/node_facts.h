#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/watch_spec.h"

// The facts of a node from which `doctor` decides what is wrong there.

namespace vmeventd::client {

// A Unix socket of this network namespace, as `ss -xp` shows it.
struct UnixSocket {
  uint32_t inode = 0;
  // Path to which it was bound, as raw bytes: may be relative, or of another mount namespace. An
  // accepted socket has its listener's path. Empty: not bound to a path.
  std::string path;
  bool listening = false;
  bool waited_at = false;  // for a listening socket: some connection is not accepted yet
  uint32_t peer = 0;       // for a connected socket: the inode of the other end
  uint32_t file = 0;       // inode of the file to which it was bound; 0: not known
  uint32_t device = 0;     // device of that file, as the kernel numbers it
  // Name of an abstract socket, which is no file, without its zero byte; `path` is then empty.
  std::string abstract_name = {};
};

// The facts of a QEMU, in addition to those of its process.
struct QemuFacts {
  std::string home;          // home directory of its owner; empty: not known
  bool sees_network = true;  // the Unix sockets of its network namespace are known
  // Its root directory is not the host's: it runs in a container. A QEMU with -chroot does not: it
  // changes its root directory after it has made its sockets.
  bool own_root = false;
  bool own_tmp = false;   // only its /tmp is not the host's, as in a unit with PrivateTmp=
  std::string frozen_by;  // the frozen cgroup that it is in; empty: none
  bool dumps_core = false;
  // The paths at which vmeventd finds its sockets, keyed by the paths to which the QEMU bound them;
  // only where both differ. Unset: vmeventd cannot see the socket at any path.
  std::map<std::string, std::optional<std::string>> paths;
  std::set<std::string> lost_paths;  // paths where its socket no longer is
};

// The facts of a vmeventd, in addition to those of its process.
struct DaemonFacts {
  bool reads_logs = true;     // it can read libvirt's logs, or the host has none
  bool reads_journal = true;  // it can read systemd's journal, or the host has none
  bool is_confined = false;   // its AppArmor profile, vmeventd, forbids what it does not permit
};

// The facts of a process in /proc, except those that the reader may not see.
struct NodeProcess {
  int64_t pid = 0;
  std::string program;                 // name of the process, at most 15 bytes
  std::vector<std::string> arguments;  // the program first
  char state = '?';                    // as `ps` shows it: R, S, D, T, ...
  bool stopped() const { return state == 'T' || state == 't'; }
  std::string user;                   // owner
  uint32_t uid = 0;                   // uid of the owner
  std::string cgroups;                // the text of its cgroup file
  bool sees_descriptors = false;      // `sockets` is known
  std::map<int, uint32_t> sockets;    // the inodes of its sockets, by descriptor
  std::optional<QemuFacts> qemu;      // set: it is a QEMU
  std::optional<DaemonFacts> daemon;  // set: it is a vmeventd
};
inline constexpr char kDaemonProgram[] = "vmeventd";

// Returns whether the cgroup of the process is a container's.
bool IsContained(const NodeProcess& process);

inline bool IsDaemon(const NodeProcess* process) { return process != nullptr && process->daemon; }

// Returns whether the process has a descriptor of this socket.
bool HasSocket(const NodeProcess& process, uint32_t inode);

// "qemu-system-x86 (pid 42)".
std::string DescribeProcess(const NodeProcess& process);

// A --watch, and the state of its directory.
struct WatchedPlace {
  WatchSpec spec;
  bool exists = false;  // `doctor` sees the directory
  std::string target;   // where it is a symbolic link to nothing: the path to which that leads
  bool hangs = false;   // the daemon reports that it hangs, so `doctor` has not looked at it
  // Users who may make a socket in it: the owner (a uid), and all users.
  uint32_t owner = 0;
  bool open_to_all = false;
};

struct NodeFacts {
  // Read on this node:
  bool examined = false;  // false: the daemon runs on another node, and all of this part is unset
  std::vector<NodeProcess> processes;
  std::vector<UnixSocket> sockets;
  std::vector<WatchedPlace> watches;
  // Paths of the files in the directories where doctor proposes monitors.
  std::set<std::string> files;
  bool is_root = false;
  int64_t daemon_pid = 0;    // pid of the vmeventd that was asked; 0: it cannot be seen
  bool has_systemd = false;  // systemd runs this host
  // From the daemon's answer:
  std::string address;
  bool is_serving = true;  // as its health says
  v1::GetServerInfoResponse info;
  std::vector<v1::Vm> vms;  // VMs that have not stopped

  std::string client = "vmevents";  // begins a command: with the options that name the same daemon
};

}  // namespace vmeventd::client
