#include "client/doctor/monitors.h"

#include <cstddef>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "client/doctor/monitor_paths.h"

namespace vmeventd::client {
namespace {

// Returns whether the QEMU may have monitors that its command line does not name: in a file, or as
// a descriptor.
bool MayHaveOthers(const NodeProcess& qemu) {
  return absl::c_any_of(qemu.arguments, [](absl::string_view argument) {
    return absl::EndsWith(argument, "-readconfig") || absl::StartsWith(argument, "unix:fd=") ||
           (absl::StartsWith(argument, "socket,") && absl::StrContains(argument, ",fd="));
  });
}

// Returns whether the command line names the path. If the path is none of its QMP monitors, it is
// that of a monitor for people, or of no monitor.
bool IsNamed(const NodeProcess& qemu, absl::string_view path) {
  const std::string written = absl::StrReplaceAll(path, {{",", ",,"}});
  return absl::c_any_of(qemu.arguments, [&written](const std::string& argument) {
    return absl::StrContains(argument, written);
  });
}

// The monitors on a QEMU's command line. If the command line does not show all of them, also the
// sockets that the QEMU listens on and whose names are those of monitors for followers.
std::vector<QmpMonitor> GivenMonitors(const NodeFacts& facts, const NodeProcess& qemu,
                                      const QemuArguments& arguments) {
  std::vector<QmpMonitor> given = arguments.monitors;
  for (QmpMonitor& monitor : given) {
    const auto inherited = qemu.sockets.find(monitor.descriptor);
    for (const UnixSocket& socket : facts.sockets) {
      if (inherited != qemu.sockets.end() && inherited->second == socket.inode) {
        monitor.path = socket.path;
      }
    }
  }
  if (!MayHaveOthers(qemu)) return given;
  for (const UnixSocket& socket : facts.sockets) {
    if (!socket.listening || !IsForFollowers(socket.path) || !HasSocket(qemu, socket.inode))
      continue;
    if (IsNamed(qemu, socket.path)) continue;
    if (absl::c_none_of(given, [&](const QmpMonitor& one) { return one.path == socket.path; })) {
      given.push_back({.path = socket.path});
    }
  }
  return given;
}

}  // namespace

std::vector<Monitor> MonitorsOf(const Examination& exam, const NodeProcess& qemu,
                                const QemuArguments& arguments, const Manager* manager,
                                const v1::Vm* vm) {
  std::vector<Monitor> monitors;
  const std::vector<QmpMonitor> all = GivenMonitors(exam.facts(), qemu, arguments);
  for (size_t i = 0; i < all.size(); ++i) {
    Monitor monitor = {all[i].path};
    if (monitor.path.empty()) continue;
    monitor.owner = OwnerOf(manager, all, i);
    monitor.is_lost = qemu.qemu->lost_paths.contains(monitor.path);
    for (const UnixSocket& socket : exam.facts().sockets) {
      monitor.is_abstract |= socket.listening && socket.abstract_name == monitor.path;
      if (socket.path != monitor.path) continue;
      // Another QEMU may have had a monitor there.
      if (qemu.sees_descriptors && !HasSocket(qemu, socket.inode)) continue;
      if (socket.listening) {
        monitor.listener = &socket;
      } else if (socket.peer != 0) {
        monitor.held = true;
        const auto client = absl::c_find_if(exam.facts().processes, [&](const NodeProcess& one) {
          return HasSocket(one, socket.peer);
        });
        if (client != exam.facts().processes.end()) monitor.client = &*client;
      }
    }
    monitor.is_abstract &= monitor.listener == nullptr;
    if (vm != nullptr && FileOf(vm->monitor_path()) == FileOf(monitor.path)) {
      monitor.path = vm->monitor_path();
    } else if (const auto found = qemu.qemu->paths.find(monitor.path);
               found != qemu.qemu->paths.end()) {
      monitor.is_seen = found->second.has_value();
      monitor.path = found->second.value_or(monitor.path);
    }
    if (monitor.owner == nullptr) monitor.owner = OwnerOfPath(monitor.path);
    monitors.push_back(std::move(monitor));
  }
  return monitors;
}

bool IsWatched(const Examination& exam, const Monitor& monitor) {
  if (!monitor.is_seen || monitor.is_lost || monitor.is_abstract || monitor.owner != nullptr) {
    return false;
  }
  return absl::c_any_of(exam.facts().watches, [&](const WatchedPlace& place) {
    return place.spec.VmName(monitor.path).has_value();
  });
}

}  // namespace vmeventd::client
