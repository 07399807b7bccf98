#ifndef VMEVENTD_CLIENT_PUSH_BATCHER_H_
#define VMEVENTD_CLIENT_PUSH_BATCHER_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/consume/watch_sink.h"

namespace vmeventd::client {

// Collects what a source delivers on its thread, and passes it in batches to another sink, on the
// thread of Run(): as many events as there may be, or those that came within a time. The source
// waits while too many do. A position goes with the event that it is behind.
class Batcher : public WatchSink {
 public:
  struct Limits {
    size_t events = 100;       // of a batch
    size_t bytes = 256 << 10;  // of a batch, encoded; one event may have more
    absl::Duration time;       // that the first event of a batch waits for others
    size_t waiting = 1000;     // events, above which the source waits
    size_t waiting_bytes = 4 << 20;
  };
  // The source ends when `stop` does.
  Batcher(const Limits& limits, std::stop_token stop) : limits_(limits), stop_(std::move(stop)) {}

  bool OnOpen() override { return !stop_.stop_requested(); }
  // A push begins with no snapshot.
  bool OnVms(const Formatter::Vms& /*vms*/, const Formatter::Nodes& /*nodes*/) override {
    return true;
  }
  // The events have nodes.
  bool OnEvents(WatchedEvents events) override;
  bool OnPosition(const ServerPosition& position) override;
  bool one_by_one() const override { return false; }

  // The source has ended: what is there is passed without waiting for more.
  void Close();
  // Passes batches until the source has ended and all is passed, `to` ends it, or a stop.
  void Run(WatchSink* to);

 private:
  struct Item {
    std::optional<v1::Event> event;
    MessageNode node;
    ServerPosition position;
    size_t bytes = 0;
    absl::Time arrival;
  };

  bool Add(Item item);
  // Waits for a batch; empty: there is none any more.
  std::vector<Item> Take();
  // When the batch that begins the queue is complete.
  absl::Time CompleteAt() const;

  const Limits limits_;
  const std::stop_token stop_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Item> items_;  // under mutex_, as the rest
  size_t events_ = 0;
  size_t bytes_ = 0;
  bool closed_ = false;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_PUSH_BATCHER_H_
