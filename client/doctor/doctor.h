#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/specs.h"

// Decides what is wrong on a node, from the facts that were read there. Pure.

namespace vmeventd::client {

// The file of a bound socket: its device, as stat(2) has it, and the low 32 bits of its inode.
// Zeros: not known. A file system with several devices, such as Btrfs, may have another one here
// than in stat(2).
struct UnixSocketFile {
  uint64_t device = 0;
  uint32_t inode = 0;
  auto operator<=>(const UnixSocketFile&) const = default;
};

// A Unix socket of this network namespace, as `ss -xp` sees it.
struct UnixSocket {
  uint32_t inode = 0;
  // The text that it was bound to, raw bytes, which may be relative, or a path in another mount
  // namespace; an accepted one has its listener's; empty: not bound to a path.
  std::string path;
  bool listening = false;
  uint32_t pending = 0;  // a listening one's connections that nobody has accepted yet
  uint32_t peer = 0;     // a connected one's other end, by its inode
  UnixSocketFile file;   // an accepted one has its listener's
};

// Reads all of them by the kernel's sock_diag, connecting to none. UNAVAILABLE: the kernel does not
// answer, as without its module unix_diag; names the call.
absl::StatusOr<std::vector<UnixSocket>> ReadUnixSockets();

// Reads them from /proc/net/unix, which each kernel has: without `pending` and `peer`.
absl::StatusOr<std::vector<UnixSocket>> ReadUnixSocketsOfProc();

// The facts of a process in /proc, without those that the reader may not see.
struct NodeProcess {
  int64_t pid = 0;
  std::string program;                 // its name, at most 15 bytes
  std::vector<std::string> arguments;  // the program first
  char state = '?';                    // as in ps: R, S, D, T, ...
  bool stopped() const { return state == 'T' || state == 't'; }
  std::string user;                 // owner
  std::string network_namespace;    // names it; empty: not visible
  bool sees_descriptors = false;    // `sockets` is known
  std::map<int, uint32_t> sockets;  // the inodes of its sockets, by descriptor
  // Facts of a vmeventd alone:
  uint64_t descriptor_limit = 0;    // 0: not known
  bool reads_all_files = true;      // it has CAP_DAC_OVERRIDE or CAP_DAC_READ_SEARCH
  std::vector<std::string> groups;  // their numbers
  bool misses_logs = false;         // the host has libvirt's logs, and its container has not
};
inline constexpr char kDaemonProgram[] = "vmeventd";
inline constexpr char kLibvirtLogs[] = "/var/log/libvirt/qemu";

// The answer of the daemon, or `failure` if there is none.
struct DaemonAnswer {
  std::string address;
  std::string failure;     // a sentence; empty: the rest is known
  bool forbidden = false;  // a right is missing
  std::string group;       // its members have it; empty: only root has, or it is not known
  std::string line;        // to paste, where there is no answer
  v1::GetServerInfoResponse info;
  std::vector<v1::Vm> vms;  // VMs that have not stopped
  bool reachable() const { return failure.empty(); }
};

// A --watch, and what is there.
struct WatchedPlace {
  WatchSpec spec;
  bool exists = false;  // the directory, as the doctor sees it
  // Paths of the sockets there that it takes.
  std::map<UnixSocketFile, std::string> sockets;
};

struct NodeFacts {
  std::vector<NodeProcess> processes;
  std::vector<UnixSocket> sockets;
  // Reason why `sockets` are without their connections; empty: they have them.
  std::string no_connections;
  // The listening sockets at which a client waited all the time that the doctor looked, by inode.
  std::set<uint32_t> waited_at;
  std::vector<WatchedPlace> watches;
  std::string network_namespace;  // the doctor's own
  bool is_root = false;
  bool is_here = true;  // the daemon is on this node; otherwise nothing else was read
  std::string command = "vmevents doctor";  // asks the same daemon
  bool follows_libvirt = false;  // the daemon does, or will where its configuration holds
  bool has_systemd = false;      // it runs this host
  std::string journal_group;     // number of the group systemd-journal; empty: there is none
  DaemonAnswer daemon;
};

// Destination of the line that fixes a finding.
enum class Place { kShell, kConfiguration, kQemu };

struct Finding {
  std::string kind;                   // one of the words of vmevents(1), for programs
  std::vector<std::string> subjects;  // at least one: all that have the same cause
  std::string what;                   // sentences
  Place place = Place::kShell;
  std::string line;  // the line to paste there
};

struct Diagnosis {
  std::string asked;    // the daemon that was asked, and whether it answered
  bool is_here = true;  // as of NodeFacts
  size_t qemus = 0;
  size_t followed = 0;
  size_t usable = 0;  // QEMUs that are followed, or have a monitor that vmeventd may take
  size_t unseen = 0;  // QEMUs of which only root sees who holds a monitor, vmeventd or another
  // Numbers of QEMUs by the pid of the vmeventd that holds their monitors. It did not answer here.
  std::map<int64_t, size_t> followed_by;
  std::vector<Finding> findings;
};

// Texts may hold any bytes.
Diagnosis Diagnose(const NodeFacts& facts);

// The sources of a daemon that does not answer, as its configuration file has them.
struct ConfiguredSources {
  std::vector<WatchSpec> watches;
  bool libvirt = false;
};
// Empty text, or none there: the daemon's defaults. INVALID_ARGUMENT: it is no such file.
absl::StatusOr<ConfiguredSources> SourcesOfConfiguration(const std::string& content);

// Reads this node, whose daemon gave `daemon`. The sources are `configured` if the daemon gave no
// answer. Connects to no socket. If a client waits at a socket, it looks again after `kSecondLook`,
// by `wait`. An error names what could not be read.
constexpr absl::Duration kSecondLook = absl::Seconds(1);
absl::StatusOr<NodeFacts> ReadNode(DaemonAnswer daemon, const ConfiguredSources& configured,
                                   const std::function<void(absl::Duration)>& wait);

// The reason why TLS with a server fails, where gRPC reports only OpenSSL's error numbers: one
// sentence without a full stop, safe for a terminal; empty: it found no fault. Connects to the TCP
// address, with or without TLS as that specifies. Blocks for at most 6 s. The caller must ignore
// SIGPIPE.
std::string ExplainTlsFault(const ServerAddress& address);

// The findings for people, wrapped to `width` columns but for the lines to paste, and a summary.
std::string DiagnosisText(const Diagnosis& diagnosis, size_t width, bool color);
// One JSON object a line for each finding, for programs.
std::string DiagnosisJson(const Diagnosis& diagnosis);
// One subject a line.
std::string DiagnosisNames(const Diagnosis& diagnosis);

}  // namespace vmeventd::client
