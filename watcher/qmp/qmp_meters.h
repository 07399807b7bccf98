#pragma once

#include "base/counter.h"

namespace vmeventd {

// Counters of the monitors' connections. The loop thread counts, any thread reads.
struct QmpMeters {
  Counter connect_retries;     // after a connect was refused or found a full queue
  Counter connects_put_off;    // delayed: too many sockets waited to be closed
  Counter monitor_reconnects;  // monitors that answered again after their connection had ended
  Counter protocol_errors;     // connections that were closed because what came was not QMP
};

}  // namespace vmeventd
