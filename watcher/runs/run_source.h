#pragma once

#include "watcher/runs/handed_run.h"
#include "watcher/runs/vm_run.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// Something that finds runs and feeds their sessions: it owns its connections, adds what it finds
// to the RunTable, and knows nothing of verdicts. QMP sockets are one (watcher/qmp), libvirt is the
// other (watcher/libvirt). A process that one source follows is no other source's. Loop thread.
class RunSource {
 public:
  virtual ~RunSource() = default;

  // Begins to look for runs. Those that a daemon before this one left are in the table.
  virtual void Start() = 0;
  // Returns whether everything that was there at the start was tried.
  virtual bool first_scan_done() const = 0;
  // Drops what was on the call stack. Call it after each turn of the loop.
  virtual void EndTurn() = 0;

  // Returns whether a run that a daemon before this one left is of this source.
  virtual bool Restores(const RunInfo& info) const = 0;
  // Makes a run of the session, which a daemon before this one left, and adds it to the table.
  // Before Start().
  virtual VmRun* Restore(VmSession session) = 0;
  // Continues a restored run of this source where the daemon before this one stopped, with what
  // that has handed over. False: it cannot, and is as before; descriptors that are left in `handed`
  // are the caller's.
  virtual bool GoOn(VmRun* /*run*/, HandedRun* /*handed*/) { return false; }
  // A restored run goes on, as far as its process says.
  virtual void OnRestored(VmRun* /*run*/) {}
  // Ends a restored run of this source whose process is gone, and of which nothing is left: at
  // once, or when it is known how it ended.
  virtual void EndRestored(VmRun* run) { run->End(); }
  // Ends the untracked runs that no monitor leads back to.
  virtual void EndUnreachableRuns() {}

  // Notifications of the table about this source's runs. `run` is in the table:
  virtual void OnPublished(VmRun* /*run*/) {}
  virtual bool OwnsName(const VmRun* run) const = 0;
  // `run` is no longer in the table.
  virtual void OnOver(VmRun* run) = 0;
};

}  // namespace vmeventd
