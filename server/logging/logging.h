#pragma once

#include <memory>

#include "base/clock.h"
#include "server/config/log_format.h"
#include "server/logging/log_sink.h"
#include "spdlog/common.h"

namespace vmeventd {

// The logger of gRPC's and protobuf's messages.
inline constexpr char kGrpcLogger[] = "grpc";

// Returns whether systemd's journal reads `fd`, according to the variable JOURNAL_STREAM, as
// systemd.exec(5) describes: the journal reads a line's priority from its prefix, and adds the time
// itself. `journal_stream` null: not set.
bool IsJournal(int fd, const char* journal_stream);

// The process's log: spdlog's default logger and kStopLogger write one line per message to stderr,
// through a queue, so that no thread waits for the log's reader. gRPC's own messages go the same
// way, its errors as warnings. Create at most one, before any other thread.
class Logging {
 public:
  // `clock` must outlive the log.
  Logging(spdlog::level::level_enum level, LogFormat format, const Clock* clock);
  // Reports dropped lines and writes the queued lines. Later lines are lost.
  ~Logging();

  const LogMeters& meters() const { return meters_; }

 private:
  LogMeters meters_;
  std::shared_ptr<LogSink> sink_;
};

}  // namespace vmeventd
