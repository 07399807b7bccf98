#pragma once

#include "client/doctor/examination.h"
#include "client/doctor/node_facts.h"

// Findings about watched directories, about sockets in them that lead to no VM, and about other
// programs that occupy them.

namespace vmeventd::client {

void DiagnoseWatch(const WatchedPlace& place, Examination* exam);
void DiagnoseKvmd(const NodeProcess& process, Examination* exam);
void DiagnoseUnfollowedSockets(Examination* exam);
// The name of Ganeti's watcher, and the line that stops it and prevents its start.
inline constexpr char kKvmdProgram[] = "ganeti-kvmd";
extern const char kDisableKvmd[];

}  // namespace vmeventd::client
