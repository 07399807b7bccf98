#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "client/doctor/diagnosis.h"
#include "watcher/core/managers.h"
#include "watcher/core/specs.h"

// How a QEMU gets a monitor for vmeventd alone, by the program that starts it: the commands of
// docs/connect.md. Pure.

namespace vmeventd::client {

// In a line: the VM's name, which its manager knows it by. No argument of a process has a NUL.
inline constexpr absl::string_view kVm = {"\0vm", 3};

// The sockets for vmeventd of a QEMU's user.
struct OwnPlace {
  WatchSpec spec;
  bool is_there = false;    // the directory
  bool is_watched = false;  // by the vmeventd that was asked
  std::string owner;        // of the directory
};

struct MonitorAdvice {
  std::string what;         // sentences
  std::vector<Step> steps;  // without those that make the place and have it watched
  bool needs_place = false;
  std::string watch = {};  // another --watch than the place's
  std::string vm = {};     // the name that kVm stands for
};

// `manager` is null where none is known. The steps of Place::kQemu have the socket's path alone.
// `shared` is the path of another VM's monitor in its arguments, which the new one replaces; empty:
// there is none that is known.
MonitorAdvice AdviseMonitor(const Manager* manager, const NodeProcess& qemu, const OwnPlace& place,
                            const std::string& shared);

// Returns how a QEMU of x86 gets a panic device. No steps: there is no line for it.
MonitorAdvice AdvisePanicDevice(const Manager* manager, const NodeProcess& qemu, bool is_of_nova);

// The line that makes the directory, also at the next boot.
std::string MakePlace(const OwnPlace& place, bool has_systemd);

// QEMU's arguments for a monitor at `path`, as a shell takes them.
std::string MonitorArguments(const std::string& path);

}  // namespace vmeventd::client
