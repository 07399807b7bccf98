#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/token_bucket.h"
#include "watcher/core/event_sink.h"
#include "watcher/core/vm_event.h"
#include "watcher/libvirt/domain_process.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_inbox.h"
#include "watcher/libvirt/libvirt_link.h"
#include "watcher/libvirt/libvirt_run.h"
#include "watcher/libvirt/socket_glob_watcher.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {

// The source "libvirt": connects to the libvirts that --libvirt names and follows their domains, by
// the events of QEMU that libvirt passes on. It never waits for a libvirt (LibvirtLink). A domain
// whose process another source follows is left to that; a run that nothing configured leads to any
// more goes on here. Loop thread.
class LibvirtSource : public RunSource, public SocketGlobWatcher::Delegate, public FdHandler {
 public:
  // Limit of the calls of libvirts that are under way: more than the pods that Kubernetes starts on
  // a node, each of which may have a libvirt that hangs.
  static constexpr int kMaxThreads = 256;

  // All outlive the source; `api` may be null where options->libvirts has none but awaited ones. An
  // error names the system resource that could not be had.
  static absl::StatusOr<std::unique_ptr<LibvirtSource>> Create(RunContext* context,
                                                               const WatcherOptions* options,
                                                               RunTable* table, EventSink* sink,
                                                               std::shared_ptr<LibvirtApi> api);
  // Gives calls that are under way a moment to end.
  ~LibvirtSource() override;

  void Start() override;
  bool first_scan_done() const override { return first_scan_done_; }
  void EndTurn() override;

  bool Restores(const RunInfo& info) const override {
    return info.reported_by != ReportedBy::kMonitor;
  }
  VmRun* Restore(VmSession session) override;
  bool GoOn(VmRun* run, HandedRun* handed) override;
  void OnRestored(VmRun* run) override;
  void EndRestored(VmRun* run) override { Of(run)->AwaitKeptEnd(); }

  bool OwnsName(const VmRun* /*run*/) const override { return false; }  // it has no shutdown file
  void OnOver(VmRun* run) override;

  // For a run, from within any method that hands an input to its session, and from the loop.
  void AskDetails(LibvirtRun* run);
  // Hands in what libvirt has said by now, to whatever run, within `limit`.
  void ReadNow(absl::Duration limit);
  // Has OnKeptEnd called, once the domains are listed. False: nobody can say how the run ended.
  bool AskKeptEnd(LibvirtRun* run);

  // As NodeWatcher::HandOver().
  std::vector<HandedRun> HandOver();

  // Returns whether messages that were taken in wait for a look at a process.
  bool waits() const;

  // Returns whether a libvirt is connected, or there is none to connect to and a glob that may
  // match one.
  bool is_open() const;
  // Returns whether each libvirt that is configured, or whose socket matches, could be connected to
  // when that was last tried.
  bool reaches_all() const;

  // Any thread.
  std::vector<LibvirtConnectionState> connections() const;

 private:
  // Domains that one libvirt may begin: STARTED and STOPPED pass the limits of events.
  static constexpr double kBurst = 20'000;
  static constexpr double kPerSecond = 20;

  // When the domains are listed again, after that was done at the connection: a libvirt that was
  // just started finds out by then which of its domains it has.
  static constexpr absl::Duration kFirstCheck = absl::Seconds(5);

  // UUIDs that are kept while domains are listed again; of more, that list is not used.
  static constexpr size_t kMaxHeard = 20'000;
  // Limit of the sockets that match globs: those that are there, and those whose calls hang.
  static constexpr size_t kMaxLinks = size_t{4} * SocketGlobWatcher::kMaxSockets;

  // Meaning of an event for the life that it is of.
  enum class Event { kStarted, kResume, kReset, kOther };
  // A domain of a list that was not looked at yet.
  struct Row {
    ActiveDomain active;
    std::optional<DomainLifecycle> stopped;  // the domain has, or its life before that one
  };
  // A life that is no run here (any more), and that libvirt may still name: another source follows
  // it, or its run ended before libvirt said so.
  struct PassedOver {
    int64_t domain_id = 0;
    int64_t pid = 0;        // that it had; 0: not known
    AttemptId attempt = 0;  // whose events are meant: ids are used again by the next libvirtd
    bool resumed = false;   // a RESUME came since, of this life or of the next one
  };
  // One libvirt. It exists as long as its socket, a call or a run of it does, or for ever where its
  // URI has no glob.
  struct Link {
    Link(const std::string& link_uri, CommandLines* command_lines)
        : uri(link_uri), containers(IsContainerUri(uri)), processes(command_lines, containers) {}

