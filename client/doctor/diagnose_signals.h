#pragma once

#include "client/doctor/examination.h"

// Whether the daemon can see who sends a signal.

namespace vmeventd::client {

void DiagnoseSignals(Examination* exam);

}  // namespace vmeventd::client
