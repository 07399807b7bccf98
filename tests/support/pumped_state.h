#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/eventlog/event_log.h"
#include "server/eventlog/journal_reader.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temporary_directory.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/vm_update.h"

namespace vmeventd {

// The id of the journal of a PumpedState.
inline constexpr char kJournal[] = "6a6f7572-6e61-4c00-8000-000000000001";

// Maximum size of the newest events in memory.
struct Ring {
  size_t bytes = 16 << 20;
};
// Returns a Ring with room for exactly `events` of Update("a", EventType::kReset).
Ring RingOf(size_t events);

// An event log in its own directory. The test acts as the watcher and as the log's threads.
class PumpedState {
 public:
  explicit PumpedState(Ring ring = {}, JournalOptions journal = {});
  // Makes a state with the path and the node of the tests.
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
  ManualClock& clock() { return clock_; }
  const JournalOptions& journal_options() const { return options_.journal; }
  // The log's last report about the journal.
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
  ManualClock clock_;
  std::unique_ptr<EventLog> log_;
  std::unique_ptr<JournalReader> reader_;
  bool reported_writable_ = true;
  bool published_ = false;
};

}  // namespace vmeventd
