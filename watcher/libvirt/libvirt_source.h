#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/node_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/specs.h"
#include "watcher/core/vm_event.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_link.h"
#include "watcher/libvirt/socket_glob_watcher.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/vm_run.h"
#include "watcher/runs/watcher_counters.h"

namespace vmeventd {

class LibvirtSource;

// A run of a libvirt domain: a VmRun whose QEMU's events come through libvirt. Its process's end is
// the end of the run where the process can be seen, but a libvirt that is connected is given time
// to report how it came about; otherwise libvirt's report is the end. Loop thread.
class LibvirtRun : public VmRun {
 public:
  // Longest wait for libvirt's report of the end of a process that is gone: it tidies up first.
  static constexpr absl::Duration kReportWait = absl::Seconds(60);
  // Longest wait for it if what decides the end was seen already, or the VM has not arrived yet.
  static constexpr absl::Duration kReportWaitDecided = absl::Seconds(5);
  // Longest wait for the destroy of a container that failed or shut down, by libvirt's report: its
  // driver reports an end that it sees itself, and then its own destroy.
  static constexpr absl::Duration kDestroyWait = absl::Seconds(1);

  // The pointers outlive the run. `uuid` is the one that libvirt has for the domain.
  LibvirtRun(RunContext* context, RunTable* table, LibvirtSource* source, std::string uuid,
             VmSession session);
  ~LibvirtRun() override;

  // libvirt is connected and has the domain, with that id and in that run state.
  void OnListed(int64_t domain_id, const std::string& run_state);
  // libvirt is connected, and the domain does not run.
  void OnNotListed();
  void OnQmpEvent(const QmpEvent& event) { HandleQmpEvent(event); }
  void OnPaused(const DomainLifecycle& lifecycle) {
    Hand(input::ReportedPause{lifecycle.paused_for});
  }
  void OnStopped(const DomainLifecycle& lifecycle);
  // It is a container, and began again with that id and process; kind kUntracked: that is not seen.
  void OnRebooted(int64_t domain_id, PeerProcess next);
  void OnDetails(DomainDetails details);
  // Its process was looked for: it is not visible, which is a problem until it is found.
  void OnProcessMissing();
  void OnProcessFound(PeerProcess process);
  // libvirt's connection is a session of its own, which cannot be handed over.
  std::optional<HandedRun> HandOver() override;
  bool ResumeFrom(HandedRun* handed) override;
  // The connection to libvirt ended; or its libvirt is gone for good.
  void OnLost(absl::string_view why);
  void OnLibvirtGone();
  const std::string& uuid() const { return uuid_; }
  // Returns whether libvirt has reported that it stopped.
  bool reported() const { return reported_; }
  bool connected() const override { return connected_; }

 private:
  void OnProcessGone() override;
  void Ask(Question question) override;
  void ReadNow() override;
  void Disconnect() override { context_->loop->CancelTimer(&report_timer_); }

  // Waits at most `wait` for libvirt's report of the end of a process that is gone.
  void AwaitReport(absl::Duration wait);
  // Waits for how the process ended, which is gone; libvirt has nothing more to report.
  void AwaitEnd();

  LibvirtSource* const source_;
  const std::string uuid_;
  bool connected_ = false;
  bool was_connected_ = false;
  bool reported_ = false;  // libvirt has reported that it stopped
  bool awaits_end_ = false;
  bool process_missing_ = false;  // that is its problem
  TimerId report_timer_;
};

// The source "libvirt": connects to the libvirts that --libvirt names and follows their domains, by
// the events of QEMU that libvirt passes on. It never waits for a libvirt (LibvirtLink). A run
// begins with a list of the domains or with STARTED, once the domain's process was looked for; what
// a list leaves in doubt, the next one decides. A domain whose process another run follows is left
// to that. Loop thread.
class LibvirtSource : public RunSource, public FdHandler {
 public:
  // Limit of the calls of libvirts that are under way: more than the pods that Kubernetes starts on
  // a node, each of which may have a libvirt that hangs.
  static constexpr int kMaxThreads = 256;

  // Name of its health service: each libvirt that is configured, or whose socket matches, could be
  // connected to when that was last tried.
  static constexpr char kHealthService[] = "libvirt";

  // All outlive the source, but for the runs in the table. An error names the system resource that
  // could not be had.
  static absl::StatusOr<std::unique_ptr<LibvirtSource>> Create(RunContext* context, RunTable* table,
                                                               EventSink* sink);
  // Gives calls that are under way a moment to end.
  ~LibvirtSource() override;

