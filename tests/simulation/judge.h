#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/daemon.h"
#include "tests/simulation/declared.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/life.h"
#include "tests/simulation/story.h"
#include "tests/simulation/world.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::simulation {

// Compares what really happened with what was published. Records every event that became public,
// which daemon published it, whether it was reported as durable, and whether the next daemon still
// has it.
class Judge {
 public:
  struct Entry {
    v1::Event event;
    std::string content;      // content of the event, without `durable`
    bool written = false;     // the journal must have it, no matter what `durable` says
    bool lost = false;        // it was not durable, and a later daemon does not have it
    absl::Duration taken_at;  // time at which the judge saw it
  };

  // `clock_steps`: the wall clock may be set, so ages cannot be checked.
  Judge(Kernel* kernel, const World* world, const Libvirtd* libvirtd, Story* story,
        const Daemon::Options& options, bool clock_steps)
      : kernel_(kernel),
        world_(world),
        libvirtd_(libvirtd),
        story_(story),
        options_(options),
        clock_steps_(clock_steps) {}

  // Damages the journal while no daemon runs. False: there is no journal.
  bool DamageJournal();
  // Called when a daemon starts. `may_fail`: it may be unable to reserve sequences.
  void BeforeStart(bool may_fail) {
    start_may_fail_ = may_fail;
    may_be_renamed_ = may_be_renamed_ || may_fail;
  }
  // Checks after a start that the journal contains at least everything that was durable.
  void AfterStart(Daemon* daemon, int number);
  // Records each newly public event, before anything else can happen.
  void Look(Daemon* daemon, int number);
  // Records what retention has deleted. Called after each turn of the writer.
  void AfterWriter(const Daemon& daemon);
  // Called after each turn of the loop.
  void AfterLoop(const Daemon& daemon);
  // Called after each turn of the pump.
  void AfterPump(Daemon* daemon, int number);
  // Checks after a stop in order, with a healthy disk, that the journal has all public events.
  void AfterStop();
  // Sets the paths whose opening has failed since the last shortage of descriptors began; they
  // outlive the judge.
  void set_unopened(const std::set<std::string>* paths) { unopened_ = paths; }
  // Sets whether the running daemon was started with few descriptors.
  void set_short_of_descriptors(bool is) { short_of_descriptors_ = is; }
  // Checks that the daemon lists what it does not follow, after some time without descriptors in
  // which these paths could not be opened.
  void CheckListed(const Daemon& daemon, int number, const std::set<std::string>& unopened) const;
  // Checks that every VM that can be followed is followed, after some time with descriptors.
  void CheckFollowed(int number) const;
  // Called from time to time: checks that libvirt's domains are followed, each with its true
  // identity.
  void CheckDomains(const Daemon& daemon);
  // Called when nobody has anything to do: checks that each VM whose monitor the daemon has is
  // shown in its true state.
  void CheckStates(const Daemon& daemon) const;
  // Called when nobody has anything to do: checks, once for each daemon, that it lists each VM that
  // has stopped, as that.
  void CheckStopped(const Daemon& daemon);
  // Called after a stop: checks that every run that can be handed over is in the handover.
  void CheckHandover(const Daemon& daemon, const std::set<std::string>& handed) const;
  // Final checks, when nothing is left to do.
  void AtEnd(const Daemon& daemon);

  // Checks a snapshot at `sequence`: the runs in it must be those whose events pass `wants`.
  void CheckSnapshot(const std::set<std::string>& runs, uint64_t sequence,
                     const std::function<bool(const v1::Event&)>& wants) const;

  const std::map<uint64_t, Entry>& entries() const { return entries_; }
  const std::string& journal_id() const { return journal_id_; }
  uint64_t newest() const { return entries_.empty() ? 0 : entries_.rbegin()->first; }
  uint64_t oldest() const { return oldest_; }  // sequence of the oldest event in the journal
  // The log's reports so far: the newest event in the journal, and the newest durable one.
  uint64_t committed() const { return committed_; }
  uint64_t durable() const { return durable_; }
  // Retention has thinned out events up to this sequence. MayBeThinned(): whether it may have
  // deleted this event.
  uint64_t thinned() const { return thinned_; }
  bool MayBeThinned(uint64_t sequence) const;
  // Returns whether, since the intent was declared, a daemon has started without the open runs, and
  // so without the intent.
  bool Forgets(const Declared& intent) const {
    return !without_runs_.empty() && intent.asked < without_runs_.rbegin()->second;
  }

