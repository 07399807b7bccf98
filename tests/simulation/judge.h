#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/simulation/daemon.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/life.h"
#include "tests/simulation/story.h"
#include "tests/simulation/world.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::simulation {

// Knows what truly happened and what was published, and holds them together: what ever became
// public, by whom, whether it was called durable, and what of it the next daemon still has.
class Judge {
 public:
  struct Entry {
    v1::Event event;
    std::string content;      // the event's, but for `durable`
    bool written = false;     // the journal must have it, whatever `durable` said
    bool lost = false;        // not durable, and a later daemon does not have it
    absl::Duration taken_at;  // time at which the judge saw it
  };

  // `clock_steps`: the wall clock may be set, so that nothing can be said of ages.
  Judge(Kernel* kernel, const World* world, const Libvirtd* libvirtd, Story* story,
        const Daemon::Options& options, bool clock_steps)
      : kernel_(kernel),
        world_(world),
        libvirtd_(libvirtd),
        story_(story),
        options_(options),
        clock_steps_(clock_steps) {}

  // Damages the journal while no daemon runs. False: there is none.
  bool DamageJournal();
  // A daemon starts. `may_fail`: it may be unable to reserve sequences.
  void BeforeStart(bool may_fail) {
    start_may_fail_ = may_fail;
    may_be_renamed_ = may_be_renamed_ || may_fail;
  }
  // Checks after a start that the journal holds what was durable, and perhaps more.
  void AfterStart(Daemon* daemon, int number);
  // Takes each step that became public, before anything else can happen to it.
  void Look(Daemon* daemon, int number);
  // Takes what retention has deleted; called after each turn of the writer.
  void AfterWriter(const Daemon& daemon);
  // Called after each turn of the pump.
  void AfterPump(Daemon* daemon, int number);
  // Checks after a stop in order, with a healthy disk, that the journal has all that is public.
  void AfterStop();
  // The daemon that runs began with few descriptors, or not.
  void set_short_of_descriptors(bool is) { short_of_descriptors_ = is; }
  // Checks that what is not followed is listed, after some time without descriptors, in which
  // these paths were not opened.
  void CheckListed(const Daemon& daemon, int number, const std::set<std::string>& unopened) const;
  // Checks that what may be followed is, after some time with descriptors.
  void CheckFollowed(int number) const;
  // Checks from time to time that the domains of libvirt are followed, each as what it is.
  void CheckDomains(const Daemon& daemon);
  // Checks the end, when nothing is left to do.
  void AtEnd(const Daemon& daemon);

  // Checks a snapshot of the sequence: the runs in it, of those whose events `wants`.
  void CheckSnapshot(const std::set<std::string>& runs, uint64_t sequence,
                     const std::function<bool(const v1::Event&)>& wants) const;

  const std::map<uint64_t, Entry>& entries() const { return entries_; }
  const std::string& journal_id() const { return journal_id_; }
  uint64_t newest() const { return entries_.empty() ? 0 : entries_.rbegin()->first; }
  uint64_t oldest() const { return oldest_; }  // oldest event in the journal
  // What the log has said so far: the newest event in the journal, and what is durable.
  uint64_t committed() const { return committed_; }
  uint64_t durable() const { return durable_; }
  // Retention has thinned out events up to this one; and whether it may have deleted this one.
  uint64_t thinned() const { return thinned_; }
  bool MayBeThinned(uint64_t sequence) const;
  // Returns whether a daemon has begun without the runs since, and so without the intent.
  bool Forgets(const Declared& intent) const {
    return !without_runs_.empty() && intent.asked < without_runs_.rbegin()->second;
  }

  // Returns whether there is little room for what waits for the disk, so that some is dropped.
  bool drops() const { return options_.max_backlog_bytes < JournalOptions::kMaxBacklogBytes; }

  // The event without what may differ between two looks at it.
  static std::string ContentOf(const v1::Event& event);