  void Start() override;
  bool first_scan_done() const override { return first_scan_done_; }
  void EndTurn() override;

  VmRun* Restore(VmSession* session) override;
  void OnOver(VmRun* run) override;
  // Returns whether a libvirt is connected, or there is none to connect to and a glob that may
  // match one.
  bool is_open() const override;
  // Returns whether a message of a libvirt waits for a look at a process.
  bool waits() const override;
  std::vector<ServiceHealth> Health() const override;
  // Adds the connections, by URI.
  void Describe(v1::GetServerInfoResponse* info) const override;
  void Counters(WatcherCounters* all) const override;

  // For a run, from within any method that hands an input to its session, and from the loop.
  void AskDetails(LibvirtRun* run);
  // Hands in the messages of all libvirts that have come by now, within `limit`.
  void ReadNow(absl::Duration limit);

 private:
  // Domains that one libvirt may begin: STARTED and STOPPED pass the limits of events.
  static constexpr double kBurst = 20'000;
  static constexpr double kPerSecond = 20;

  // Time after which the domains are listed again, after that was done at the connection: a libvirt
  // that was just started finds out by then which of its domains it has.
  static constexpr absl::Duration kFirstCheck = absl::Seconds(5);

  // Limit of the events of one libvirt that wait for looks at processes.
  static constexpr size_t kMaxHeld = 20'000;
  // Limit of the sockets that match globs: those that are there, and those whose calls hang.
  static constexpr size_t kMaxLinks = size_t{4} * SocketGlobWatcher::kMaxSockets;

  // The latest life of a domain, while no run follows it.
  struct Life {
    // What is known of it.
    enum class Phase {
      kNew,     // nothing: events of it have come, or its process is being looked for
      kUnseen,  // a list had it, and its process was not seen: if the next list has it, it runs
      kOthers,  // another run follows its process
      kGone,    // its run's process is gone, which libvirt has not reported
    };

    int64_t id = 0;  // 0: there is none
    Phase phase = Phase::kNew;
    bool sought = false;    // its process is being looked for
    std::string run_state;  // by a list or STARTED; empty: neither has it
    bool started = false;   // by STARTED
    bool rebooted = false;  // it is the run's container, with its next process
    std::vector<std::variant<QmpEvent, DomainLifecycle>> held;  // what came since, in order

    // Returns whether it is that life, and another run follows its process.
    bool IsOthers(int64_t domain_id) const { return id == domain_id && phase == Phase::kOthers; }
    // Returns whether a look at its process decides about it, now or after the next list.
    bool waits() const { return sought || !held.empty(); }
  };
  // Why a list that was asked for may be wrong about a domain.
  enum class ListDoubt {
    kNone,
    kEvent,      // an event of QEMU came before the first list: that ends no run
    kLifecycle,  // STARTED or STOPPED came meanwhile: the list is not applied to it
  };
  struct Domain {
    LibvirtRun* run = nullptr;  // the latest
    Life life;                  // after that run
    ListDoubt doubt = ListDoubt::kNone;
  };
  // One libvirt. It exists as long as its socket, a call or a run of it does, or for ever where its
  // URI has no glob.
  struct Link {
    explicit Link(const std::string& link_uri) : uri(link_uri), containers(IsContainerUri(uri)) {}

    const std::string uri;
    const bool containers;                // its domains are containers, whose ids are their pids
    std::unique_ptr<LibvirtLink> worker;  // null: nothing configured leads there
    bool wanted = false;                  // to be connected
    bool connected = false;
    bool tried = false;          // the first attempt has ended, or takes long
    bool was_connected = false;  // at some time
    bool open = false;           // an attempt is under way, or led to the connection
    // Time of the next attempt, of a report that one takes long, or of the next list of domains.
    TimerId timer;
    absl::Duration backoff;
    // The next attempt, on the monotonic clock.
    absl::Duration not_before = -absl::InfiniteDuration();
    Problem problem;
    absl::Time since;
    absl::Duration connected_at;                       // on the monotonic clock
    absl::node_hash_map<std::string, Domain> domains;  // by UUID
    int runs = 0;
    size_t looks = 0;      // asked for, and without a result
    size_t held = 0;       // events in Life::held
    bool listing = false;  // a list of the domains was asked for, and is not there yet
    TokenBucket new_runs{kBurst, kPerSecond};

    // Returns whether something configured leads there.
    bool reachable() const { return wanted || open; }
  };

