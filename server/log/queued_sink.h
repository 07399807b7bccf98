#ifndef VMEVENTD_SERVER_LOG_QUEUED_SINK_H_
#define VMEVENTD_SERVER_LOG_QUEUED_SINK_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/log/log_meters.h"
#include "spdlog/formatter.h"
#include "spdlog/sinks/sink.h"

namespace vmeventd {

// Writes lines to a descriptor on a thread of its own, so that no caller waits for the program that
// reads the log. Past its bound lines are left out, counted, and reported in one line as soon as
// there is room again. Any thread.
class QueuedSink : public spdlog::sinks::sink {
 public:
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  // How long a flush, and the end, wait for a reader that does not read.
  static constexpr absl::Duration kPatience = absl::Seconds(1);

  // `fd` and `meters` outlive the sink. `max_bytes`: of the lines that wait.
  QueuedSink(int fd, LogMeters* meters, size_t max_bytes = kMaxBytes);
  // As Stop.
  ~QueuedSink() override;

  // Never waits.
  void log(const spdlog::details::log_msg& msg) override;
  // Returns when what was logged before is written, or after kPatience.
  void flush() override;
  void set_pattern(const std::string&) override {}  // the formatter's alone
  // Before the first line.
  void set_formatter(std::unique_ptr<spdlog::formatter> formatter) override;

  // Writes what waits, for kPatience at the most. Later lines are left out.
  void Stop();

 private:
  void Run();
  // Takes what is to be written next, lines that were left out before it. False: it is the end.
  bool Take(std::string* lines);
  // Writes as the descriptor takes it. False: it does not, and the sink is to end.
  bool Write(const std::string& lines);
  // Returns when the descriptor takes more. False: it does not, and the sink is to end.
  bool WaitUntilWritable();

  const int fd_;
  const bool is_socket_;
  const size_t max_bytes_;
  LogMeters* const meters_;
  std::unique_ptr<spdlog::formatter> formatter_;

  Mutex mutex_;
  CondVar changed_;
  std::string waiting_ ABSL_GUARDED_BY(mutex_);
  size_t writing_ ABSL_GUARDED_BY(mutex_) = 0;     // bytes that the thread has taken
  uint64_t left_out_ ABSL_GUARDED_BY(mutex_) = 0;  // lines, since they were last reported
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time give_up_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();  // after Stop
  std::thread thread_;                                                   // last: it uses the rest
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_QUEUED_SINK_H_
