#include "server/logging/log_sink.h"

#include <endian.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/thread_name.h"
#include "server/logging/log_line.h"

namespace vmeventd {
namespace {

// Time that dropped lines are counted before the next line reports them.
constexpr absl::Duration kReportInterval = absl::Seconds(1);

}  // namespace

LogSink::LogSink(int fd, const Clock* clock, LogMeters* meters, LogSinkOptions options)
    : fd_(fd),
      clock_(clock),
      meters_(meters),
      options_(options),
      journal_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
      thread_([this] { Run(); }) {}

LogSink::~LogSink() { Stop(); }

void LogSink::log(const spdlog::details::log_msg& msg) {
  const MutexLock lock(&mutex_);
  if (stopped_) return;
  const TokenBucket limit(options_.lines, options_.lines);
  Kind& kind = kinds_.try_emplace(LineKind(msg), Kind{limit}).first->second;
  const absl::Duration now = clock_->Now().monotonic;
  const bool room = waiting_.size() + writing_ < options_.max_bytes;
  if (now >= report_at_ && room) AppendReports();
  const bool fits = kind.limit.Take(now);
  if (fits && room) return Append(msg);
  ++(fits ? no_room_ : kind.dropped);
  (fits ? meters_->stalled_read : meters_->rate).Add();
  report_at_ = std::min(report_at_, now + kReportInterval);
}

void LogSink::Append(const spdlog::details::log_msg& msg) {
  const bool for_journal = options_.journal_socket != nullptr;
  const std::string line = FormatLine(msg, options_.format, for_journal);
  if (for_journal && View(msg.logger_name) == kStopLogger && SendStop(msg, line)) return;
  waiting_ += line;
  changed_.NotifyAll();
}

bool LogSink::SendStop(const spdlog::details::log_msg& msg, absl::string_view line) const {
  // https://systemd.io/JOURNAL_NATIVE_PROTOCOL: NAME, line break, size, value, line break.
  std::string entry;
  const auto add = [&entry](absl::string_view name, absl::string_view value) {
    const uint64_t size = htole64(value.size());
    absl::StrAppend(&entry, name, "\n",
                    absl::string_view(reinterpret_cast<const char*>(&size), sizeof(size)), value,
                    "\n");
  };
  // The line begins with its priority, "<4>".
  add("PRIORITY", line.substr(1, 1));
  add("MESSAGE", absl::StripTrailingAsciiWhitespace(line.substr(3)));
  add("MESSAGE_ID", kStoppedMessageId);
  add("SYSLOG_IDENTIFIER", "vmeventd");
  const auto fields = nlohmann::ordered_json::parse(View(msg.payload));
  for (const auto& [name, value] : fields.items()) {
    if (name != "message") add(absl::AsciiStrToUpper(name), FieldText(value));
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  absl::SNPrintF(address.sun_path, sizeof(address.sun_path), "%s", options_.journal_socket);
  return sendto(journal_.get(), entry.data(), entry.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                reinterpret_cast<const sockaddr*>(&address), sizeof(address)) >= 0;
}

void LogSink::AppendReport(const nlohmann::ordered_json& fields) {
  const std::string payload = fields.dump();
  Append(spdlog::details::log_msg(kLimiterLogger, spdlog::level::warn, payload));
}

void LogSink::AppendReports() {
  report_at_ = absl::InfiniteDuration();
  if (const uint64_t lines = std::exchange(no_room_, 0); lines > 0) {
    AppendReport({{"message", "log lines were dropped: the reader is too slow"}, {"lines", lines}});
  }
  for (auto& [name, kind] : kinds_) {
    const uint64_t lines = std::exchange(kind.dropped, 0);
    if (lines == 0) continue;
    AppendReport({{"message", "log lines were dropped: too many at once"},
                  {"kind", name},
                  {"lines", lines}});
  }
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
    if (!std::exchange(stopped_, true)) {
      AppendReports();
      give_up_ = SteadyNow() + options_.patience;
      changed_.NotifyAll();
    }
  }
  if (thread_.joinable()) thread_.join();
}

std::string LogSink::Take() {
  const MutexLock lock(&mutex_);
  writing_ = 0;
  changed_.NotifyAll();
  while (waiting_.empty() && !stopped_) changed_.Wait(&mutex_);
  std::string lines = std::exchange(waiting_, {});
  writing_ = lines.size();
  return lines;
}

bool LogSink::Write(const std::string& lines) {
  constexpr int kPollMilliseconds = 100;
  for (absl::string_view rest = lines; !rest.empty();) {
    // Lines that fit without waiting are written, however late this thread had its turn.
    const bool late = SteadyNow() >= give_up();
    pollfd writable = {fd_, POLLOUT, 0};
    const int ready = poll(&writable, 1, late ? 0 : kPollMilliseconds);
    if (ready == 0 && late) return false;
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    // A pipe or socket that is writable accepts this many bytes without blocking.
    const ssize_t written = write(fd_, rest.data(), std::min<size_t>(rest.size(), PIPE_BUF));
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
  for (std::string lines = Take(); !lines.empty(); lines = Take()) {
    if (!Write(lines)) return;
  }
}

}  // namespace vmeventd
