#ifndef VMEVENTD_SERVER_LOG_LOGGING_H_
#define VMEVENTD_SERVER_LOG_LOGGING_H_

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/config/config.h"
#include "server/log/log_limiter.h"
#include "server/log/log_meters.h"
#include "server/log/queued_sink.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/sink.h"

namespace vmeventd {

// The logger of lines with fields: its payloads are JSON objects, with a "message" before all else.
inline constexpr char kStopLogger[] = "stop";
// Likewise, for what the log says of itself.
inline constexpr char kLimiterLogger[] = "limiter";

// Who reads the log.
enum class LogReader {
  kAnybody,
  kJournal,  // systemd's: it takes a line's priority from a prefix, and keeps its time
};
// The one that reads what is written to `fd`, by the variable JOURNAL_STREAM as systemd.exec(5)
// says; null: not set.
LogReader ReaderOf(int fd, const char* journal_stream);

// Where all lines go through: at most so many of one kind in a second, and afterwards a line that
// says how many were left out. A kind is a logger and a level. Any thread.
class LimitedSink : public spdlog::sinks::sink {
 public:
  static constexpr uint64_t kLinesASecond = 50;
  static constexpr uint64_t kStopLinesASecond = 100;
  static constexpr uint64_t kGrpcLinesASecond = 5;

  // `clock` and `meters` outlive the sink. `out` gets its formatter here.
  LimitedSink(std::shared_ptr<spdlog::sinks::sink> out, LogFormat format, LogReader reader,
              const Clock* clock, LogMeters* meters);

  void log(const spdlog::details::log_msg& msg) override;
  void flush() override { out_->flush(); }
  void set_pattern(const std::string&) override {}  // MakeLogFormatter's alone
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

  // Writes how many lines were left out in the seconds that are over.
  void Report();
  // Report in time until Stop, which has it report all. Wakes up only where lines were left out.
  void Run();
  void Stop();

 private:
  void Report(const std::vector<LogLimiter::LeftOut>& left_out);

  const std::shared_ptr<spdlog::sinks::sink> out_;
  const Clock* const clock_;
  LogMeters* const meters_;
  Mutex mutex_;
  CondVar changed_;
  LogLimiter limiter_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

// The process's log: spdlog's default logger and kStopLogger write to stderr, a line a message,
// whatever the message holds, by a queue, so that no thread waits for its reader. gRPC's own
// messages go the same way, its errors as warnings. One at a time, made before any other thread.
class Logging {
 public:
  // `clock` outlives it.
  Logging(LogLevel level, LogFormat format, const Clock* clock);
  // Logs what was left out and not yet reported, and writes what waits. Later lines are lost.
  ~Logging();

  const LogMeters& meters() const { return meters_; }

 private:
  LogMeters meters_;
  const std::shared_ptr<QueuedSink> out_;
  const std::shared_ptr<LimitedSink> sink_;
  std::thread thread_;
};

// How lines are written:
//   text  2026-01-31T12:00:00.123Z info  message key=value key="a value"
//   json  {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"message","key":"value"}
// For the journal each begins with its priority, as <4>, and text has no time.
// Neither has a line break, another control character or one that turns the direction of the text,
// but as an escape.
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format, LogReader reader);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_LOGGING_H_
