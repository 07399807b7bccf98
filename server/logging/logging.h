#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "nlohmann/json.hpp"
#include "server/config/config.h"
#include "server/logging/log_sink.h"
#include "spdlog/common.h"
#include "spdlog/formatter.h"
#include "watcher/core/vm_event.h"

// Text for one line of a log. Pure; any thread.

namespace vmeventd {

// `text` with the bytes of each control character, each invisible or direction-changing character
// and all invalid UTF-8 written as \xNN.
std::string OnOneLine(absl::string_view text);

// A field of such a line as text: a list with "; " between its entries.
std::string TextOfField(const nlohmann::ordered_json& value);

// The logger of lines with fields: its payloads are JSON objects whose first member is "message".
inline constexpr char kStopLogger[] = "stop";
// The logger of the log's reports about itself, with payloads of the same kind.
inline constexpr char kLimiterLogger[] = "limiter";
// The logger of gRPC's and protobuf's messages.
inline constexpr char kGrpcLogger[] = "grpc";
// "info"
absl::string_view LogLevelName(spdlog::level::level_enum level);

// The program that reads the log.
enum class LogReader {
  kAnybody,
  kJournald,  // systemd's: reads a line's priority from its prefix, and stores the time itself
};
// The reader of `fd`, according to the variable JOURNAL_STREAM, as systemd.exec(5) describes. Null:
// not set.
LogReader ReaderOf(int fd, const char* journal_stream);

// The process's log: spdlog's default logger and kStopLogger write one line per message to stderr,
// through a queue, so that no thread waits for the log's reader. gRPC's own messages go the same
// way, its errors as warnings. Create at most one, before any other thread.
class Logging {
 public:
  // `clock` must outlive the log.
  Logging(LogLevel level, LogFormat format, const Clock* clock);
  // Reports what was left out and writes the queued lines. Later lines are lost.
  ~Logging();

  const LogMeters& meters() const { return meters_; }

 private:
  LogMeters meters_;
  std::shared_ptr<LogSink> sink_;
};

// The format of lines:
//   text  2026-01-31T12:00:00.123Z info  message key=value key="a value"
//   json  {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"message","key":"value"}
// For the journal each line begins with its priority, such as <4>, and text has no time. In both
// formats line breaks, other control characters and those that change the direction of text are
// escaped.
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format, LogReader reader);

// The fields of a STOPPED for the log: the VM, class and cause, and the evidence.
nlohmann::ordered_json StopFields(const VmEvent& event, const VmRef& vm, uint64_t sequence);

// The line of a STOPPED for kStopLogger, made when the event is encoded and written once it is
// public: the journal has then what the log says. Writes nothing if kStopLogger does not exist or
// leaves the level out. A warning if an operator should look at it (CRASH and UNKNOWN).
class StopLine {
 public:
  StopLine(const VmEvent& event, const VmRef& vm, uint64_t sequence);
  void Log() const;

 private:
  spdlog::level::level_enum level_;
  std::string fields_;  // empty: nothing is logged
};

}  // namespace vmeventd
