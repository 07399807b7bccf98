#pragma once

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "client/doctor/advice.h"
#include "client/doctor/examination.h"
#include "client/doctor/monitors.h"
#include "client/doctor/node_facts.h"
#include "watcher/core/managers.h"

// The parts of a diagnosis, each in a file of what it diagnoses. Each adds its findings to the
// examination.

namespace vmeventd::client {

// The sentence's end after a text that may be a question already.
inline const char* FullStop(absl::string_view text) { return absl::EndsWith(text, "?") ? "" : "."; }

// diagnose_daemon.cc: the daemon itself, and what this client may see of it.
void DiagnoseJournal(Examination* exam);
void DiagnoseRights(Examination* exam);
void DiagnoseHostShutdown(Examination* exam);
void DiagnoseLogs(Examination* exam);
// The problems of VMs that the daemon reports and no other finding explains.
void DiagnoseReportedVms(Examination* exam);
// The line that adds a setting to its unit.
std::string ChangeUnit(const std::string& unit, absl::string_view file, absl::string_view setting);

// diagnose_signals.cc: whether it sees who sends a signal.
void DiagnoseSignals(Examination* exam);

// diagnose_sockets.cc: watched directories, the sockets in them that lead to no VM, and other
// programs that take them.
void DiagnoseWatch(const WatchedPlace& place, Examination* exam);
void DiagnoseKvmd(const NodeProcess& process, Examination* exam);
void DiagnoseUnfollowedSockets(Examination* exam);
// The pattern of Ganeti's sockets, and the line that ends its watcher and keeps it from starting.
inline constexpr char kGanetiPattern[] = ".kvmd";
inline constexpr char kKvmdProgram[] = "ganeti-kvmd";
extern const char kDisableKvmd[];

// diagnose_libvirt.cc: connections to libvirt, and its domains.
inline constexpr char kSystemLibvirt[] = "qemu:///system";
void DiagnoseLibvirts(Examination* exam);
// Reports a domain whose libvirt is not followed.
void FollowLibvirt(const Subject& subject, const NodeProcess& qemu, const Manager& manager,
                   Examination* exam);

// diagnose_containers.cc: what namespaces and cgroups hide or hold.
// Reports a monitor for followers in a directory that vmeventd does not see.
void DiagnoseUnseen(Subject subject, const NodeProcess& qemu, const Monitor& monitor,
                    Examination* exam);
// The line that lets a QEMU run whose cgroup is frozen.
std::string ThawLine(const NodeProcess& qemu);

// diagnose_qemu.cc: a QEMU, of which the first obstacle is the reason of the others.
void DiagnoseQemu(const NodeProcess& qemu, Examination* exam);
// The directory for sockets that vmeventd follows, of the QEMU's user.
OwnPlace PlaceFor(const NodeProcess& qemu, const Manager* manager, const Examination& exam);

}  // namespace vmeventd::client
