#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "base/system.h"
#include "base/token_bucket.h"
#include "nlohmann/json.hpp"
#include "server/config/config.h"
#include "spdlog/common.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/sink.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

inline absl::string_view View(const spdlog::string_view_t& text) {
  return {text.data(), text.size()};
}

// Counts of dropped log lines, by reason. Any thread.
struct LogMeters {
  Counter rate;          // too many of one kind in a second
  Counter stalled_read;  // the reader of the log was too slow
};

struct LogSinkOptions {
  size_t max_bytes = size_t{1} << 20;          // limit of queued lines
  absl::Duration patience = absl::Seconds(1);  // longest wait of a flush or a stop for the reader
  double lines = 100;  // limit of each kind of line: as a burst, and per second
  LogFormat format = LogFormat::kText;
  // The socket of systemd's journal for entries with fields, used for lines of stops; set if the
  // journal reads the descriptor. Null: another program reads it.
  const char* journal_socket = nullptr;
};

// The field MESSAGE_ID of a stop's line in systemd's journal.
inline constexpr char kStoppedMessageId[] = "0240108af81e4335823d0cbf4a388847";

// Writes lines to a descriptor on its own thread, so that no caller waits for the log's reader.
// Drops lines beyond the limit of their kind (a logger and a level), so that no burst fills the
// log's disk and no kind crowds out another; and lines that the queue has no room for. Counts both,
// and reports the counts in a later line. Any thread.
class LogSink : public spdlog::sinks::sink {
 public:
  // `fd`, `clock` and `meters` must outlive the sink.
  LogSink(int fd, const Clock* clock, LogMeters* meters, LogSinkOptions options = {});
  // Stops, if Stop was not called.
  ~LogSink() override;

  // Never blocks.
  void log(const spdlog::details::log_msg& msg) override;
  // Returns when all earlier lines are written, or after the patience.
  void flush() override;
  void set_pattern(const std::string&) override {}  // the options define the format
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

  // Reports dropped lines and writes the queued lines; waits for the reader, at most for the
  // patience. Later lines are dropped.
  void Stop();

 private:
  // The lines of one kind: a logger and a level.
  struct Kind {
    TokenBucket limit;
    uint64_t dropped = 0;  // since last reported
  };

  void Append(const spdlog::details::log_msg& msg) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AppendReport(const nlohmann::ordered_json& fields) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AppendReports() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();
  // Takes the lines to write next; empty: the sink ends.
  std::string Take();
  // Sends a line of a stop to the journal, with its fields. False: the journal does not take it
  // now.
  bool SendStop(const spdlog::details::log_msg& msg, absl::string_view line) const;
  // Writes `lines`, waiting while the descriptor is full. False: the sink ends first.
  bool Write(const std::string& lines);
  absl::Time give_up() {
    const MutexLock lock(&mutex_);
    return give_up_;
  }

  const int fd_;
  const Clock* const clock_;
  LogMeters* const meters_;
  const LogSinkOptions options_;
  const UniqueFd journal_;

  Mutex mutex_;
  CondVar changed_;
  std::map<std::string, Kind> kinds_ ABSL_GUARDED_BY(mutex_);
  absl::Duration report_at_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
  std::string waiting_ ABSL_GUARDED_BY(mutex_);
  size_t writing_ ABSL_GUARDED_BY(mutex_) = 0;    // bytes taken by the thread
  uint64_t no_room_ ABSL_GUARDED_BY(mutex_) = 0;  // dropped lines, since last reported
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time give_up_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // after Stop
  std::thread thread_;                                                   // last: it uses the rest
};

// Returns `text` for one line of a log: the bytes of each control character, each invisible or
// direction-changing character and all invalid UTF-8 are written as \xNN. Any thread.
std::string OnOneLine(absl::string_view text);

// The logger of lines with fields. Its payloads are JSON objects whose first member is "message".
inline constexpr char kStopLogger[] = "stop";
// The logger of the log's reports about itself, with payloads of the same kind.
inline constexpr char kLimiterLogger[] = "limiter";
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

// Returns the message as a line:
//   text  2026-01-31T12:00:00.123Z info  message key=value key="a value"
//   json  {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"message","key":"value"}
// For the journal each line begins with its priority, such as <4>, and text has no time. In both
// formats line breaks, other control characters and those that change the direction of text are
// escaped.
std::string FormatLine(const spdlog::details::log_msg& msg, LogFormat format, bool for_journal);

// The fields of a STOPPED for the log: the VM, class and cause, and the evidence.
nlohmann::ordered_json StopFields(const v1::Event& event);

// The line of a STOPPED for kStopLogger. Made when the event is encoded, but written once the event
// is public, so the log has no stop that the journal lacks. Writes nothing if kStopLogger does not
// exist or does not log the level. A warning if an operator should look at it (CRASH and UNKNOWN).
class StopLine {
 public:
  explicit StopLine(const v1::Event& event);
  void Log() const;

 private:
  spdlog::level::level_enum level_;
  std::string fields_;  // empty: nothing is logged
};

}  // namespace vmeventd
