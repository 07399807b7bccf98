#pragma once

#include "client/doctor/examination.h"

// The finding of a daemon that cannot see who sends a signal.

namespace vmeventd::client {

void DiagnoseSignals(Examination* exam);

}  // namespace vmeventd::client