    const std::string uri;
    const bool containers;  // its domains are containers, whose ids are their processes' numbers
    DomainProcesses processes;
    // Messages that wait for a look at a process, from the first such one on: at most one batch of
    // the inbox, which keeps the rest.
    std::deque<LibvirtMessage> waiting;
    TimerId look;                         // whether that has its result
    std::unique_ptr<LibvirtLink> worker;  // null: nothing configured leads there
    bool wanted = false;                  // to be connected
    bool connected = false;
    int64_t libvirtd_began_ns = 0;  // as RunInfo has it
    bool listing = false;           // events come that may be older than the first list
    bool tried = false;             // the first attempt has ended, or takes long
    bool was_connected = false;     // at some time
    AttemptId attempt = 0;          // that is under way or led to the connection; 0: none
    TimerId retry;
    TimerId slow;   // of an attempt that takes long
    TimerId check;  // of the runs whose processes are not seen
    absl::Duration backoff;
    // The next attempt, on the monotonic clock.
    absl::Duration not_before = -absl::InfiniteDuration();
    std::string problem;
    absl::Time since;
    absl::Duration connected_at;                               // on the monotonic clock
    absl::flat_hash_map<std::string, LibvirtRun*> runs;        // by UUID, the latest of each
    absl::flat_hash_map<std::string, PassedOver> passed_over;  // by UUID
    absl::flat_hash_map<std::string, Row> rows;                // by UUID
    absl::flat_hash_map<std::string, int64_t> newest_ids;      // by UUID, until they are listed
    // While the domains are listed again: the UUIDs of which something came.
    std::optional<absl::flat_hash_set<std::string>> heard;
    TokenBucket new_runs{kBurst, kPerSecond};

    // Returns whether this life is over: a later one of the domain was heard of or listed.
    bool IsOver(const DomainName& domain) const {
      const auto it = newest_ids.find(domain.uuid);
      return it != newest_ids.end() && domain.id < it->second;
    }
    // Returns whether something configured leads there.
    bool reachable() const { return wanted || attempt != 0; }
  };

  LibvirtSource(RunContext* context, const WatcherOptions* options, RunTable* table,
                EventSink* sink, std::shared_ptr<LibvirtApi> api,
                std::shared_ptr<LibvirtInbox> inbox);

  void OnFdReady(uint32_t events) override;
  void OnSocketPath(int spec, const std::string& path) override;
  void OnSocketPathGone(int spec, const std::string& path) override;
  void OnScanned() override { has_unused_links_ = true; }

  static LibvirtRun* Of(VmRun* run) { return static_cast<LibvirtRun*>(run); }
  Link* LinkAt(const std::string& uri);
  void Want(Link* link, const LibvirtSpec& spec, const std::string& socket);
  // Wants the link of a spec without a glob as soon as what it awaits is there.
  void WantIfThere(const LibvirtSpec& spec);
  void Connect(Link* link);
  // No attempt before the link's backoff, which grows, is over.
  void BackOff(Link* link);
  void RetryLater(Link* link);
  void OnSlow(Link* link);
  void EndAttempt(Link* link);
  void Disconnect(Link* link, absl::string_view why);
  // Its socket is gone for good, and with it the only one who could say how its domains end.
  void GiveUp(Link* link);
  void DropUnusedLinks();
  // Lists the domains again from time to time, while there are runs whose end only libvirt could
  // report: at times it does not.
  void CheckLater(Link* link, absl::Duration wait);
  static void Hear(Link* link, const std::string& uuid);
  void SetProblem(Link* link, const std::string& problem);
  void ShowState(const Link& link);
  void PublishGap(const Link& link);

  void HandleNow(Link* link, LibvirtMessage& message);
  // Begins the looks that the message needs. Whether they have their results.
  bool Look(Link* link, const LibvirtMessage& message);
  // Returns whether what the message says of the domain may need one.
  bool NeedsLook(const Link& link, const DomainName& domain, bool event) const;
  // The domains of which the message needs one.
  std::vector<DomainName> LooksFor(const Link& link, const LibvirtMessage& message) const;
  void LookLater(Link* link);
  void OnLook(Link* link);

  void Handle(Link* link, LinkOpened& message);
  void Handle(Link* link, DomainListed& message);
  void Handle(Link* link, DomainsListed& message);
  void Handle(Link* link, DomainsListedAgain& message);
  void Handle(Link* link, LinkClosed& message);
  void Handle(Link* link, DomainEvent& message);
  void Handle(Link* link, DomainChanged& message);
  void Handle(Link* link, DetailsKnown& message);
  void Handle(Link* link, DetailsChanged& message);
  void Handle(Link* link, EndKept& message);
  void Handle(Link* link, ProcessFound& message);

