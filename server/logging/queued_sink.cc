#include "server/logging/queued_sink.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/steady_time.h"
#include "base/thread_name.h"
#include "base/wait_until.h"
#include "nlohmann/json.hpp"
#include "server/logging/logging.h"

namespace vmeventd {
namespace {

bool IsSocket(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

}  // namespace

QueuedSink::QueuedSink(int fd, LogMeters* meters, size_t max_bytes, absl::Duration patience)
    : fd_(fd),
      is_socket_(IsSocket(fd)),
      max_bytes_(max_bytes),
      patience_(patience),
      meters_(meters),
      thread_([this] { Run(); }) {}

QueuedSink::~QueuedSink() { Stop(); }

void QueuedSink::set_formatter(std::unique_ptr<spdlog::formatter> formatter) {
  const MutexLock lock(&mutex_);
  formatter_ = std::move(formatter);
}

void QueuedSink::log(const spdlog::details::log_msg& msg) {
  spdlog::memory_buf_t line;
  formatter_->format(msg, line);
  const MutexLock lock(&mutex_);
  if (stopped_ || waiting_.size() + writing_ + line.size() > max_bytes_) {
    meters_->stalled_read.Add();
    ++left_out_;
    return;
  }
  waiting_.append(line.data(), line.size());
  changed_.NotifyAll();
}

void QueuedSink::flush() {
  const MutexLock lock(&mutex_);
  WaitUntil(&changed_, &mutex_, patience_, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return waiting_.empty() && writing_ == 0;
  });
}

void QueuedSink::Stop() {
  {
    const MutexLock lock(&mutex_);
    if (!stopped_) give_up_ = SteadyNow() + patience_;
    stopped_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool QueuedSink::Take(std::string* lines) {
  uint64_t left_out = 0;
  {
    const MutexLock lock(&mutex_);
    writing_ = 0;
    changed_.NotifyAll();
    while (waiting_.empty() && left_out_ == 0 && !stopped_) changed_.Wait(&mutex_);
    if (waiting_.empty() && left_out_ == 0) return false;
    *lines = std::exchange(waiting_, {});
    left_out = std::exchange(left_out_, 0);
    writing_ = lines->size();
  }
  if (left_out == 0) return true;
  const std::string payload =
      nlohmann::ordered_json(
          {{"message", "log lines were left out: its reader is too slow"}, {"lines", left_out}})
          .dump();
  spdlog::memory_buf_t line;
  formatter_->format(spdlog::details::log_msg(kLimiterLogger, spdlog::level::warn, payload), line);
  lines->append(line.data(), line.size());
  return true;
}

bool QueuedSink::WaitUntilWritable() {
  constexpr int kPollMilliseconds = 100;
  for (;;) {
    bool late = false;
    {
      const MutexLock lock(&mutex_);
      late = SteadyNow() >= give_up_;
    }
    // Lines that fit without waiting are written, however late this thread had its turn.
    pollfd writable = {fd_, POLLOUT, 0};
    const int ready = poll(&writable, 1, late ? 0 : kPollMilliseconds);
    if (ready > 0 || (ready < 0 && errno != EINTR)) return true;
    if (late) return false;
  }
}

bool QueuedSink::Write(const std::string& lines) {
  for (absl::string_view rest = lines; !rest.empty();) {
    if (!WaitUntilWritable()) return false;
    // A writable pipe accepts this many bytes without blocking.
    const size_t size = std::min<size_t>(rest.size(), PIPE_BUF);
    const ssize_t written = is_socket_ ? send(fd_, rest.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL)
                                       : write(fd_, rest.data(), size);
    if (written >= 0) {
      rest.remove_prefix(static_cast<size_t>(written));
    } else if (errno != EINTR && errno != EAGAIN) {
      return true;  // no reader: these lines are lost, and cannot be reported
    }
  }
  return true;
}

void QueuedSink::Run() {
  SetThreadName("log-writer");
  std::string lines;
  while (Take(&lines)) {
    if (!Write(lines)) return;
  }
}

}  // namespace vmeventd
