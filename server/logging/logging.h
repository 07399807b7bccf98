#ifndef VMEVENTD_SERVER_LOGGING_LOGGING_H_
#define VMEVENTD_SERVER_LOGGING_LOGGING_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "nlohmann/json.hpp"
#include "server/config/config.h"
#include "server/logging/queued_sink.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/sink.h"

// Text for one line of a log. Pure; any thread.

namespace vmeventd {

// `text` with the bytes of each control character, each invisible or direction-changing character
// and all invalid UTF-8 written as \xNN.
std::string OnOneLine(absl::string_view text);

// " key=value" for each member of `fields` except "message": a value in quotes if needed, a
// list with "; " between its entries.
std::string FieldsAsText(const nlohmann::ordered_json& fields);

// Bounds how many lines of each kind are written per second, so that no burst fills the log's disk
// or blocks a thread, and no kind crowds out another. Times are on the monotonic clock. Not
// synchronised: the caller locks.
class LogLimiter {
 public:
  // How many lines of one kind were left out, in one second or since the last Take.
  struct LeftOut {
    std::string kind;
    uint64_t lines = 0;
  };

  // Whether another line of `kind` may be written; its limit is `per_second`. A refused line is
  // counted.
  bool Admit(absl::string_view kind, uint64_t per_second, absl::Duration now);

  // The lines left out in the seconds that are over; reports each once.
  std::vector<LeftOut> Take(absl::Duration now);
  // The same for every second, including the current one.
  std::vector<LeftOut> TakeAll() { return Take(absl::InfiniteDuration()); }
  // When Take next has something to return; InfiniteDuration: never, as things stand.
  absl::Duration NextTake() const;

 private:
  struct Second {
    absl::Duration begin = -absl::InfiniteDuration();
    uint64_t lines = 0;
    uint64_t left_out = 0;   // not yet taken
    absl::Duration take_at;  // if any
  };

  std::map<std::string, Second, std::less<>> seconds_;  // by kind
};

// The logger of lines with fields: its payloads are JSON objects whose first member is "message".
inline constexpr char kStopLogger[] = "stop";
// The logger of the log's reports about itself, with payloads of the same kind.
inline constexpr char kLimiterLogger[] = "limiter";

// The program that reads the log.
enum class LogReader {
  kAnybody,
  kJournald,  // systemd's: reads a line's priority from its prefix, and stores the time itself
};
// The reader of `fd`, according to the variable JOURNAL_STREAM, as systemd.exec(5) describes. Null:
// not set.
LogReader ReaderOf(int fd, const char* journal_stream);

// Passes all lines on, up to a limit per second and kind, and then reports how many it left out. A
// kind is a logger and a level. Any thread.
class LimitedSink : public spdlog::sinks::sink {
 public:
  static constexpr uint64_t kLinesASecond = 50;
  static constexpr uint64_t kStopLinesASecond = 100;
  static constexpr uint64_t kGrpcLinesASecond = 5;

  // `clock` and `meters` must outlive the sink. Sets the formatter of `out`.
  LimitedSink(std::shared_ptr<spdlog::sinks::sink> out, LogFormat format, LogReader reader,
              const Clock* clock, LogMeters* meters);

  void log(const spdlog::details::log_msg& msg) override;
  void flush() override { out_->flush(); }
  void set_pattern(const std::string&) override {}  // only MakeLogFormatter's is used
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

  // Reports how many lines were left out in the seconds that are over.
  void Report();
  // Reports in time until Stop, which reports the rest. Wakes up only if lines were left out.
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
  const std::shared_ptr<QueuedSink> out_;
  const std::shared_ptr<LimitedSink> sink_;
  std::thread thread_;
};

// The format of lines:
//   text  2026-01-31T12:00:00.123Z info  message key=value key="a value"
//   json  {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"message","key":"value"}
// For the journal each line begins with its priority, such as <4>, and text has no time. In both
// formats line breaks, other control characters and those that change the direction of text are
// escaped.
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format, LogReader reader);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOGGING_LOGGING_H_
