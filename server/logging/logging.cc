#include "server/logging/logging.h"

#include <grpc/support/log.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/stubs/logging.h"
#include "server/logging/log_line.h"
#include "spdlog/sinks/null_sink.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

void LogOfGrpc(gpr_log_func_args* args) {
  const auto level = args->severity == GPR_LOG_SEVERITY_ERROR  ? spdlog::level::warn
                     : args->severity == GPR_LOG_SEVERITY_INFO ? spdlog::level::debug
                                                               : spdlog::level::trace;
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kGrpcLogger);
  if (logger == nullptr) return;
  logger->log(level, "gRPC: {}", args->message);
  // After a failed assertion gRPC aborts the process, and with it the queued lines.
  if (args->severity == GPR_LOG_SEVERITY_ERROR) logger->flush();
}

// Replaces protobuf's own handler, which writes to stderr.
void LogOfProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  const std::shared_ptr<spdlog::logger> logger = spdlog::get(kGrpcLogger);
  if (logger != nullptr) logger->warn("protobuf: {}", message);
}

}  // namespace

bool IsJournal(int fd, const char* journal_stream) {
  struct stat status {};
  return journal_stream != nullptr && fstat(fd, &status) == 0 &&
         absl::StrCat(status.st_dev, ":", status.st_ino) == journal_stream;
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

}  // namespace vmeventd
