#ifndef VMEVENTD_CLIENT_CONSUME_DELIVERY_H_
#define VMEVENTD_CLIENT_CONSUME_DELIVERY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/consume/cursor_file.h"
#include "client/consume/event_consumer.h"
#include "client/consume/watch_sink.h"

namespace vmeventd::client {

// Passes what a watch delivers to the consumer, counts it, and moves the cursor once it is done
// with: after a crash in between, the next watch delivers the event again. One thread.
class Delivery : public WatchSink {
 public:
  // Pointers must outlive the delivery.
  struct Options {
    EventConsumer* consumer = nullptr;
    CursorFile* cursor = nullptr;      // null: no cursor is kept
    std::vector<std::string> servers;  // the key of each in the cursor file
    std::optional<uint64_t> count;     // ends the watch after that many events
    bool counts_gaps = true;           // a GAP passes every filter: it may not have been asked for
  };
  explicit Delivery(Options options) : options_(std::move(options)) {}

  bool OnOpen() override;
  bool OnVms(const Formatter::Vms& vms, const Formatter::Nodes& nodes) override;
  bool OnEvents(WatchedEvents events) override;
  bool OnPosition(const ServerPosition& position) override;
  bool one_by_one() const override { return options_.consumer->one_by_one(); }

  // Why the consumer or the cursor ended the watch; CANCELLED: quietly.
  const absl::Status& status() const { return status_; }
  // The watch's exit code, where its source returned `code`: kOk; kInterrupted if it was stopped
  // before the count; or a failure, after a note about it.
  ExitCode CodeOf(ExitCode code, const std::function<void(const std::string&)>& note) const;

 private:
  bool reached() const { return options_.count && delivered_ >= *options_.count; }
  // Removes what follows the last event of the count.
  void CutOff(WatchedEvents* events);
  // Consumes the events, and moves the cursor.
  bool Consume(const WatchedEvents& events);
  // Remembers why the watch ends; whether it goes on.
  bool Keep(absl::Status status);

  const Options options_;
  uint64_t delivered_ = 0;  // of those that count
  bool begun_ = false;
  absl::Status status_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONSUME_DELIVERY_H_
