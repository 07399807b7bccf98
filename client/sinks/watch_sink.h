#pragma once

#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/string_view.h"
#include "client/connect/stop_source.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/output/print_sentence.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/sink.h"
#include "client/sinks/sink_options.h"

namespace vmeventd::client {

// A watch that starts. All objects in it must outlive the sink.
struct WatchRun {
  const FollowCommand& command;
  Formatter* formatter;
  Output* output;
  StopSource* stop;
  PrintSentence note;
};

// A sink of `watch`.
struct WatchSinkKind {
  absl::string_view flag;  // the option that chooses it; empty: no option does
  // A paragraph of the command's --help, in lines of at most 80 columns; empty: none.
  absl::string_view help = "";
  // Adds the options that only this sink takes to `watch`. They write to `options`, which must
  // outlive `watch`. Null: it has none.
  void (*options)(CLI::App* watch, SinkOptions* options);
  std::unique_ptr<EventSink> (*make)(const WatchRun& run);
};

}  // namespace vmeventd::client
