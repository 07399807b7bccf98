#ifndef VMEVENTD_TESTS_SUPPORT_TEST_EVENTS_H_
#define VMEVENTD_TESTS_SUPPORT_TEST_EVENTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/events/live_state.h"
#include "server/journal/event_pump.h"
#include "server/journal/journal_reader.h"
#include "server/journal/journal_writer.h"
#include "tests/support/temporary_directory.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/vm_event.h"
#include "watcher/loop/event_queue.h"

namespace vmeventd {

inline constexpr char kNode[] = "6e6f6465-0000-4c00-8000-000000000007";
inline constexpr char kJournal[] = "6a6f7572-6e61-4c00-8000-000000000001";

// A fixed time: `seconds` after the tests' epoch.
absl::Time At(int64_t seconds);

// Updates as the watcher makes them. Times are At(0) unless given.
VmStatus Status(const std::string& name, const std::string& run_id,
                VmState state = VmState::kRunning);
VmUpdate Update(const std::string& name, EventType type, absl::Time time = At(0));
// The same of a VM from another source than "qmp:/run/vms".
VmUpdate UpdateFrom(const std::string& source, const std::string& name, EventType type);
VmUpdate Stopped(const std::string& name, const std::string& run_id, ShutdownClass shutdown_class);

// A clock that stands still until advanced. Any thread.
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

// A queue, a pump, a journal and the live state; the test acts as the watcher.
class PumpedState {
 public:
  explicit PumpedState(LiveStateOptions options = {}, JournalOptions journal = {});

  // Pushes the updates and pumps once, so that they share a block if they fit.
  void Push(std::vector<VmUpdate> updates);
  // Pushes and pumps `count` events of `name`, each in its own block.
  void PushEach(const std::string& name, int count);

  EventQueue& queue() { return queue_; }
  EventPump& pump() { return pump_; }
  LiveState& live_state() { return live_state_; }
  JournalWriter& journal() { return journal_; }
  JournalReader* reader() { return reader_.get(); }
  // Makes reader() read the journal that replaced the first.
  void ReadReplaced() { reader_ = JournalReader::Open(options_.path).value(); }
  FakeClock& clock() { return clock_; }
  const JournalOptions& journal_options() const { return options_; }
  void set_published(std::function<void()> published) { published_ = std::move(published); }
  // What the pump last reported about the journal.
  bool reported_writable() const { return reported_writable_; }
  int reported_replaced() const { return reported_replaced_; }

 private:
  static JournalOptions WithPath(JournalOptions options, const std::string& path);
  // A new journal, with the id kJournal.
  static std::unique_ptr<Journal> MakeJournal(const JournalOptions& options);

  const TemporaryDirectory directory_;
  const JournalOptions options_;
  FakeClock clock_;
  EventQueue queue_{100'000};
  JournalWriter journal_;
  std::unique_ptr<JournalReader> reader_;
  LiveState live_state_;
  std::function<void()> published_ = [] {};
  bool reported_writable_ = true;
  int reported_replaced_ = 0;
  EventPump pump_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SUPPORT_TEST_EVENTS_H_