  // Hands in the domain's row of the link's first list, if that was not done yet. `event` is of
  // that very life and not older than the connection.
  void ApplyRow(Link* link, const DomainName& domain, const QmpEvent* event);
  void OnStopped(Link* link, const DomainName& domain, const DomainLifecycle& lifecycle);
  // A list has the domain.
  void OnActive(Link* link, const ActiveDomain& active);
  // Returns whether a list still has a life that has ended.
  bool IsPassedOver(Link* link, const DomainName& domain);
  // Returns whether a life that is over, of which nothing is followed, may be one whose end an
  // earlier daemon has published.
  bool MayHaveEndedBefore(const Link& link, const DomainName& domain) const;
  // The run of the domain by its UUID and id; null: none is followed.
  static LibvirtRun* FindRun(const Link& link, const DomainName& domain);
  // Returns whether a descriptor may be taken to look at the domain's process.
  bool HasRoomFor(const Link& link, const DomainName& domain) const;
  // Returns whether the domain that libvirt has since the connection was made is the life that
  // `run` is, by its id and its process, which is `process` where it had to be looked for.
  bool IsSameLife(const Link& link, const LibvirtRun& run, const DomainName& domain,
                  PeerProcess* process);
  // The same, where that needs no look.
  static bool IsPlainlySameLife(const LibvirtRun& run, const DomainName& domain);
  // The run of the life of which an event came, made if need be; null: another source follows its
  // process, or it is over.
  LibvirtRun* FindOrAddRun(Link* link, const DomainName& domain, std::string run_state,
                           Event event);
  // Ends the run of the domain whose process had ended before the connection was made: libvirt
  // names the domain now, so what it has kept is no more to be had.
  static void EndAwaited(Link* link, const DomainName& domain);
  // Asks how it ended.
  static void AskEnd(Link* link, const LibvirtRun& run);
  // The domain has a next life: the end of `run` was not reported.
  void LeaveRun(Link* link, LibvirtRun* run);
  // `heard`: by an event, and not from a list alone. Null: it is followed by another source, or not
  // any more.
  LibvirtRun* AddRun(Link* link, const DomainName& domain, bool heard);
  // A run that nothing leads to any more and that is this domain; null: there is none.
  VmRun* FindOrphan(const DomainName& domain, const PeerProcess& process);
  LibvirtRun* TakeOver(Link* link, const DomainName& domain, VmRun* run, PeerProcess process);
  bool IsOrphan(const VmRun& run) const;
  void EndOrphans();
  LibvirtRun* Adopt(Link* link, const std::string& uuid, VmSession session);
  // Follows its process if that was not to be had before, and if it was there at `heard_ticks`.
  void TrackIfPossible(Link* link, LibvirtRun* run, uint64_t heard_ticks);
  // By `process`; if that is not seen here, it is looked for where the libvirt of `domain` has it.
  void TrackInstead(Link* link, LibvirtRun* run, const DomainName& domain, PeerProcess process);
  // Returns kGone, without a pid, for the process of a later life than the one that `domain` names.
  // Sets `out_of_descriptors` where that is why it is not found.
  PeerProcess FindProcess(const Link& link, const DomainName& domain,
                          bool* out_of_descriptors = nullptr);

  RunContext* const context_;
  const WatcherOptions* const options_;
  RunTable* const table_;
  EventSink* const sink_;
  std::shared_ptr<LibvirtApi> api_;  // null: it is loaded once a libvirt that is awaited is there
  const std::shared_ptr<LibvirtInbox> inbox_;
  DetachedThreads threads_;
  SocketGlobWatcher sockets_;
  std::map<std::string, std::unique_ptr<Link>> links_;  // by URI
  absl::flat_hash_map<AttemptId, Link*> attempts_;      // that are under way or connected
  absl::flat_hash_map<VmRun*, Link*> link_of_;
  // UUIDs of the domains of which a run ended before this daemon, by their source: libvirt may list
  // that life once more, the first time that it is asked.
  absl::flat_hash_map<std::string, absl::flat_hash_set<std::string>> ended_before_;
  AttemptId last_attempt_ = 0;
  TimerId retry_threads_;
  TimerId await_;
  std::string awaited_problem_;  // last one logged
  bool starved_ = false;  // of threads
  bool started_ = false;
  bool first_scan_done_ = false;
  bool reading_ = false;
  bool has_unused_links_ = false;  // there may be some

  mutable Mutex mutex_;
  std::map<std::string, LibvirtConnectionState> states_ ABSL_GUARDED_BY(mutex_);  // by URI
};

}  // namespace vmeventd
