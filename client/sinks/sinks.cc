#include "client/sinks/sinks.h"

namespace vmeventd::client {

// Each row is in its sink's file.
extern const WatchSinkKind kPrintSink;
extern const WatchSinkKind kExecSink;
extern const PushSinkKind kHttpSink;
extern const PushSinkKind kNatsSink;

const SinkTable& AllSinks() {
  static const auto* const kSinks =
      new SinkTable{.of_watch = {&kPrintSink, &kExecSink}, .of_push = {&kHttpSink, &kNatsSink}};
  return *kSinks;
}

}  // namespace vmeventd::client
