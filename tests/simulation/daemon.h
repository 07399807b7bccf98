#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/handover.h"
#include "server/rpc/queries.h"
#include "server/stream/stream_hub.h"
#include "tests/simulation/kernel.h"
#include "tests/support/event_log_for_tests.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd::simulation {

// Settings of the streams.
inline constexpr absl::Duration kProgressInterval = absl::Seconds(30);
inline constexpr absl::Duration kWriteTimeout = absl::Seconds(60);
inline constexpr absl::Duration kTick = absl::Seconds(1);  // between two looks at them

inline constexpr char kStateDirectory[] = "/var/lib/vmeventd";
inline constexpr char kJournalPath[] = "/var/lib/vmeventd/journal.db";

// The service manager's store of a daemon that has stopped, as server/handover.h has it: runs as
// texts, and their descriptors.
struct Store {
  struct Run {
    std::string text;
    int connection = -1;  // -1: libvirt reports it
    int process = -1;     // -1: it is not tracked
  };
  std::optional<HandedLog> log;  // unset: nothing is stored
  std::vector<Run> runs;
  int daemon = 0;  // number of that daemon
};

// A run of the daemon: its real parts, put together as server/daemon.cc does. The loop, the log's
// pump, its writer and its history are stepped; the hub and where its streams match have threads of
// the simulation (threads.h). Must not outlive the kernel, in which
// it may die at any call.
class Daemon {
 public:
  struct Options {
    absl::Duration retention_age = absl::Hours(24 * 30);
    int64_t retention_events = 1'000'000;
    int max_vm_descriptors = 1 << 20;
    size_t ring_bytes = 16 << 20;
    size_t max_backlog_bytes = JournalOptions::kMaxBacklogBytes;
    size_t message_bytes = StreamCursor::kMaxMessageBytes;  // limit of a message
    std::shared_ptr<LibvirtApi> libvirt;                    // null: it follows no domains
  };

  // An error that Daemon::Create would return. `on_published` is called with each step that makes
  // events public, before anybody else is notified of it. `store` is empty then, unless the start
  // ends before it is asked for.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(Kernel* kernel, const Options& options,
                                                       Store* store,
                                                       std::function<void()> on_published);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Returns whether that part has something to do now.
  bool LoopIsDue() const;
  bool PumpIsDue() const { return pump_due() <= kernel_->monotonic(); }
  // Time at which the pump wants a turn, as far as is known now.
  absl::Duration pump_due() const;

  void LoopTurn() {
    ++loop_turns_;
    watcher_->RunOnce(absl::InfiniteDuration());
  }
  // Returns whether its connection to libvirt is open, and all that was taken in is handled.
  bool has_read_libvirt() const {
    const v1::GetServerInfoResponse info = watcher_->Describe();
    return info.libvirt_connections_size() > 0 && info.libvirt_connections(0).connected() &&
           !watcher_->waits();
  }
  void PumpTurn() {
    wrote_ = false;
    log_->Step();
  }
  // Time at which there is something to write; and one turn of the writer.
  absl::Duration writer_due() const {
    const absl::Duration next = EventLogForTests::NextWrite(*log_);
    return next == absl::ZeroDuration() ? kernel_->monotonic() : next;
  }
  void WriterTurn() { wrote_ = log_->StepWriter() || wrote_; }
  bool HistoryTurn() { return log_->StepHistory(); }

  // Stops in two steps: handles what has come until now, writes all of it, and leaves what can be
  // handed over in `store`, unless that is null; then ends each stream after its last event.
  void Stop(Store* store);
  void EndStreams();

  bool stops() const { return stops_; }

  StreamHub& hub() { return hub_; }

  Queries& queries() { return queries_; }
  NodeWatcher& watcher() const { return *watcher_; }
  EventLog& log() const { return *log_; }
  JournalBounds journal() const { return EventLogForTests::BoundsOf(*log_); }
  // False: the journal cannot be opened yet, and with it the open runs of the daemons before.
  bool has_journal() const { return EventLogForTests::IsOpen(*log_); }
  // Returns whether all that it has seen is in the journal.
  bool all_is_written() const { return !PumpIsDue() && EventLogForTests::AllIsWritten(*log_); }
  // Runs that were handed over to it, and those of them that it goes on with.
  size_t handed() const { return handed_; }
  // The last sequence of a daemon that handed over what waited for the disk; 0: none did.
  uint64_t handed_through() const { return handed_through_; }
  // Runs of domains, whose processes were handed over.
  const std::set<std::string>& domains() const { return domains_; }

 private:
  Daemon(Kernel* kernel, const Options& options, std::unique_ptr<EventLog> log);
  absl::Status Watch(const Options& options, Store* store);
  // Acts as UnpackHandover().
  absl::StatusOr<std::vector<HandedRun>> TakeRuns(Store* store);

  Kernel* const kernel_;
  const std::unique_ptr<EventLog> log_;
  Queries queries_;
  StreamHub hub_;
  std::unique_ptr<NodeWatcher> watcher_;
  size_t handed_ = 0;
  uint64_t handed_through_ = 0;
  std::set<std::string> domains_;
  int loop_turns_ = 0;
  bool stops_ = false;
  bool wrote_ = false;  // and the pump is to say so
  Mutex mutex_;
  CondVar changed_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread ticks_;
};

}  // namespace vmeventd::simulation
