#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/eventlog/event_log.h"
#include "tests/support/temporary_directory.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

inline constexpr char kNode[] = "6e6f6465-0000-4c00-8000-000000000007";
inline constexpr char kJournal[] = "6a6f7572-6e61-4c00-8000-000000000001";

// A fixed time: `seconds` after the tests' epoch.
absl::Time At(int64_t seconds);

// Updates as the watcher makes them. Times are At(0) unless given.
v1::Vm Status(const std::string& name, const std::string& run_id,
              VmState state = VmState::kRunning);
VmUpdate Update(const std::string& name, EventType type, absl::Time time = At(0));
// Likewise, of a VM from another source than "qmp:/run/vms".
VmUpdate UpdateFrom(const std::string& source, const std::string& name, EventType type);
// A RESET of which 250 take a megabyte.
VmUpdate LargeUpdate(const std::string& name);
VmUpdate Stopped(const std::string& name, const std::string& run_id, ShutdownClass shutdown_class);

// An event as a client gets it.
inline v1::Event EventOf(const EventRecord& record, bool durable = true) {
  std::string field;
  AppendEvent(record, &field);
  field.back() = durable ? 1 : 0;
  return Parsed<v1::ListEventsResponse>(field).events(0);
}
std::vector<v1::Event> EventsOf(const std::vector<EventPtr>& events);
// The events [first, last] of the journal, and the GAPs of retention in them. With `through`, the
// sequence up to which they were read.
absl::StatusOr<std::vector<v1::Event>> JournalEvents(JournalReader* journal, uint64_t first = 1,
                                                     uint64_t last = INT64_MAX,
                                                     uint64_t* through = nullptr);

// Limit of the newest events in memory.
struct Ring {
  size_t bytes = 16 << 20;
};
// For so many of Update("a", EventType::kReset), without room for one more.
Ring RingOf(size_t events);

// Changes the database at `path`, which it makes if there is none.
absl::Status ExecuteSql(const std::string& path, const std::string& sql);
// Overwrites the first page of a database, which may be open: every new connection finds it.
void GarbleJournal(const std::string& path);

// Patterns that compare as many bytes as possible with names that consist of "a".
std::vector<std::string> CostlyPatterns();

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
  // Sets the wall clock.
  void Set(absl::Time wall) {
    const MutexLock lock(&mutex_);
    now_.wall = wall;
  }

 private:
  mutable Mutex mutex_;
  Instant now_ ABSL_GUARDED_BY(mutex_) = {At(0), absl::Seconds(1000)};
};

// A clock that does something when it is looked at.
class BusyClock : public FakeClock {
 public:
  Instant Now() const override {
    if (looks_ > 0 && --looks_ == 0) then_();
    return FakeClock::Now();
  }
  // At the look with this number from now on.
  void Do(int look, std::function<void()> then) {
    looks_ = look;
    then_ = std::move(then);
  }

 private:
  mutable int looks_ = 0;
  std::function<void()> then_;
};

// An event log in a directory of its own; the test acts as the watcher and as the log's threads.
class PumpedState {
 public:
  explicit PumpedState(Ring ring = {}, JournalOptions journal = {});

  // Pushes the updates in one turn, and has them written and published.
  void Push(std::vector<VmUpdate> updates);
  // The same for `count` events of `name`, each in its own block.
  void PushEach(const std::string& name, int count);
  // Pushes without the writer: the disk hangs.
  void PushUnwritten(std::vector<VmUpdate> updates);
  // Has the writer do what is due, and publishes it.
  void Write();
  // Ends the log, in order or as a kill does, and begins another one upon its files.
  void Restart(bool in_order, const TakeHanded& take_handed = nullptr);

  EventLog& log() { return *log_; }
  FakeClock& clock() { return clock_; }
  const JournalOptions& journal_options() const { return options_.journal; }
  // The log's last report about the journal.
  bool reported_writable() const { return reported_writable_; }
  // Returns whether the log has reported more to read, or to read as durable, since the last call.
  bool TakePublished() { return std::exchange(published_, false); }
  // A reader of the journal as it is now.
  JournalReader* reader() {
    reader_ = JournalReader::Open(options_.journal.path).value();
    return reader_.get();
  }
  // Events as a stream from `first` would get them.
  std::vector<v1::Event> Events(uint64_t first = 1);

 private:
  void Open(const TakeHanded& take_handed = nullptr);

  const TemporaryDirectory directory_;
  EventLogOptions options_;
  FakeClock clock_;
  std::unique_ptr<EventLog> log_;
  std::unique_ptr<JournalReader> reader_;
  bool reported_writable_ = true;
  bool published_ = false;
};

}  // namespace vmeventd
