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
#include "base/token_bucket.h"
#include "base/unique_fd.h"
#include "nlohmann/json.hpp"
#include "server/config/log_format.h"
#include "spdlog/details/log_msg.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/sink.h"

namespace vmeventd {

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

}  // namespace vmeventd
