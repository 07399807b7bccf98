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
#include "tests/simulation/handover_store.h"
#include "tests/simulation/kernel.h"
#include "tests/support/event_log_for_tests.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd::simulation {

// Settings of the streams.
inline constexpr absl::Duration kProgressInterval = absl::Seconds(30);
inline constexpr absl::Duration kWriteTimeout = absl::Seconds(60);
inline constexpr absl::Duration kTick = absl::Seconds(1);  // interval at which streams are checked

inline constexpr char kStateDirectory[] = "/var/lib/vmeventd";
inline constexpr char kJournalPath[] = "/var/lib/vmeventd/journal.db";

// One run of the daemon: its real parts, put together as in server/daemon.cc. The simulation steps
// the loop, and the log's pump, writer and history; the hub and its matching of events use the
// simulation's threads (threads.h). Must not outlive the kernel. In any system call the kernel may
// kill it.
class Daemon {
 public:
  struct Options {
    absl::Duration retention_age = absl::Hours(24 * 30);
    int64_t retention_events = 1'000'000;
    int max_vm_descriptors = 1 << 20;
    size_t ring_bytes = 16 << 20;
    size_t max_waiting_bytes = Backlog::kMaxBytes;
    size_t message_bytes = StreamCursor::kMaxMessageBytes;  // maximum size of a message
    std::shared_ptr<LibvirtApi> libvirt;                    // null: the daemon follows no domains
  };

  // Starts a daemon. Returns the error that the real daemon's Create() would return. `on_published`
  // is called at each step that makes events public, before anyone else is notified. `store` is
  // empty afterwards, unless the start ended before it was read.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(Kernel* kernel, const Options& options,
                                                       HandoverStore* store,
                                                       std::function<void()> on_published);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Return whether the loop, or the pump, has something to do now.
  bool LoopIsDue() const;
  bool PumpIsDue() const { return pump_due() <= kernel_->monotonic(); }
  // Time of the pump's next turn, as far as it is known now.
  absl::Duration pump_due() const;

  void LoopTurn() {
    ++loop_turns_;
    watcher_->RunOnce(absl::InfiniteDuration());
  }
  // Returns whether its connection to libvirt is open, and everything that it received is handled.
  bool has_read_libvirt() const {
    const v1::GetServerInfoResponse info = watcher_->Describe();
    return info.libvirt_connections_size() > 0 && info.libvirt_connections(0).connected() &&
           !watcher_->waits();
  }
  void PumpTurn() {
    wrote_ = false;
    log_->Step();
  }
  // Time at which the writer has something to write.
  absl::Duration writer_due() const {
    const absl::Duration next = EventLogForTests::NextWrite(*log_);
    return next == absl::ZeroDuration() ? kernel_->monotonic() : next;
  }
  void WriterTurn() { wrote_ = log_->StepWriter() || wrote_; }
  bool HistoryTurn() { return log_->StepHistory(); }

  // Stops in two steps. Stop() handles and writes everything that has arrived, and stores the
  // handover in `store`, unless that is null. EndStreams() then ends each stream after its last
  // event.
  void Stop(HandoverStore* store);
  void EndStreams();

  bool stops() const { return stops_; }

  StreamHub& hub() { return hub_; }

  Queries& queries() { return queries_; }
  NodeWatcher& watcher() const { return *watcher_; }
  EventLog& log() const { return *log_; }
  JournalBounds journal() const { return EventLogForTests::BoundsOf(*log_); }
  // False: the journal, with the open runs of previous daemons, cannot be opened yet.
  bool has_journal() const { return EventLogForTests::IsOpen(*log_); }
  // Returns whether everything that the daemon has seen is in the journal.
  bool all_is_written() const { return !PumpIsDue() && EventLogForTests::AllIsWritten(*log_); }
  // Number of runs that were handed over to it.
  size_t handed() const { return handed_; }
  // The last sequence of the previous daemon, if that handed over events that waited for the disk;
  // 0: it did not.
  uint64_t handed_through() const { return handed_through_; }
  // Run ids of domains whose processes were handed over.
  const std::set<std::string>& domains() const { return domains_; }

 private:
  Daemon(Kernel* kernel, const Options& options, std::unique_ptr<EventLog> log);
  absl::Status Watch(const Options& options, HandoverStore* store);
  // Does the work of UnpackHandover().
  absl::StatusOr<std::vector<HandedRun>> TakeRuns(HandoverStore* store);

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
  bool wrote_ = false;  // the writer has written something that the pump must still report
  Mutex mutex_;
  CondVar changed_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread ticks_;
};

}  // namespace vmeventd::simulation
