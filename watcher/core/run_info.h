#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "vmeventd/contract/enums.h"

// The input of a session: the run and its process.

namespace vmeventd {

// Identity of a socket file: another process may bind the path again, and an inode may be reused.
struct SocketIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t made_ns = 0;  // creation time of the file, since 1970

  bool operator==(const SocketIdentity&) const = default;
};

// Facts of a run's process.
struct ProcessInfo {
  int64_t pid = 0;                                  // 0: not visible, or of a foreign PID namespace
  uint64_t start_ticks = 0;                         // field 22 of /proc/PID/stat; 0: not known
  uint64_t pidfd_inode = 0;                         // see ProcessKey; 0: not known
  absl::Time process_start = absl::InfinitePast();  // InfinitePast: not known
  // The file that counts the OOM kills in the process's cgroup (empty: not known), and its count
  // while the process lived.
  std::string oom_file;
  uint64_t oom_kills = 0;
  std::string unit;  // VmRef::unit
};

// The log that a manager has for a QEMU: NAME.log in a directory, named after RunInfo::raw_name.
struct ManagerLog {
  std::string directory;  // absolute; empty: there is no log
  // kStandardError: the file is what QEMU writes. kLibvirtLog: it begins with earlier lives of the
  // VM, has lines of libvirt, and what QEMU writes may arrive late.
  LastWordsSource format = LastWordsSource::kStandardError;
};

// The facts of a run that are known when its process is first seen. Text is UTF-8, except raw_*.
struct RunInfo : ProcessInfo {
  std::string name;      // raw_name, escaped
  std::string raw_name;  // the name in file names
  std::string run_id;
  std::string source_key;      // SourceKind::key of the source that follows it
  std::string source;          // VmRef::source, which begins with the key: "qmp:/run/qemu"
  std::string monitor_path;    // raw_path, escaped; empty if a manager has the monitor
  std::string raw_path;        // path of the monitor's socket as the kernel knows it
  uint64_t pid_namespace = 0;  // namespace of `pid`; 0: not known
  SocketIdentity socket;       // the socket that was connected to last
  // False: the run ends with the monitor's EOF, or by the manager's report if it has a manager.
  bool process_tracked = true;
  // The source is a manager, called `source_key`, that has QEMU's monitor. It reports the run state
  // and the end by itself, and may have lost events of QEMU. QEMU is not asked.
  bool has_manager = false;
  bool is_container = false;  // no QEMU: its process is the container's, which the manager ends
  // The problem of a run that has lost its monitor, or its manager.
  ProblemCode lost_problem = ProblemCode::kMonitorLost;
  ManagerLog log;
  // The manager reads NAME.shutdown in the directory of `raw_path`: it is written at the end.
  bool has_shutdown_file = false;
  int64_t domain_id = 0;  // libvirt's number of the running domain; 0: not libvirt's

  // Makes `process` the run's process, which is tracked.
  void SetProcess(const ProcessInfo& process) {
    process_tracked = true;
    static_cast<ProcessInfo&>(*this) = process;
  }
};

}  // namespace vmeventd
