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
#include "server/events/event_codec.h"
#include "server/events/event_record.h"
#include "server/events/logged_event.h"
#include "tests/support/temporary_directory.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/event_sink.h"

namespace vmeventd {

inline constexpr char kNode[] = "6e6f6465-0000-4c00-8000-000000000007";
inline constexpr char kJournal[] = "6a6f7572-6e61-4c00-8000-000000000001";

// Returns a fixed time: `seconds` after the tests' epoch.
absl::Time At(int64_t seconds);

// Make updates like the watcher's. Times are At(0) unless given.
v1::Vm Status(const std::string& name, const std::string& run_id,
              VmState state = VmState::kRunning);
VmUpdate Update(const std::string& name, EventType type, absl::Time time = At(0));
// Like Update(), for a VM of `source` instead of "qmp:/run/vms".
VmUpdate UpdateFrom(const std::string& source, const std::string& name, EventType type);
// A large RESET: 250 of them take a megabyte.
VmUpdate LargeUpdate(const std::string& name);
VmUpdate Stopped(const std::string& name, const std::string& run_id, ShutdownClass shutdown_class);

// The event in the form that a client gets.
inline v1::Event EventOf(const EventRecord& record, bool durable = true) {
  std::string field;
  AppendEvent(record, &field);
  field.back() = durable ? 1 : 0;
  return Parsed<v1::ListEventsResponse>(field).events(0);
}
std::vector<v1::Event> EventsOf(const std::vector<EventPtr>& events);
// Reads the events [first, last] of the journal, with the GAPs that retention left among them.
// `*through` gets the sequence up to which they were read.
absl::StatusOr<std::vector<v1::Event>> JournalEvents(JournalReader* journal, uint64_t first = 1,
                                                     uint64_t last = INT64_MAX,
                                                     uint64_t* through = nullptr);

// Maximum size of the newest events in memory.
struct Ring {
  size_t bytes = 16 << 20;
};
// Returns a Ring with room for exactly `events` of Update("a", EventType::kReset).
Ring RingOf(size_t events);

// Runs SQL on the database at `path`; creates the database if there is none.
absl::Status ExecuteSql(const std::string& path, const std::string& sql);
// Overwrites the first page of a database, which may be open. Every new connection sees the damage.
void GarbleJournal(const std::string& path);

// Patterns that require as many byte comparisons as possible with names that consist of "a".
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

// A clock that calls a function when it is read.
class BusyClock : public FakeClock {
 public:
  Instant Now() const override {
    if (looks_ > 0 && --looks_ == 0) then_();
    return FakeClock::Now();
  }
  // Calls `then` at the read with the number `look`, counted from now.
  void Do(int look, std::function<void()> then) {
    looks_ = look;
    then_ = std::move(then);
  }

 private:
  mutable int looks_ = 0;
  std::function<void()> then_;
};

// An event log in its own directory. The test acts as the watcher and as the log's threads.
class PumpedState {
 public:
  explicit PumpedState(Ring ring = {}, JournalOptions journal = {});
  // With the path and the node of the tests.
  explicit PumpedState(EventLogOptions options);

  // Pushes the updates in one turn, writes them and publishes them.
  void Push(std::vector<VmUpdate> updates);
  // Pushes, writes and publishes `count` events of `name`, each in its own block.
  void PushEach(const std::string& name, int count);
  // Pushes without running the writer, as if the disk hung.
  void PushUnwritten(std::vector<VmUpdate> updates);
  // Runs the writer until nothing is due, and publishes what it wrote.
  void Write();
  // Ends the log, in order or as by a kill, and opens another one on its files.
  void Restart(bool in_order, const TakeHanded& take_handed = nullptr);

  EventLog& log() { return *log_; }
  FakeClock& clock() { return clock_; }
  const JournalOptions& journal_options() const { return options_.journal; }
  // What the log last reported about the journal.
  bool reported_writable() const { return reported_writable_; }
  // Returns whether, since the last call, the log has reported new events or newly durable events.
  bool TakePublished() { return std::exchange(published_, false); }
  // Opens a new reader of the journal.
  JournalReader* reader() {
    reader_ = JournalReader::Open(options_.journal.path).value();
    return reader_.get();
  }
  // The events that a stream from `first` would get.
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
