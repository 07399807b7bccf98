#ifndef VMEVENTD_SERVER_LOGGING_H_
#define VMEVENTD_SERVER_LOGGING_H_

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/config.h"
#include "server/log_limiter.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/sink.h"
#include "watcher/io/clock.h"
#include "watcher/io/mutex.h"

namespace vmeventd {

// The logger of lines with fields: its payloads are JSON objects, with a "message" before all else.
inline constexpr char kStopLogger[] = "stop";

// Where all lines go through: at most so many of one kind in a second, and afterwards a line that
// says how many were left out. A kind is a logger and a level. Any thread.
class LimitedSink : public spdlog::sinks::sink {
 public:
  static constexpr uint64_t kLinesASecond = 50;
  static constexpr uint64_t kStopLinesASecond = 100;
  static constexpr uint64_t kGrpcLinesASecond = 5;

  // `clock` outlives the sink. What `out` gets has been formatted.
  LimitedSink(std::shared_ptr<spdlog::sinks::sink> out, LogFormat format, const Clock* clock);

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
  void Tell(const std::vector<LogLimiter::LeftOut>& left_out);

  const std::shared_ptr<spdlog::sinks::sink> out_;
  const Clock* const clock_;
  Mutex mutex_;
  CondVar changed_;
  LogLimiter limiter_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

// The process's log: spdlog's default logger and kStopLogger write to stderr, a line a message,
// whatever the message holds. gRPC's own messages go the same way, its errors as warnings. One at a
// time, made before any other thread.
class Logging {
 public:
  // `clock` outlives it.
  Logging(LogLevel level, LogFormat format, const Clock* clock);
  // Says what was left out and not told yet. Lines may still be written.
  ~Logging();

 private:
  const std::shared_ptr<LimitedSink> sink_;
  std::thread thread_;
};

// How lines are written:
//   text  2026-01-31T12:00:00.123Z info  message key=value key="a value"
//   json  {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"message","key":"value"}
// Neither has a line break, another control character or one that turns the direction of the text,
// but as an escape.
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOGGING_H_
