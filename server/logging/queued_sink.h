#ifndef VMEVENTD_SERVER_LOGGING_QUEUED_SINK_H_
#define VMEVENTD_SERVER_LOGGING_QUEUED_SINK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/sink.h"

namespace vmeventd {

// Counts of log lines that were left out, by reason. Any thread.
struct LogMeters {
  Counter rate;          // too many of one kind in a second
  Counter stalled_read;  // the reader of the log did not keep up
};

// Writes lines to a descriptor on its own thread, so that no caller waits for the log's reader.
// Lines beyond the bound are left out, counted, and reported in one line once there is room again.
// Any thread.
class QueuedSink : public spdlog::sinks::sink {
 public:
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  static constexpr absl::Duration kPatience = absl::Seconds(1);

  // `fd` and `meters` must outlive the sink. `max_bytes` bounds the queued lines; `patience` is how
  // long a flush, and the destructor, wait for a stalled reader.
  QueuedSink(int fd, LogMeters* meters, size_t max_bytes = kMaxBytes,
             absl::Duration patience = kPatience);
  // As Stop.
  ~QueuedSink() override;

  // Never blocks.
  void log(const spdlog::details::log_msg& msg) override;
  // Returns when all earlier lines are written, or after the patience.
  void flush() override;
  void set_pattern(const std::string&) override {}  // only the formatter is used
  // Call it before the first line.
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override;

  // Writes the queued lines, and waits for their reader for at most the patience. Later lines are
  // left out.
  void Stop();

 private:
  void Run();
  // Takes the lines to write next, preceded by a report of lines left out. False: the sink ends.
  bool Take(std::string* lines);
  // Writes `lines`, waiting while the descriptor is full. False: the sink ends first.
  bool Write(const std::string& lines);
  // Returns when the descriptor accepts more. False: the sink ends first.
  bool WaitUntilWritable();

  const int fd_;
  const bool is_socket_;
  const size_t max_bytes_;
  const absl::Duration patience_;
  LogMeters* const meters_;
  std::unique_ptr<spdlog::formatter> formatter_;

  Mutex mutex_;
  CondVar changed_;
  std::string waiting_ ABSL_GUARDED_BY(mutex_);
  size_t writing_ ABSL_GUARDED_BY(mutex_) = 0;     // bytes taken by the thread
  uint64_t left_out_ ABSL_GUARDED_BY(mutex_) = 0;  // lines, since they were last reported
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time give_up_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // after Stop
  std::thread thread_;                                                   // last: it uses the rest
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOGGING_QUEUED_SINK_H_
