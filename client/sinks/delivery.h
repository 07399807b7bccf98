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
#include "client/output/output.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/sink.h"
#include "client/sources/source.h"

namespace vmeventd::client {

// Passes what a watch delivers to the consumer, counts it, and moves the cursor once it is done
// with: after a crash in between, the next watch delivers the event again. One thread.
class Delivery {
 public:
  // Pointers must outlive the delivery.
  struct Options {
    EventSink* consumer = nullptr;
    CursorFile* cursor = nullptr;      // null: no cursor
    std::vector<std::string> servers;  // the key of each in the cursor file
    std::optional<uint64_t> count;     // ends the watch after that many events
    bool counts_gaps = true;           // also a GAP of the whole node, which passes every filter
  };
  explicit Delivery(Options options) : options_(std::move(options)) {}

  // Delivers what the source has until one of them ends the watch. Returns its exit code: kOk;
  // kInterrupted if it was stopped before the count; or a failure, after a note about it.
  ExitCode Run(Source* source, const PrintSentence& note);
  // Delivers one item. Returns whether the watch continues, as it does with Ended.
  bool Deliver(Source::Item item);
  // Reason why the consumer or the cursor ended the watch; CANCELLED: quietly.
  const absl::Status& status() const { return status_; }

 private:
  // Returns whether all events of the count came; the last may not be done with.
  bool reached() const { return options_.count && delivered_ >= *options_.count; }
  // Removes what follows the last event of the count.
  void CutOff(NodeEvents* events);
  bool DeliverEvents(NodeEvents events);
  // Consumes the events, and moves the cursor.
  bool Consume(Formatter::Events events);
  bool Save(const ServerPosition& position);
  // Stores why the watch ends; returns whether it continues.
  bool Continues(const absl::Status& status) {
    status_.Update(status);
    return status_.ok();
  }

  const Options options_;
  uint64_t delivered_ = 0;  // number of delivered events that count
  absl::Status status_;
};

}  // namespace vmeventd::client
