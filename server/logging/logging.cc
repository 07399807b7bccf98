#include "server/logging/logging.h"

#include <grpc/support/log.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/text.h"
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

// " key=value" for each member of `fields` except "message": a value in quotes if needed, a
// list with "; " between its entries.
std::string FieldsAsText(const nlohmann::ordered_json& fields) {
  std::string out;
  for (const auto& [key, value] : fields.items()) {
    if (key != "message") absl::StrAppend(&out, " ", key, "=", Quoted(TextOfField(value)));
  }
  return out;
}

bool HasFields(const spdlog::details::log_msg& msg) {
  return View(msg.logger_name) == kStopLogger || View(msg.logger_name) == kLimiterLogger;
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

class LineFormatter : public spdlog::formatter {
 public:
  LineFormatter(LogFormat format, LogReader reader) : format_(format), reader_(reader) {}

  void format(const spdlog::details::log_msg& msg, spdlog::memory_buf_t& dest) override {
    const std::string time =
        absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromChrono(msg.time), absl::UTCTimeZone());
    nlohmann::ordered_json fields = {{"message", std::string(View(msg.payload))}};
    if (HasFields(msg)) fields = nlohmann::ordered_json::parse(View(msg.payload));
    std::string line(reader_ == LogReader::kJournald ? LevelOf(msg.level).priority : "");
    if (format_ == LogFormat::kJson) {
      nlohmann::ordered_json object = {{"time", time},
                                       {"level", std::string(LogLevelName(msg.level))}};
      object.update(fields);
      // ASCII only, so that it cannot affect a terminal.
      line += object.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    } else {
      if (reader_ != LogReader::kJournald) absl::StrAppend(&line, time, " ");
      absl::StrAppendFormat(&line, "%-5s %s%s", LogLevelName(msg.level),
                            OnOneLine(fields["message"].get_ref<const std::string&>()),
                            FieldsAsText(fields));
    }
    line += '\n';
    dest.append(line.data(), line.data() + line.size());
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<LineFormatter>(format_, reader_);
  }

 private:
  const LogFormat format_;
  const LogReader reader_;
};

// The levels have the same numbers.
spdlog::level::level_enum ToSpdlog(LogLevel level) {
  static_assert(int{SPDLOG_LEVEL_TRACE} == static_cast<int>(LogLevel::kTrace) &&
                int{SPDLOG_LEVEL_ERROR} == static_cast<int>(LogLevel::kError));
  return static_cast<spdlog::level::level_enum>(level);
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

}  // namespace

absl::string_view LogLevelName(spdlog::level::level_enum level) { return LevelOf(level).name; }

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

LogReader ReaderOf(int fd, const char* journal_stream) {
  struct stat status {};
  const bool is_journal = journal_stream != nullptr && fstat(fd, &status) == 0 &&
                          absl::StrCat(status.st_dev, ":", status.st_ino) == journal_stream;
  return is_journal ? LogReader::kJournald : LogReader::kAnybody;
}

std::string TextOfField(const nlohmann::ordered_json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return value.dump();
  return absl::StrJoin(value, "; ", [](std::string* out, const nlohmann::ordered_json& entry) {
    absl::StrAppend(out, TextOfField(entry));
  });
}

std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format, LogReader reader) {
  return std::make_unique<LineFormatter>(format, reader);
}

Logging::Logging(LogLevel level, LogFormat format, const Clock* clock) {
  const LogReader reader = ReaderOf(STDERR_FILENO, std::getenv("JOURNAL_STREAM"));
  LogSinkOptions options;
  if (reader == LogReader::kJournald) options.journal_socket = "/run/systemd/journal/socket";
  sink_ = std::make_shared<LogSink>(STDERR_FILENO, MakeLogFormatter(format, reader), clock,
                                    &meters_, options);
  spdlog::drop_all();
  for (const char* name : {kStopLogger, kGrpcLogger}) {
    auto logger = std::make_shared<spdlog::logger>(name, sink_);
    logger->set_level(ToSpdlog(level));
    spdlog::register_logger(std::move(logger));
  }
  auto logger = std::make_shared<spdlog::logger>("", sink_);
  logger->set_level(ToSpdlog(level));
  spdlog::set_default_logger(std::move(logger));
  gpr_set_log_function(LogOfGrpc);
  google::protobuf::SetLogHandler(LogOfProtobuf);
  // gRPC does not format messages that nobody wants.
  if (level == LogLevel::kDebug) gpr_set_log_verbosity(GPR_LOG_SEVERITY_INFO);
  if (level == LogLevel::kTrace) gpr_set_log_verbosity(GPR_LOG_SEVERITY_DEBUG);
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

nlohmann::ordered_json StopFields(const VmEvent& event, const VmRef& vm, uint64_t sequence) {
  const ShutdownDetail none;
  const ShutdownDetail& detail = event.shutdown.has_value() ? *event.shutdown : none;
  nlohmann::ordered_json fields = {{"message", "VM stopped"},
                                   {"vm", std::string(vm.name)},
                                   {"class", std::string(ShutdownClassName(detail.shutdown_class))},
                                   {"cause", std::string(ShutdownCauseName(detail.cause))},
                                   {"rule", detail.rule},
                                   {"sequence", sequence},
                                   {"run_id", std::string(vm.run_id)},
                                   {"pid", vm.pid},
                                   {"source", std::string(vm.source)},
                                   {"shutdown_file", detail.shutdown_file_written}};
  if (!vm.unit.empty()) fields["unit"] = vm.unit;
  if (detail.exit_status.has_value()) {
    const bool signalled = detail.exit_status->signal != 0;
    fields[signalled ? "exit_signal" : "exit_code"] =
        signalled ? detail.exit_status->signal : detail.exit_status->code;
  }
  if (detail.powerdown_age.has_value()) {
    fields["powerdown_age_seconds"] = absl::ToDoubleSeconds(*detail.powerdown_age);
  }
  if (detail.intent.has_value()) {
    fields["intent_id"] = detail.intent->intent_id;
    fields["intent_actor"] = detail.intent->actor;
  }
  nlohmann::ordered_json evidence = nlohmann::ordered_json::array();
  for (const EvidenceEntry& entry : detail.evidence) evidence.push_back(entry.what);
  fields["evidence"] = std::move(evidence);
  if (detail.end.has_value() && !detail.end->words.lines.empty()) {
    fields["last_words"] = detail.end->words.lines;
  }
  return fields;
}

StopLine::StopLine(const VmEvent& event, const VmRef& vm, uint64_t sequence) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kStopLogger);
  const bool expected =
      event.shutdown.has_value() && (event.shutdown->shutdown_class == ShutdownClass::kUser ||
                                     event.shutdown->shutdown_class == ShutdownClass::kAdmin);
  level_ = expected ? spdlog::level::info : spdlog::level::warn;
  if (logger == nullptr || !logger->should_log(level_)) return;
  fields_ = StopFields(event, vm, sequence)
                .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void StopLine::Log() const {
  if (fields_.empty()) return;
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kStopLogger);
  if (logger != nullptr) logger->log(level_, "{}", fields_);
}

}  // namespace vmeventd
