#include "server/logging/log_sink.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/system.h"
#include "nlohmann/json.hpp"
#include "server/logging/logging.h"

namespace vmeventd {
namespace {

bool IsSocket(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

// Returns "info" or "stop warn", for example.
std::string KindOf(const spdlog::details::log_msg& msg) {
  const absl::string_view logger = View(msg.logger_name);
  return absl::StrCat(logger, logger.empty() ? "" : " ", LogLevelName(msg.level));
}

}  // namespace

bool LogLimiter::Admit(absl::string_view kind, uint64_t per_second, absl::Duration now) {
  Second& second = seconds_[std::string(kind)];
  if (now >= second.begin + absl::Seconds(1)) {
    second.begin = now;
    second.lines = 0;
  }
  if (second.lines < per_second) {
    ++second.lines;
    return true;
  }
  if (second.left_out++ == 0) second.take_at = second.begin + absl::Seconds(1);
  return false;
}

std::vector<LogLimiter::LeftOut> LogLimiter::Take(absl::Duration now) {
  std::vector<LeftOut> out;
  for (auto& [kind, second] : seconds_) {
    if (second.left_out == 0 || now < second.take_at) continue;
    out.push_back({kind, std::exchange(second.left_out, 0)});
  }
  return out;
}

absl::Duration LogLimiter::NextTake() const {
  absl::Duration next = absl::InfiniteDuration();
  for (const auto& [kind, second] : seconds_) {
    if (second.left_out > 0) next = std::min(next, second.take_at);
  }
  return next;
}

LogSink::LogSink(int fd, std::unique_ptr<spdlog::formatter> formatter, const Clock* clock,
                 LogMeters* meters, LogSinkOptions options)
    : fd_(fd),
      is_socket_(IsSocket(fd)),
      formatter_(std::move(formatter)),
      clock_(clock),
      meters_(meters),
      options_(options),
      thread_([this] { Run(); }) {}

LogSink::~LogSink() { Stop(); }

uint64_t LogSink::LinesASecond(absl::string_view logger) const {
  if (logger == kStopLogger) return options_.stop_lines;
  return logger == kGrpcLogger ? options_.grpc_lines : options_.lines;
}

void LogSink::log(const spdlog::details::log_msg& msg) {
  {
    const MutexLock lock(&mutex_);
    if (!limiter_.Admit(KindOf(msg), LinesASecond(View(msg.logger_name)),
                        clock_->Now().monotonic)) {
      meters_->rate.Add();
      changed_.NotifyAll();
      return;
    }
  }
  spdlog::memory_buf_t line;
  formatter_->format(msg, line);
  const MutexLock lock(&mutex_);
  if (stopped_ || waiting_.size() + writing_ + line.size() > options_.max_bytes) {
    meters_->stalled_read.Add();
    ++left_out_;
    return;
  }
  waiting_.append(line.data(), line.size());
  changed_.NotifyAll();
}

void LogSink::flush() {
  const MutexLock lock(&mutex_);
  WaitUntil(&changed_, &mutex_, options_.patience, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return waiting_.empty() && writing_ == 0;
  });
}

void LogSink::Stop() {
  {
    const MutexLock lock(&mutex_);
    if (!stopped_) give_up_ = SteadyNow() + options_.patience;
    stopped_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Duration LogSink::UntilReport() const {
  return limiter_.NextTake() - clock_->Now().monotonic;
}

bool LogSink::Take(std::string* lines) {
  uint64_t no_room = 0;
  std::vector<LogLimiter::LeftOut> too_many;
  {
    const MutexLock lock(&mutex_);
    writing_ = 0;
    changed_.NotifyAll();
    while (waiting_.empty() && left_out_ == 0 && !stopped_ &&
           UntilReport() > absl::ZeroDuration()) {
      changed_.WaitFor(&mutex_, UntilReport());
    }
    *lines = std::exchange(waiting_, {});
    no_room = std::exchange(left_out_, 0);
    too_many = limiter_.Take(stopped_ ? absl::InfiniteDuration() : clock_->Now().monotonic);
    if (lines->empty() && no_room == 0 && too_many.empty()) return false;
    writing_ = lines->size();
  }
  if (no_room > 0) {
    AppendReport(
        {{"message", "log lines were left out: its reader is too slow"}, {"lines", no_room}},
        lines);
  }
  for (const LogLimiter::LeftOut& kind : too_many) {
    AppendReport({{"message", "log lines were left out: too many at once"},
                  {"kind", kind.kind},
                  {"lines", kind.lines}},
                 lines);
  }
  return true;
}

void LogSink::AppendReport(const nlohmann::ordered_json& fields, std::string* lines) {
  const std::string payload = fields.dump();
  spdlog::memory_buf_t line;
  formatter_->format(spdlog::details::log_msg(kLimiterLogger, spdlog::level::warn, payload), line);
  lines->append(line.data(), line.size());
}

bool LogSink::WaitUntilWritable() {
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

bool LogSink::Write(const std::string& lines) {
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

void LogSink::Run() {
  SetThreadName("log");
  std::string lines;
  while (Take(&lines)) {
    if (!Write(lines)) return;
  }
}

}  // namespace vmeventd
