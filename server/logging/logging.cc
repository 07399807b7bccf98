#include "server/logging/logging.h"

#include <endian.h>
#include <grpc/support/log.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/system.h"
#include "base/text.h"
#include "base/token_bucket.h"
#include "google/protobuf/stubs/logging.h"
#include "nlohmann/json.hpp"
#include "spdlog/sinks/null_sink.h"
#include "spdlog/spdlog.h"
#include "watcher/session/classification.h"

namespace vmeventd {
namespace {

// Backslashes are escaped too: else one at the end of a value would take the quote that ends it,
// and what follows would be read as more fields.
std::string Quoted(const std::string& value) {
  std::string clean = OnOneLine(value);
  if (!clean.empty() && clean.find_first_of(" =\"\\") == std::string::npos) return clean;
  const std::string escaped = absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"\"", "\\\""}});
  return absl::StrCat("\"", OnOneLine(escaped), "\"");
}

// Returns a field as text: a list with "; " between its entries.
std::string TextOfField(const nlohmann::ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  return absl::StrJoin(value, "; ", [](std::string* out, const nlohmann::ordered_json& entry) {
    absl::StrAppend(out, TextOfField(entry));
  });
}

// Texts of spdlog's levels: the name here, and syslog's priority as sd-daemon(3) describes it.
struct LevelText {
  const char* name;
  const char* priority;
};
constexpr LevelText kLevels[] = {
    {"trace", "<7>"}, {"debug", "<7>"}, {"info", "<6>"}, {"warn", "<4>"}, {"error", "<3>"}};

const LevelText& LevelOf(spdlog::level::level_enum level) {
  return kLevels[std::min<size_t>(level, std::size(kLevels) - 1)];
}

void LogOfGrpc(gpr_log_func_args* args) {
  const auto level = args->severity == GPR_LOG_SEVERITY_ERROR  ? spdlog::level::warn
                     : args->severity == GPR_LOG_SEVERITY_INFO ? spdlog::level::debug
                                                               : spdlog::level::trace;
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kGrpcLogger);
  if (logger == nullptr) return;
  logger->log(level, "gRPC: {}", args->message);
  // gRPC then aborts the process, and with it the queued lines.
  if (absl::StartsWith(args->message, "assertion failed")) logger->flush();
}

// Replaces protobuf's own handler, which writes to stderr.
void LogOfProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kGrpcLogger);
  if (logger != nullptr) logger->warn("protobuf: {}", message);
}

// Time that dropped lines are counted before the next line reports them.
constexpr absl::Duration kReportInterval = absl::Seconds(1);

// Returns "info" or "stop warn", for example.
std::string KindOf(const spdlog::details::log_msg& msg) {
  const absl::string_view logger = View(msg.logger_name);
  return absl::StrCat(logger, logger.empty() ? "" : " ", LevelOf(msg.level).name);
}

}  // namespace

std::string OnOneLine(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Character character = DecodeUtf8(text);
    const size_t length = std::max<size_t>(character.length, 1);
    if (character.length != 0 && !IsHiddenCharacter(character.code_point)) {
      out.append(text.data(), length);
    } else {
      for (const char c : text.substr(0, length)) {
        absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(c));
      }
    }
    text.remove_prefix(length);
  }
  return out;
}

bool IsJournal(int fd, const char* journal_stream) {
  struct stat status {};
  return journal_stream != nullptr && fstat(fd, &status) == 0 &&
         absl::StrCat(status.st_dev, ":", status.st_ino) == journal_stream;
}

std::string FormatLine(const spdlog::details::log_msg& msg, LogFormat format, bool for_journal) {
  const std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(msg.time), absl::UTCTimeZone());
  nlohmann::ordered_json fields = {{"message", std::string(View(msg.payload))}};
  if (View(msg.logger_name) == kStopLogger || View(msg.logger_name) == kLimiterLogger) {
    fields = nlohmann::ordered_json::parse(View(msg.payload));
  }
  std::string line(for_journal ? LevelOf(msg.level).priority : "");
  if (format == LogFormat::kJson) {
    nlohmann::ordered_json object = {{"time", time}, {"level", LevelOf(msg.level).name}};
    object.update(fields);
    // ASCII only, so that it cannot affect a terminal.
    return line + object.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
  }
  if (!for_journal) absl::StrAppend(&line, time, " ");
  absl::StrAppendFormat(&line, "%-5s %s", LevelOf(msg.level).name,
                        OnOneLine(fields["message"].get_ref<const std::string&>()));
  for (const auto& [key, value] : fields.items()) {
    if (key != "message") absl::StrAppend(&line, " ", key, "=", Quoted(TextOfField(value)));
  }
  return line + "\n";
}

