#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "watcher/core/qemu_texts.h"
#include "watcher/core/specs.h"

// The programs that start QEMUs and need a monitor of them for themselves. A monitor serves one
// client: a daemon that holds this one stops the program. docs/connect.md has the same table.
// Pure.

namespace vmeventd {

enum class ManagerId {
  kGaneti,
  kIncus,
  kKata,
  kLibvirt,
  kLibvirtSession,
  kLima,
  kLxd,
  kMicrovm,
  kMinikube,
  kPacker,
  kPodmanMachine,
  kProxmox,
  kXen,
};

struct Manager {
  ManagerId id;
  absl::string_view name;
  absl::string_view need;  // the use of its monitor, to stand behind "needs it"
  absl::string_view
      way;  // how vmeventd can follow its VMs instead: an imperative, or that it cannot
};

// The first manager's monitors that `watch` may match, judged by the paths alone.
struct ManagerMonitors {
  const Manager* manager = nullptr;
  std::string sockets;  // the path of those that the watch takes, with a '*' for what varies
};
std::optional<ManagerMonitors> FindManagerMonitors(const WatchSpec& watch);

// The manager whose own monitor is at `path`; null: none is known.
const Manager* OwnerOfPath(absl::string_view path);

// The manager that started a QEMU, by its command line and the text of its /proc/PID/cgroup; null:
// none that is known. Another program may write such a command line.
const Manager* ManagerOf(const std::vector<std::string>& arguments, absl::string_view cgroups);

// The manager that needs the monitor `monitors[index]` of a QEMU that `manager` started; null:
// nobody. It is by its path, or the first that is called as that manager calls its own.
const Manager* OwnerOf(const Manager* manager, const std::vector<QmpMonitor>& monitors,
                       size_t index);

// "belongs to lima, which needs it to stop its VMs, and ...", for people.
std::string Refusal(const Manager& manager);

}  // namespace vmeventd
