#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/core/watch_spec.h"

// The programs that start QEMUs and need a monitor of them for themselves. A monitor serves one
// client: while a daemon is connected to it, the program cannot use it. docs/connect.md has the
// same table. Pure.

namespace vmeventd {

enum class ManagerId {
  kEve,
  kGaneti,
  kIncus,
  kKata,
  kLibvirt,
  kLibvirtSession,
  kLima,
  kLxd,
  kMicrovm,
  kMinikube,
  kNasty,
  kPacker,
  kPodmanMachine,
  kProxmox,
  kXen,
};

struct Manager {
  ManagerId id;
  absl::string_view name;
  // The purpose of the monitor, which follows "needs it" in a sentence.
  absl::string_view need;
  // The other way in which vmeventd can follow its VMs, as an imperative; or a sentence that there
  // is none.
  absl::string_view way;
};

inline bool IsLibvirt(const Manager& manager) {
  return manager.id == ManagerId::kLibvirt || manager.id == ManagerId::kLibvirtSession;
}

// Monitors of one manager that a watch may match. FindManagerMonitors() returns those of the first
// such manager, judged by the paths alone; unset: the watch matches none.
struct ManagerMonitors {
  const Manager* manager = nullptr;
  std::string sockets;  // path of the matched monitors; '*' stands for the part that varies
};
std::optional<ManagerMonitors> FindManagerMonitors(const WatchSpec& watch);

// The manager whose own monitor is at `path`; null: none is known.
const Manager* OwnerOfPath(absl::string_view path);

// Returns the manager that started a QEMU, judged by its command line and the text of its
// /proc/PID/cgroup; null: no known manager. No proof: another program may write such a command
// line.
const Manager* ManagerOf(const std::vector<std::string>& arguments, absl::string_view cgroups);

// Returns the manager that needs the monitor `monitors[index]` of a QEMU that `manager` started;
// null: none. The path shows it (OwnerOfPath), or the monitor is the first one whose file has the
// name that `manager` gives to its own.
const Manager* OwnerOf(const Manager* manager, const std::vector<QmpMonitor>& monitors,
                       size_t index);

// "belongs to lima, which needs it to stop its VMs, and ...", for people.
std::string Refusal(const Manager& manager);

}  // namespace vmeventd
