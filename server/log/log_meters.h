#ifndef VMEVENTD_SERVER_LOG_LOG_METERS_H_
#define VMEVENTD_SERVER_LOG_LOG_METERS_H_

#include "base/counter.h"

namespace vmeventd {

// Counts of log lines that were left out, by reason. Any thread.
struct LogMeters {
  Counter rate;          // too many of one kind in a second
  Counter stalled_read;  // the reader of the log did not keep up
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_LOG_METERS_H_
