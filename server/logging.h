#ifndef VMEVENTD_SERVER_LOGGING_H_
#define VMEVENTD_SERVER_LOGGING_H_

#include <memory>

#include "server/config.h"
#include "spdlog/formatter.h"

namespace vmeventd {

// Sets up spdlog's default logger: to stderr, a line a message, whatever the message holds. gRPC's
// own messages go the same way, its errors as warnings. Call once, before any thread starts.
void SetUpLogging(LogLevel level, LogFormat format);

// How lines are written:
//   text  2026-01-31T12:00:00.123Z info  message
//   json  {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"message"}
std::unique_ptr<spdlog::formatter> MakeLogFormatter(LogFormat format);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOGGING_H_
