#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "client/doctor/advice.h"
#include "client/doctor/examination.h"
#include "client/doctor/monitors.h"
#include "client/doctor/node_facts.h"
#include "watcher/core/managers.h"

// The parts of a diagnosis. Each part has its own file, named after what it diagnoses, and adds its
// findings to the examination.

namespace vmeventd::client {

// diagnose_daemon.cc: the daemon itself, and what this client may see of it.
// Reports a daemon that follows no VM now, and addresses that it cannot listen on.
void DiagnoseService(Examination* exam);
void DiagnoseJournal(Examination* exam);
void DiagnoseRights(Examination* exam);
void DiagnoseHostShutdown(Examination* exam);
void DiagnoseLogs(Examination* exam);
// The problems of VMs that the daemon reports and no other finding explains.
void DiagnoseReportedVms(Examination* exam);
// The line that adds a setting to a systemd unit.
std::string ChangeUnit(const std::string& unit, absl::string_view file, absl::string_view setting);

// diagnose_signals.cc: whether the daemon can see who sends a signal.
void DiagnoseSignals(Examination* exam);

// diagnose_sockets.cc: watched directories, the sockets in them that lead to no VM, and other
// programs that occupy them.
void DiagnoseWatch(const WatchedPlace& place, Examination* exam);
void DiagnoseKvmd(const NodeProcess& process, Examination* exam);
void DiagnoseUnfollowedSockets(Examination* exam);
// The suffix of Ganeti's sockets, the name of its watcher, and the line that stops this watcher and
// prevents its start.
inline constexpr char kGanetiPattern[] = ".kvmd";
inline constexpr char kKvmdProgram[] = "ganeti-kvmd";
extern const char kDisableKvmd[];

// diagnose_libvirt.cc: connections to libvirt, and its domains.
inline constexpr char kSystemLibvirt[] = "qemu:///system";
void DiagnoseLibvirts(Examination* exam);
// Reports a domain whose libvirt is not followed.
void FollowLibvirt(const Subject& subject, const NodeProcess& qemu, const Manager& manager,
                   Examination* exam);

// diagnose_containers.cc: what namespaces hide, and what a cgroup freezes.
// Reports a monitor made for followers, in a directory that vmeventd cannot see.
void DiagnoseUnseen(Subject subject, const NodeProcess& qemu, const Monitor& monitor,
                    Examination* exam);
// The command of docker or podman for the container of this cgroup, which is a path or the text of
// a cgroup file; unset: it is not a container of these engines.
std::optional<std::string> EngineLine(const std::string& cgroup, absl::string_view command);
// The line that thaws the frozen cgroup of a QEMU.
std::string ThawLine(const NodeProcess& qemu);

// diagnose_qemu.cc: one QEMU. Only its first obstacle is reported, because it causes the others.
void DiagnoseQemu(const NodeProcess& qemu, Examination* exam);
// The directory in which the QEMU's user makes the sockets that vmeventd follows.
OwnPlace PlaceFor(const NodeProcess& qemu, const Manager* manager, const Examination& exam);

}  // namespace vmeventd::client
