#pragma once

#include "client/doctor/examination.h"

// Findings about the daemon itself, and about what this client may see of it.

namespace vmeventd::client {

// Reports a daemon that follows no VM now, and addresses that it cannot listen on.
void DiagnoseService(Examination* exam);
void DiagnoseJournal(Examination* exam);
void DiagnoseRights(Examination* exam);
void DiagnoseHostShutdown(Examination* exam);
void DiagnoseLogs(Examination* exam);
// The problems of VMs that the daemon reports and no other finding explains.
void DiagnoseReportedVms(Examination* exam);

}  // namespace vmeventd::client
