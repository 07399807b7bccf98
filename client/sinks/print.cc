#include "client/sinks/print.h"

#include <memory>

#include "client/sinks/watch_sink.h"

namespace vmeventd::client {

extern const WatchSinkKind kPrintSink = {
    .flag = "", .options = nullptr, .make = [](const WatchRun& run) -> std::unique_ptr<EventSink> {
      return std::make_unique<Printer>(run.formatter, run.output);
    }};

}  // namespace vmeventd::client