  LibvirtSource(RunContext* context, RunTable* table, EventSink* sink, UniqueFd wake);

  void OnFdReady(uint32_t events) override;
  void OnSocket(const LibvirtSpec& spec, const std::string& path);
  void OnSocketGone(const LibvirtSpec& spec, const std::string& path);

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
  // Its socket is gone for good, and with it the only reporter of how its domains end.
  void DropLink(Link* link);
  void DropUnused();
  // Lists the domains again from time to time, while something of them is in doubt.
  void CheckLater(Link* link, absl::Duration wait);
  void SetProblem(Link* link, ProblemCode code, const std::string& problem);
  void ShowState(const Link& link);
  void PublishGap(const Link& link);

  // Handles some messages of the link. Returns false if none waited.
  bool ReadFrom(Link* link);
  void Handle(Link* link, DomainsListed& message);
  void Handle(Link* link, LinkClosed& message);
  void Handle(Link* link, DomainEvent& message);
  void Handle(Link* link, DomainChanged& message);
  void Handle(Link* link, ProcessFound& message);
  void Handle(Link* link, DetailsKnown& message);
  void Handle(Link* link, DetailsChanged& message);

  // Compares a list with what is followed, but for domains that it may be wrong about.
  void ApplyList(Link* link, const std::vector<ActiveDomain>& list);
  void OnListed(Link* link, const ActiveDomain& active);
  void OnStarted(Link* link, const DomainName& name, const DomainLifecycle& lifecycle);
  void OnPaused(Link* link, const DomainName& name, const DomainLifecycle& lifecycle);
  void OnStopped(Link* link, const DomainName& name, const DomainLifecycle& lifecycle);
  // The domain's life of that id: another one is over.
  static Life* LifeOf(Link* link, Domain* domain, int64_t id);
  // Forgets the domain's life and what was held of it, and returns it.
  static Life TakeLife(Link* link, Domain* domain);
  // Starts the search for the domain's process, which decides about its life.
  static void Seek(Link* link, const DomainName& domain, Life* life);
  // Starts the search for the process of a run that has none.
  static void LookAgain(Link* link, const DomainName& domain);
  static void Hold(Link* link, Life* life, std::variant<QmpEvent, DomainLifecycle> what);
  // Hands in what was held, while `run` is the domain's.
  static void Release(LibvirtRun* run, const Link& link, const Life& life);
  // The run of the life whose process was looked for, made if need be; null: none follows it.
  LibvirtRun* RunOf(Link* link, const Life& life, ProcessFound* found);
  static LibvirtRun* FindRun(const Link& link, const std::string& uuid);
  // The runs that pass, each of which may be gone once another has taken an input.
  std::vector<LibvirtRun*> RunsThat(
      const std::function<bool(const LibvirtRun&, const Link&)>& pass) const;
  // Returns whether the life that libvirt names is that of `run`, without a look at its process.
  static bool IsPlainlySameLife(const LibvirtRun& run, const DomainName& domain);
  // The same, by its process, where that was found.
  static bool IsSameLife(const LibvirtRun& run, const DomainName& domain,
                         const PeerProcess& process);
  // Null: too many domains began.
  LibvirtRun* AddRun(Link* link, ProcessFound* found);
  LibvirtRun* Adopt(Link* link, const std::string& uuid, VmSession session);
  // Follows the process that was found of a run that had none.
  void Track(LibvirtRun* run, ProcessFound* found);

  RunContext* const context_;
  RunTable* const table_;
  EventSink* const sink_;
  // The loop thread counts, any thread reads.
  struct {
    Counter connects;
    Counter failures;
    Counter overflows;
  } meters_;
  std::shared_ptr<LibvirtApi> api_;  // null: it is loaded once a libvirt that is awaited is there
  const std::shared_ptr<const UniqueFd> wake_;  // an eventfd: messages wait
  DetachedThreads threads_;
  SocketGlobWatcher sockets_;
  std::map<std::string, std::unique_ptr<Link>> links_;  // by URI
  std::string last_read_;                               // URI of the link that was read last
  absl::flat_hash_map<VmRun*, Link*> link_of_;
  TimerId await_;
  std::string awaited_problem_;  // last one logged
  bool started_ = false;
  bool first_scan_done_ = false;
  bool reading_ = false;
  bool has_unused_ = false;  // there may be unused links or domains

  mutable Mutex mutex_;
  std::map<std::string, v1::LibvirtConnection> states_ ABSL_GUARDED_BY(mutex_);  // by URI
};

}  // namespace vmeventd