  // Returns whether there is so little room for events that wait for the disk that some are
  // dropped.
  bool drops() const { return options_.max_waiting_bytes < Backlog::kMaxBytes; }

  // The event without the parts that may differ when it is read twice.
  static std::string ContentOf(const v1::Event& event);

 private:
  // Checks that HOST_SHUTDOWN, and the caveat of it, is reported if and only if the host shut down.
  void CheckHostShutdown(const Life& life, const v1::Event& event, int daemon) const;
  // Reads the journal's events in this range; empty if the journal is damaged or not complete yet.
  std::map<uint64_t, v1::Event> ReadJournal(uint64_t first, uint64_t last);
  // Returns whether, for the time `since`, nothing has prevented daemons from using the life's
  // monitor.
  bool IsFree(const Life& life, absl::Duration since) const;
  void Add(const v1::Event& event, int daemon);
  // Marks the events that the GAP names as lost.
  void TakeMissing(const v1::Event& gap);
  void CheckStop(const v1::Event& event, int daemon);
  // Parts of CheckStop(): what came before the STOPPED; the end of a process that ended while no
  // daemon ran, and that was handed over; ends by a reboot; the shutdown file.
  void CheckWithdrawal(const Life& life, int daemon) const;
  void CheckOrder(const Life& life, const v1::Event& stopped, int daemon) const;
  void CheckUnattendedEnd(const Life& life, const std::string& rule) const;
  void CheckReboot(const Life& life, const v1::Event& stopped, bool by_reboot) const;
  void CheckShutdownFile(const Life& life, const v1::Event& stopped, int daemon) const;
  // Returns whether the end may be an intended one: false, true, or both.
  std::set<bool> MayBeIntended(const Life& life) const;
  // Check that the end of a domain has waited for libvirt's report, and that no intent of an
  // earlier end is shown with this one.
  void CheckReport(const Life& life, const v1::Event& stopped, int daemon) const;
  void CheckIntent(const Life& life, const v1::Event& stopped, int daemon) const;
  // Checks that the event describes its VM correctly, and omits nothing that earlier events had.
  void CheckRef(const v1::Event& event);
  void CheckGap(const v1::Event& event, int daemon) const;
  // Checks that a GAP is before a state that was found after nobody had looked.
  void CheckUnseenChange(const v1::Event& event) const;
  void CheckTimes(const v1::Event& stopped) const;
  // Returns whether the withdrawal of an intent for the life was published.
  bool IsWithdrawn(const Life& life) const;
  // Checks that no VM that is known to run has a shutdown file from its own life.
  void CheckFiles(int number);
  bool IsLatest(const Life& life) const;
  const Life* LifeOf(const std::string& run_id) const;
  void TakeUnseenDomain(const v1::VmRef& vm);
  void TakeOtherRunId(const v1::VmRef& vm);
  void TakeRunId(const std::string& run_id, Life* life);
  // Marks which reports daemons have read by now, and whether their effects are in the journal.
  void MarkKept(const Daemon& daemon);
  // Returns a fault that may have hidden part of the life's end from the daemon that reports it.
  // kNone: the class must be the true one, and not UNKNOWN.
  Fault FaultOf(const Life& life, const v1::Event& stopped, int daemon) const;
  // Like FaultOf(), for an ending that only the process's end shows (Ending::By::kProcess).
  Fault FaultOfProcess(const Life& life, int daemon) const;
  // Returns the last time at which the daemon has certainly read the counter of kills for memory in
  // the cgroup of the life: as it began to follow it, or as an intent was declared.
  absl::Duration CountedAt(const Life& life) const;
  // Returns whether it is a documented exception: the class is neither the true one nor UNKNOWN.
  bool IsException(const Life& life, const v1::Event& stopped, int daemon) const;
  // Returns whether the daemon knows that the last pages of a migration were being sent when the
  // life was killed. Then nobody on this node knows whether it lives on, and the class is UNKNOWN.
  bool KnowsOfMigration(const Life& life, int daemon) const;
  // Checks that an end of a VM that was followed since its last reset has no doubt of a press.
  void CheckPressDoubt(const Life& life, const v1::ShutdownDetail& detail, int daemon) const;
  // Compares the class of an end with the true one.
  void CheckClass(const Life& life, const v1::Event& stopped, int daemon);
  // Checks the rest of the STOPPED: cause, sender, exit status, panic, evidence.
  void CheckDetail(const Life& life, const v1::Event& stopped, Fault fault, int daemon) const;
  void CheckEvidence(const Life& life, const v1::ShutdownDetail& detail, int daemon) const;

