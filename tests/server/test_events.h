#ifndef VMEVENTD_TESTS_SERVER_TEST_EVENTS_H_
#define VMEVENTD_TESTS_SERVER_TEST_EVENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/event_pump.h"
#include "server/event_store.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/vm_event.h"
#include "watcher/io/clock.h"
#include "watcher/io/event_queue.h"
#include "watcher/io/mutex.h"

namespace vmeventd {

inline constexpr char kJournal[] = "6a6f7572-6e61-4c00-8000-000000000001";

// A time with a name: `seconds` after the start of the tests' world.
absl::Time At(int64_t seconds);

// What the watcher would say. Times are At(0) where none is given.
VmStatus Status(const std::string& name, const std::string& run_id,
                VmState state = VmState::kRunning);
VmUpdate Update(const std::string& name, EventType type, absl::Time time = At(0));
VmUpdate Stopped(const std::string& name, const std::string& run_id, ShutdownClass shutdown_class);

// A clock that stands still until it is moved. Any thread.
class FakeClock : public Clock {
 public:
  Instant Now() const override {
    const MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    const MutexLock lock(&mutex_);
    now_.wall += by;
    now_.monotonic += by;
  }

 private:
  mutable Mutex mutex_;
  Instant now_ ABSL_GUARDED_BY(mutex_) = {At(0), absl::Seconds(1000)};
};

// A queue, a pump and a store; the test is the watcher.
class PumpedStore {
 public:
  explicit PumpedStore(EventStoreOptions options = {}) : store_(options, kJournal) {}

  // Pushes them, and pumps: one step, so that they share a block if they fit.
  void Push(std::vector<VmUpdate> updates);
  // Pushes and pumps `count` events of `name`, each in a block of its own.
  void PushEach(const std::string& name, int count);

  EventQueue& queue() { return queue_; }
  EventPump& pump() { return pump_; }
  EventStore& store() { return store_; }
  void set_published(std::function<void()> published) { published_ = std::move(published); }

 private:
  EventQueue queue_{100'000};
  EventStore store_;
  std::function<void()> published_ = [] {};
  EventPump pump_{&queue_, &store_, [this] { published_(); }};
};

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SERVER_TEST_EVENTS_H_
