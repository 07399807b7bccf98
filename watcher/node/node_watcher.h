#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/service_health.h"
#include "watcher/core/update_sink.h"
#include "watcher/node/intent_request.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/previous_runs.h"
#include "watcher/runs/source_table.h"
#include "watcher/runs/watcher_counters.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {

// Follows every VM that its sources find, and pushes what happens to each to `sink`. Owns the
// sources, all sessions and watches. Loop thread, unless a method names another. Only RunOnce
// blocks, for at most its timeout.
class NodeWatcher {
 public:
  // The table of sources; tests have others. It has the libraries that were loaded into it.
  static SourceTable AllSources();

  // Prepares the program for the sources. Call it at the start, while there is one thread.
  static void PrepareProcess(const SourceTable& sources = AllSources());

  // Loads the libraries without which the sources cannot follow what `specs` names. The error
  // names the library that is missing. Call it before Create, while a failed start still loses
  // nothing that the previous daemon handed over. Blocks while the files are read.
  static absl::Status LoadLibraries(const SourceSpecs& specs, const SourceTable& sources);
  // `clock` and `sink` outlive the watcher. The first RunOnce after the host's first answer
  // restores the previous runs, sets the watches and scans the directories. An error names the
  // system resource that could not be had.
  static absl::StatusOr<std::unique_ptr<NodeWatcher>> Create(
      WatcherOptions options, PreviousRuns previous, const Clock* clock, UpdateSink* sink,
      const SourceTable& sources = AllSources());
  virtual ~NodeWatcher() = default;

  // Waits for input or a timer, at most `timeout`, and handles all that is due.
  virtual void RunOnce(absl::Duration timeout) = 0;
  // Makes a RunOnce that waits, or the next one, return early. Any thread; async-signal-safe.
  virtual void Wake() = 0;
  // Publishes what its runs have not published yet, such as the count of dropped events, and up to
  // which time it has watched. Call it once, after the last RunOnce. Loop thread.
  virtual void PublishRest() = 0;

  // Hands the open runs over to the daemon that continues them. Unset: the previous daemon's runs
  // were not restored yet, so it knows none. Call it after PublishRest(). Loop thread.
  virtual std::optional<OpenRuns> HandOver() = 0;
  // Returns the socket that is handed over with the runs and receives the exit statuses of their
  // processes; -1: none is needed.
  virtual int exit_status_socket() const = 0;

  // Declares an intent for a run that has not ended, one at a time. `done` is called once, on the
  // loop thread or the sink's: with the intent after its INTENT_DECLARED is public, or with
  //   NOT_FOUND            no such VM, or no such run, runs
  //   FAILED_PRECONDITION  several VMs of that name run; the message lists their run ids; or the
  //                        run's end is decided or over, and INTENT_LATE is public; or it started
  //                        later than asked for
  //   ALREADY_EXISTS       the run has an open intent of another actor, or its request_id was used
  //                        for an intent of another actor or reason; the message names that one
  //   RESOURCE_EXHAUSTED   kMaxIntentRequests wait for their answers, or too many intents were
  //                        declared: for this run, or on the node (kNodeIntents)
  //   UNAVAILABLE          the watcher was destroyed before
  // Handled once first_scan_done. Any thread.
  virtual void DeclareIntent(IntentRequest request,
                             std::function<void(absl::StatusOr<v1::Intent>)> done) = 0;
  // Withdraws an intent. NOT_FOUND: it was withdrawn, has expired, its run has ended, or it never
  // existed. `done` and the other errors are as for DeclareIntent, after INTENT_ENDED is
  // public.
  virtual void WithdrawIntent(std::string intent_id, std::function<void(absl::Status)> done) = 0;
  // Returns what the watcher sees and cannot see: its part of the message. Any thread.
  virtual v1::GetServerInfoResponse Describe() const = 0;

  // Returns whether every saved run was restored or has ended, and every socket that existed at the
  // start was tried.
  virtual bool first_scan_done() const = 0;
  // Any thread.
  virtual WatcherCounters counters() const = 0;
  // Returns what an operator has to repair, of each source that has something. Any thread.
  virtual std::vector<std::string> Troubles() const = 0;
  // Returns whether a source has a report that it will handle only after a look at a process. Loop
  // thread.
  virtual bool waits() const = 0;
  // Returns the health services of the watcher, always the same ones: kSourcesService, which serves
  // once a source that has started can find VMs, and those of the sources. Loop thread.
  virtual std::vector<ServiceHealth> Health() const = 0;
  // Returns the same services while there is no watcher, or it does not respond: none serves. Any
  // thread.
  static std::vector<ServiceHealth> NotServing(const SourceTable& sources = AllSources());
};

}  // namespace vmeventd
