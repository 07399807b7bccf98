#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/doctor/examination.h"
#include "client/doctor/finding.h"
#include "watcher/core/managers.h"
#include "watcher/core/watch_spec.h"

// Advice on how a QEMU gets a monitor that only vmeventd uses. It depends on the program that
// starts the QEMU, and gives the commands of docs/connect.md. Pure.

namespace vmeventd::client {

// Placeholder in a line, for the name by which the manager knows the VM. No argument of a process
// contains a NUL.
inline constexpr absl::string_view kVm = {"\0vm", 3};

// The directory in which a QEMU's user makes the sockets for vmeventd.
struct OwnPlace {
  WatchSpec spec;
  bool is_there = false;    // the directory exists
  bool is_watched = false;  // the vmeventd that was asked watches it
  std::string owner;        // owner of the directory
};

struct MonitorAdvice {
  std::string what;         // sentences
  std::vector<Step> steps;  // without the steps that make the directory and add its --watch
  bool needs_place = false;
  std::string watch = {};  // the --watch to add, if it is not that of the place
  std::string vm = {};     // the text that replaces kVm, quoted in lines for the shell
};

// Returns how the QEMU gets a monitor of its own. `manager` is null if none is known. A step of
// Place::kQemu has the socket's path as its line. `shared` is the path in the QEMU's arguments of a
// monitor that belongs to another VM; the new path replaces it; empty: no such monitor is known.
// The path is free, fits into the address of a socket, and is taken in `exam` from now on.
MonitorAdvice AdviseMonitor(const Manager* manager, const NodeProcess& qemu, const OwnPlace& place,
                            const std::string& shared, Examination* exam);

// The name of the VM in a manager that has several projects: PROJECT_NAME. Empty:
// the VM is in the default project, or its manager has none.
std::string NameInProject(const Manager* manager, const NodeProcess& qemu);

// Returns how a QEMU that emulates x86 gets a panic device. Without steps: no command adds it.
MonitorAdvice AdvisePanicDevice(const Manager* manager, const NodeProcess& qemu, bool is_of_nova);

// The command that makes the directory. For one below /run of a host with systemd, tmpfiles.d also
// makes it at each boot.
std::string MakePlace(const OwnPlace& place, bool has_systemd);

// QEMU's arguments for a monitor at `path`, quoted for a shell.
std::string MonitorArguments(const std::string& path);

}  // namespace vmeventd::client
