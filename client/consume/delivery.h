#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/system.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/output.h"
#include "client/sources/source.h"

namespace vmeventd::client {

// The file that stores how far a consumer has come with each server, so that it continues there
// after a restart: an internal::Cursor as JSON.
// One thread, and one process: it has a lock beside the file, ".FILE.lock".
class CursorFile {
 public:
  // Keyed by server.
  using Positions = std::map<std::string, WatchPosition>;
  // The file's content, which another process may write. NOT_FOUND: there is no such file. Other
  // errors: see Open().
  static absl::StatusOr<Positions> Read(const std::string& path);
  // Reads the file, which need not exist. FAILED_PRECONDITION: it is a link, no regular file, or
  // not a cursor, or another process has it. One stored position belongs to one server, whatever
  // its address is now: if it is another node, that node's answer shows it.
  static absl::StatusOr<std::unique_ptr<CursorFile>> Open(std::string path,
                                                          const std::vector<std::string>& servers);

  // Positions at which to continue, of the servers that have one.
  const Positions& positions() const { return positions_; }
  std::optional<WatchPosition> Find(const std::string& server) const;
  // Stores the position, and returns when it survives a crash. Does nothing if it is stored
  // already.
  absl::Status Save(const std::string& server, const WatchPosition& position);

 private:
  explicit CursorFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  UniqueFd lock_;
  Positions positions_;
};

// Handles the events of one or several nodes; VMs of a snapshot only where it wants them. One
// thread. CANCELLED: the watch ends quietly; another error ends it with the error's message.
class EventConsumer {
 public:
  virtual ~EventConsumer() = default;

  // A stream is open: called before its events.
  virtual absl::Status Begin() { return absl::OkStatus(); }
  virtual absl::Status ConsumeVms(const NodeVms& /*vms*/) { return absl::OkStatus(); }
  // Returns when the events are done with, so that a cursor may pass them.
  virtual absl::Status Consume(Formatter::Events events) = 0;
  // Returns the limit of the events that are consumed at once, behind which a cursor moves.
  virtual size_t together() const { return SIZE_MAX; }
};

// Prints them. Both pointers must outlive it.
class Printer : public EventConsumer {
 public:
  Printer(Formatter* formatter, Output* output) : formatter_(formatter), output_(output) {}

  absl::Status Begin() override { return Print(formatter_->FormatEvents({})); }
  absl::Status ConsumeVms(const NodeVms& vms) override { return Print(formatter_->FormatVms(vms)); }
  absl::Status Consume(Formatter::Events events) override {
    return Print(formatter_->FormatEvents(events));
  }

 private:
  absl::Status Print(const absl::StatusOr<std::string>& text) {
    return text.ok() ? output_->Write(*text) : text.status();
  }

  Formatter* const formatter_;
  Output* const output_;
};

// Passes what a watch delivers to the consumer, counts it, and moves the cursor once it is done
// with: after a crash in between, the next watch delivers the event again. One thread.
class Delivery {
 public:
  // Pointers must outlive the delivery.
  struct Options {
    EventConsumer* consumer = nullptr;
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