  void CheckInTime(const v1::Event& event) const;
  // Checks that each report of a life has an event, or is counted by a GAP.
  void CheckSaid(const Life& life) const;
  void CheckRetention(const Daemon& daemon);
  // Records that a daemon starts without the open runs of earlier daemons.
  void BeginsWithoutRuns(int number);
  // Returns whether there is a reason for which the run may lack a STOPPED: retention, a GAP, or a
  // daemon that started without the open runs.
  bool MayLackStop(const std::string& run_id) const;
  // Adopts the journal that has replaced the damaged one. Call it after a start.
  void TakeNewJournal(const Daemon& daemon);
  // Check that the last event of each listed VM is public, and that no later one is.
  void CheckVms(const Daemon& daemon) const;
  void CheckLastEvents(const Daemon& daemon) const;
  // Marks the event as lost: a daemon need not know it any more.
  void Lose(Entry* entry);

  Kernel* const kernel_;
  const World* const world_;
  const Libvirtd* const libvirtd_;
  Story* const story_;
  const Daemon::Options options_;
  const bool clock_steps_;
  std::string journal_id_;
  std::map<uint64_t, Entry> entries_;
  // The first durable event that has the UUID of a run, keyed by run id.
  std::map<std::string, uint64_t> known_uuids_;
  std::vector<std::pair<uint64_t, uint64_t>> missing_;  // ranges named by GAPs
  bool damaged_ = false;  // the journal was damaged, and no new one was seen yet
  bool start_may_fail_ = false;
  // A start may have created another journal since the last start that found everything in order.
  bool may_be_renamed_ = false;
  // No daemon has opened the journal since it was damaged: it may lack tables, or not exist.
  bool replacement_is_due_ = false;
  std::map<std::string, const Life*> unseen_domains_;  // keyed by run id
  std::set<std::string> stopped_before_;               // run ids that stopped in earlier journals
  // Earlier run ids of lives that got new ones from a daemon without the open runs.
  std::map<std::string, const Life*> former_runs_;
  // The newest event of each run that is public and not lost, keyed by run id.
  std::map<std::string, uint64_t> last_events_;
  bool unseen_ = false;  // retention has deleted events before anyone could see them
  // Some events up to this sequence were thinned out before anyone could see them.
  uint64_t thinned_unseen_ = 0;
  bool dropped_ = false;          // the log has omitted events
  bool gap_of_left_out_ = false;  // a GAP counts omitted events
  bool full_ = false;     // the running daemon had no room for anything that waits for the disk
  bool gave_up_ = false;  // the daemon has dropped events that waited for the disk
  // Times of the GAPs that count omitted events, where there was no room even for evidence.
  std::vector<absl::Duration> left_out_at_;
  // Times of the GAPs for events that waited for the disk and were dropped.
  std::vector<absl::Duration> dropped_at_;
  // The daemons that started without the open runs of earlier daemons, and the times of these
  // starts.
  std::map<int, absl::Duration> without_runs_;
  const std::set<std::string>* unopened_ = nullptr;  // see set_unopened()
  bool short_of_descriptors_ = false;
  bool had_journal_ = false;  // at the last look, the running daemon had opened the journal
  uint64_t deleted_ = 0;      // all events up to this sequence are deleted
  uint64_t oldest_ = 0;
  uint64_t committed_ = 0;
  uint64_t durable_ = 0;
  uint64_t thinned_ = 0;
  uint64_t marked_durable_ = 0;  // the durability of the entries up to this sequence is final
  absl::Duration started_at_;    // start of the running daemon, which has the number `number_`
  absl::Duration stopped_at_ = -absl::InfiniteDuration();  // the last stop in order
  int number_ = 0;
  int reads_of_ = 0;          // the first daemon in the chain of handovers to the present one
  int stops_checked_of_ = 0;  // the last daemon of which CheckStopped() has checked the list
  // A daemon's number, and the start of the libvirtd that it follows.
  std::pair<int, absl::Duration> followed_;
};

}  // namespace vmeventd::simulation