Logging::Logging(spdlog::level::level_enum level, LogFormat format, const Clock* clock) {
  LogSinkOptions options = {.format = format};
  if (IsJournal(STDERR_FILENO, std::getenv("JOURNAL_STREAM"))) {
    options.journal_socket = "/run/systemd/journal/socket";
  }
  sink_ = std::make_shared<LogSink>(STDERR_FILENO, clock, &meters_, options);
  spdlog::drop_all();
  const auto make = [&](const char* name) {
    auto logger = std::make_shared<spdlog::logger>(name, sink_);
    logger->set_level(level);
    return logger;
  };
  spdlog::register_logger(make(kStopLogger));
  spdlog::register_logger(make(kGrpcLogger));
  spdlog::set_default_logger(make(""));
  gpr_set_log_function(LogOfGrpc);
  google::protobuf::SetLogHandler(LogOfProtobuf);
  // gRPC does not format messages that nobody wants.
  if (level == spdlog::level::debug) gpr_set_log_verbosity(GPR_LOG_SEVERITY_INFO);
  if (level == spdlog::level::trace) gpr_set_log_verbosity(GPR_LOG_SEVERITY_DEBUG);
}

Logging::~Logging() {
  // gRPC's threads may outlive it.
  gpr_set_log_function(nullptr);
  google::protobuf::SetLogHandler(nullptr);
  spdlog::drop_all();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("", std::make_shared<spdlog::sinks::null_sink_mt>()));
  sink_->Stop();
}

nlohmann::ordered_json StopFields(const v1::Event& event) {
  const v1::VmRef& vm = event.vm();
  const v1::ShutdownDetail& detail = event.shutdown();
  const auto of_class = static_cast<ShutdownClass>(detail.shutdown_class());
  nlohmann::ordered_json fields = {
      {"message", "VM stopped"},
      {"vm", vm.name()},
      {"class", std::string(ShutdownClassName(of_class))},
      {"cause", std::string(ShutdownCauseName(static_cast<ShutdownCause>(detail.cause())))},
      {"rule", detail.rule()},
      {"sequence", event.sequence()},
      {"run_id", vm.run_id()},
      {"pid", vm.pid()},
      {"source", vm.source()},
      {"shutdown_file", detail.shutdown_file_written()}};
  if (!vm.unit().empty()) fields["unit"] = vm.unit();
  if (detail.has_exit_signal()) fields["exit_signal"] = detail.exit_signal().number();
  if (detail.has_exit_code()) fields["exit_code"] = detail.exit_code();
  if (detail.has_powerdown_age()) {
    const google::protobuf::Duration& age = detail.powerdown_age();
    fields["powerdown_age_seconds"] = static_cast<double>(age.seconds()) + age.nanos() * 1e-9;
  }
  if (detail.has_intent()) {
    fields["intent_id"] = detail.intent().intent_id();
    fields["intent_actor"] = detail.intent().actor();
  }
  nlohmann::ordered_json evidence = nlohmann::ordered_json::array();
  for (const v1::Evidence& seen : detail.evidence()) evidence.push_back(seen.what());
  fields["evidence"] = std::move(evidence);
  if (detail.has_last_words()) fields["last_words"] = detail.last_words().lines();
  return fields;
}

StopLine::StopLine(const v1::Event& event) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kStopLogger);
  const v1::ShutdownClass of_class = event.shutdown().shutdown_class();
  const bool expected = of_class == ShutdownClass::kUser || of_class == ShutdownClass::kAdmin;
  level_ = expected ? spdlog::level::info : spdlog::level::warn;
  if (logger == nullptr || !logger->should_log(level_)) return;
  fields_ = StopFields(event).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void StopLine::Log() const {
  if (fields_.empty()) return;
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kStopLogger);
  if (logger != nullptr) logger->log(level_, "{}", fields_);
}

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
  Kind& kind = kinds_.try_emplace(KindOf(msg), Kind{limit}).first->second;
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
    if (name != "message") add(absl::AsciiStrToUpper(name), TextOfField(value));
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
