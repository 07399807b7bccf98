#ifndef VMEVENTD_SERVER_EVENT_PUMP_H_
#define VMEVENTD_SERVER_EVENT_PUMP_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/event_store.h"
#include "watcher/io/event_queue.h"

namespace vmeventd {

// Takes what the watcher saw from the queue, gives each event its sequence, encodes it, makes it
// public in the store, and then says so. Every method is for one thread, the pump thread, which is
// the store's only writer.
class EventPump {
 public:
  // All outlive the pump. `published` is called after each step that made events public; it may
  // call gRPC.
  EventPump(EventQueue* queue, EventStore* store, std::function<void()> published)
      : queue_(queue), store_(store), published_(std::move(published)) {}

  // Handles what waits, after waiting for it at most `timeout`. False: the queue was closed and all
  // of it is public.
  bool RunOnce(absl::Duration timeout);
  // RunOnce until the queue is closed.
  void Run();

 private:
  void Take(const VmUpdate& update);
  // The newest event of that run, 0 if it has none.
  uint64_t LastSequenceOf(const VmStatus& status) const;
  void Flush();

  EventQueue* const queue_;
  EventStore* const store_;
  const std::function<void()> published_;
  uint64_t newest_ = 0;
  EventBlockBuilder builder_;
  EventStore::Step step_;
  absl::flat_hash_map<std::string, uint64_t> last_of_run_;  // of the events in step_ and builder_
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_EVENT_PUMP_H_
