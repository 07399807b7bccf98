#pragma once

#include <string>
#include <vector>

#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/service_health.h"
#include "watcher/runs/source_metric.h"

namespace vmeventd {

class VmRun;
class VmSession;

// A source of runs, which finds them and feeds their sessions: it owns its connections, adds what
// it finds to the RunTable, and knows nothing of verdicts. QMP sockets are one (watcher/qmp),
// libvirt is the other (watcher/libvirt). Each run has the key of its source (RunInfo::source_key).
// No two sources follow the same process. A source outlives the table, so its destructor must not
// use that. Loop thread, unless a method names another.
class RunSource {
 public:
  virtual ~RunSource() = default;

  // Makes a run of `session`, which the previous daemon's source of the same key left, and adds it
  // to the table. Call it before Start().
  virtual void Restore(VmSession session) = 0;
  // Begins to look for runs. The previous daemon's runs are in the table already.
  virtual void Start() = 0;
  // Returns whether everything that existed at the start was tried.
  virtual bool first_scan_done() const = 0;
  // Destroys objects that may have been on the call stack. Call it after each turn of the loop.
  virtual void EndTurn() = 0;
  // Called when `run`, which is of this source, has left the table.
  virtual void OnOver(VmRun* run) = 0;

  // Returns whether it can find VMs at all.
  virtual bool is_open() const = 0;
  // Returns whether it has a report that it will handle only after a look at a process.
  virtual bool waits() const { return false; }
  // Returns the health services of the source, the same ones each time.
  virtual std::vector<ServiceHealth> Health() const = 0;
  // Adds what GetServerInfo has of the source. Any thread.
  virtual void Describe(v1::GetServerInfoResponse* info) const = 0;
  // Returns the metrics of the source, the same counters each time. Any thread.
  virtual std::vector<SourceMetric> Metrics() const = 0;
  // Returns what an operator has to repair, for the status of the service ("a watched directory is
  // missing"); empty: nothing. Any thread.
  virtual std::string Trouble() const = 0;
};

}  // namespace vmeventd