 private:
  // HOST_SHUTDOWN is said where the host shut down, and nowhere else.
  void CheckHostShutdown(const Life& life, const v1::Event& event, int daemon) const;
  // Events of this range in the journal; none if it is damaged, or not whole yet.
  std::map<uint64_t, v1::Event> ReadJournal(uint64_t first, uint64_t last);
  // Returns whether nothing has kept daemons from its monitor for so long.
  bool IsFree(const Life& life, absl::Duration since) const;
  void Add(const v1::Event& event, int daemon);
  // Marks as lost what the GAP names.
  void TakeMissing(const v1::Event& gap);
  void CheckStop(const v1::Event& event, int daemon);
  // The event names its VM as that is, and forgets nothing that events before it knew.
  void CheckRef(const v1::Event& event);
  void CheckGap(const v1::Event& event, int daemon) const;
  void CheckTimes(const v1::Event& stopped) const;
  // Returns whether the withdrawal of an intent for it was published.
  bool IsWithdrawn(const Life& life) const;
  // Checks that no VM that is known to run has the shutdown file of an end that was none.
  void CheckFiles(int number);
  bool IsLatest(const Life& life) const;
  const Life* LifeOf(const std::string& run_id) const;
  void TakeUnseenDomain(const v1::VmRef& vm);
  void TakeOtherRunId(const v1::VmRef& vm);
  void TakeRunId(const std::string& run_id, Life* life);
  // Marks what daemons have read by now and what is in the journal of it.
  void MarkKept(const Daemon& daemon);
  // A fault that may have hidden something of the life's end from the daemon that reports it.
  // Empty: none, so that the class must be the true one, and not UNKNOWN.
  std::string FaultOf(const Life& life, const v1::Event& stopped, int daemon) const;
  // Likewise, of a life that ended by how its process ended.
  std::string FaultOfProcess(const Life& life, int daemon) const;
  // The documented exceptions: another class than the true one, and not UNKNOWN.
  bool IsException(const Life& life, const v1::Event& stopped) const;
  // Checks the class of an end by that of the world, whatever the intents.
  void CheckClass(const Life& life, const v1::Event& stopped, int daemon,
                  const std::set<bool>& intended);
  // Checks what else it says: cause, sender, exit status, panic, evidence.
  void CheckDetail(const Life& life, const v1::Event& stopped, const std::string& fault,
                   int daemon) const;
  void CheckEvidence(const Life& life, const v1::ShutdownDetail& detail, int daemon) const;

  void CheckInTime(const v1::Event& event) const;
  // Checks that each thing that a life has said has an event, or is counted by a GAP.
  void CheckSaid(const Life& life) const;
  void CheckRetention(const Daemon& daemon);
  // Takes it that a daemon begins without the open runs of those before.
  void BeginsWithoutRuns(int number);
  // Returns whether it is said why the run has no STOPPED.
  bool MayLackStop(const std::string& run_id) const;
  // Takes a journal that has taken the damaged one's place, after a start.
  void TakeNewJournal(const Daemon& daemon);
  void CheckVms(const Daemon& daemon) const;

  Kernel* const kernel_;
  const World* const world_;
  const Libvirtd* const libvirtd_;
  Story* const story_;
  const Daemon::Options options_;
  const bool clock_steps_;
  std::string journal_id_;
  std::map<uint64_t, Entry> entries_;
  std::set<std::string> known_uuids_;  // run ids of which a durable event had the UUID
  std::vector<std::pair<uint64_t, uint64_t>> missing_;  // named by GAPs
  bool damaged_ = false;                                // damaged, and no new journal seen yet
  bool start_may_fail_ = false;
  // A start since the last one that found all in order may have begun another journal.
  bool may_be_renamed_ = false;
  // No daemon has opened the journal since it was damaged: it may have no tables, or not be there.
  bool replacement_is_due_ = false;
  std::map<std::string, const Life*> unseen_domains_;  // keyed by run
  std::set<std::string> stopped_before_;               // runs, in journals before this one
  // The run ids that lives had before those that a daemon without their runs gave them.
  std::map<std::string, const Life*> former_runs_;
  bool unseen_ = false;  // retention has deleted events before anybody could see them
  // Some up to this one were thinned out before anybody could see them.
  uint64_t thinned_unseen_ = 0;
  bool dropped_ = false;                     // the log has left events out
  bool gave_up_ = false;                     // the daemon's queue for the disk has dropped events
  std::vector<absl::Duration> left_out_at_;  // times of the GAPs that count them
  std::vector<absl::Duration> dropped_at_;   // times of the GAPs for what the disk's queue drops
  // The daemons that began without the open runs of those before, and when.
  std::map<int, absl::Duration> without_runs_;
  bool short_of_descriptors_ = false;
  uint64_t deleted_ = 0;  // all events up to this one
  uint64_t oldest_ = 0;
  uint64_t committed_ = 0;
  uint64_t durable_ = 0;
  uint64_t thinned_ = 0;
  uint64_t marked_durable_ = 0;  // entries up to it are as durable as they will be
  absl::Duration started_at_;    // start of the daemon that runs, which is this one
  int number_ = 0;
  int reads_of_ = 0;  // the first of the daemons that have handed what they read to the present one
  std::pair<int, absl::Duration> followed_;  // a daemon, and the start of its libvirtd
};

}  // namespace vmeventd::simulation
