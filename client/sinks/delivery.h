#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/node_event.h"
#include "client/output/print_sentence.h"
#include "client/output/watch_position.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/sink.h"
#include "client/sources/source.h"

namespace vmeventd::client {

// Passes the items of a watch to the consumer, counts events, and moves the cursor after the
// consumer has handled them: after a crash in between, the next watch delivers the event again. One
// thread.
class Delivery {
 public:
  // The objects behind the pointers must outlive the delivery.
  struct Options {
    EventSink* consumer = nullptr;
    CursorFile* cursor = nullptr;      // null: no cursor
    std::vector<std::string> servers;  // the key of each in the cursor file
    std::optional<uint64_t> count;     // ends the watch after that many events
    bool counts_gaps = true;  // `count` includes GAPs of the whole node, which pass every filter
  };
  explicit Delivery(Options options) : options_(std::move(options)) {}

  // Delivers the items of the source until the source, the consumer, the cursor or the count ends
  // the watch. Returns the exit code: kOk; kInterrupted if it was stopped before the count; or that
  // of a failure, which was reported to `note` (or by the source).
  ExitCode Run(Source* source, const PrintSentence& note);
  // Delivers one item. Returns whether the watch continues; true for Ended, which the caller
  // handles.
  bool Deliver(Source::Item item);
  // Reason why the consumer or the cursor ended the watch; CANCELLED: without a message.
  const absl::Status& status() const { return status_; }

 private:
  // Returns whether `count` events were passed on; the sink may not have handled the last ones yet.
  bool reached() const { return options_.count && delivered_ >= *options_.count; }
  // Removes the events beyond `count`.
  void CutOff(NodeEvents* events);
  bool DeliverEvents(NodeEvents events);
  // Consumes the events, and moves the cursor.
  bool Consume(Formatter::Events events);
  bool Save(const ServerPosition& position);
  // Stores an error, which ends the watch; returns whether the watch continues.
  bool Continues(const absl::Status& status) {
    status_.Update(status);
    return status_.ok();
  }

  const Options options_;
  uint64_t delivered_ = 0;  // number of delivered events that count
  absl::Status status_;
};

}  // namespace vmeventd::client
