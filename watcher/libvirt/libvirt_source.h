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
#include "base/counter.h"
#include "base/detached_threads.h"
#include "base/mutex.h"
#include "base/pending_call.h"
#include "base/token_bucket.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/problem.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/service_health.h"
#include "watcher/core/source_specs.h"
#include "watcher/core/update_sink.h"
#include "watcher/core/vm_source.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_link.h"
#include "watcher/libvirt/libvirt_run.h"
#include "watcher/libvirt/socket_glob_watcher.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/source_metric.h"
#include "watcher/runs/source_table.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {

// The source "libvirt": connects to the libvirts that --libvirt names, and follows their domains by
// the QEMU events that libvirt forwards. Never blocks on a libvirt (LibvirtLink). A run begins with
// a list of the domains or with STARTED, after the domain's process was looked for. If a list
// leaves a doubt, the next list decides. Ignores a domain whose process another run follows. Loop
// thread.
class LibvirtSource : public RunSource, public FdHandler {
 public:
  // Maximum number of calls to libvirts at the same time. More than the number of pods that
  // Kubernetes starts on a node, because each pod may have a libvirt that hangs.
  static constexpr int kMaxThreads = 256;

  static constexpr const char* kKey = kLibvirtKey;  // SourceKind::key
  // Serves if the last attempt to connect succeeded for each libvirt that is configured or whose
  // socket matches a glob, and no directory of a glob hangs.
  static constexpr char kHealthService[] = "libvirt";

  // Its row in the table of sources. `api`: the library of libvirt; null: it is loaded by the row's
  // load_library, or once a libvirt that is awaited exists.
  static SourceKind Kind(std::shared_ptr<LibvirtApi> api = nullptr);
  // Returns whether `specs` names a libvirt for which it does not wait, so that the library is
  // needed at once.
  static bool NeedsLibrary(const SourceSpecs& specs);
  // The first three outlive the source; the runs in the table need not. An error names the missing
  // system resource.
  static absl::StatusOr<std::unique_ptr<LibvirtSource>> Create(RunContext* context, RunTable* table,
                                                               UpdateSink* sink,
                                                               std::shared_ptr<LibvirtApi> api);
  // Waits a short time for running calls to return.
  ~LibvirtSource() override;

  void Start() override;
  bool first_scan_done() const override { return first_scan_done_; }
  void EndTurn() override;

  void Restore(VmSession session) override;
  void OnOver(VmRun* run) override;
  // Returns whether a libvirt is connected, or there is no libvirt to connect to but a glob that
  // may match one later.
  bool is_open() const override;
  // Returns whether a process is being looked for.
  bool waits() const override;
  std::vector<ServiceHealth> Health() const override;
  // Adds the connections, sorted by URI.
  void Describe(v1::GetServerInfoResponse* info) const override;
  std::vector<SourceMetric> Metrics() const override;
  std::string Trouble() const override;

  // Asks libvirt for the details of a run's domain. A run may call it from within any method that
  // passes an input to its session, and from the loop.
  void AskDetails(LibvirtRun* run);
  // Handles the messages of all libvirts that have arrived by now; stops after `limit`.
  void ReadNow(absl::Duration limit);

 private:
  // Maximum rate of new runs of one libvirt. Needed because STARTED and STOPPED are exempt from the
  // limits of events.
  static constexpr double kBurst = 20'000;
  static constexpr double kPerSecond = 20;

  // Time after the first list of a connection at which the domains are listed again if any is in
  // doubt: by then, a libvirt that was just started has found out which of its domains run.
  static constexpr absl::Duration kFirstCheck = absl::Seconds(5);

  // Maximum number of events of one libvirt that wait while processes are looked for.
  static constexpr size_t kMaxHeld = 20'000;
  // Maximum number of links for sockets that match globs: the existing sockets, and those whose
  // calls hang.
  static constexpr size_t kMaxLinks = size_t{4} * SocketGlobWatcher::kMaxSockets;

  // The latest life of a domain, as long as no run follows it.
  struct Life {
    // What the last search for its process, or the process's run, has shown.
    enum class Process {
      kUnknown,       // nothing yet, or nothing since libvirt reported an end of the domain
      kUnseen,        // not visible, although a list has the life: it runs if the next list has it
      kOfAnotherRun,  // followed by another run
      kGone,          // ended, which libvirt has not reported yet
    };

    int64_t id = 0;  // 0: there is none
    Process process = Process::kUnknown;
    bool is_looked_for = false;  // a search for its process is under way
    std::string run_state;       // from a list or STARTED; empty: it was in neither
    bool started = false;        // it was reported by STARTED
    bool rebooted = false;  // it is the container of the run after a reboot, with a new process
    std::vector<std::variant<QmpEvent, DomainLifecycle>> held;  // what has arrived of it, in order

    // Returns whether it is the life with that id, and another run follows its process.
    bool IsOfAnotherRun(int64_t domain_id) const {
      return id == domain_id && process == Process::kOfAnotherRun;
    }
    // Returns whether a search for its process must still decide about it, now or after the next
    // list.
    bool waits() const { return is_looked_for || !held.empty(); }
  };
  // The reason why a list that was requested may be wrong about a domain.
  enum class ListDoubt {
    kNone,
    kEvent,      // an event of QEMU arrived before the first list: this list ends no run
    kLifecycle,  // STARTED or STOPPED arrived meanwhile: the list is not applied to the domain
  };
  struct Domain {
    LibvirtRun* run = nullptr;  // the latest run
    Life life;                  // the life after that run
    ListDoubt doubt = ListDoubt::kNone;
  };
  // One libvirt. The link exists as long as its socket, a call or a run of it exists; without a
  // glob in the URI, permanently.
  struct Link {
    enum class State {
      kClosed,
      kOpening,    // an attempt is under way, until the first list of the domains arrives
      kConnected,  // the first list has arrived
    };

    explicit Link(const std::string& link_uri) : uri(link_uri), containers(IsContainerUri(uri)) {}

    const std::string uri;
    const bool containers;                // its domains are containers, whose ids are their pids
    std::unique_ptr<LibvirtLink> worker;  // null: no --libvirt names this libvirt
    bool wanted = false;                  // should be connected
    State state = State::kClosed;
    // The start of vmeventd need not wait for it any longer: its domains were listed and looked
    // for, or the first attempt has failed or takes too long.
    bool first_scan_done = false;
    // Fires for the next attempt, for the report that an attempt takes long, or for the next list
    // of domains.
    TimerId timer;
    absl::Duration backoff;
    // Earliest time of the next attempt, on the monotonic clock.
    absl::Duration not_before = -absl::InfiniteDuration();
    Problem problem;
    absl::Time since;  // begin of the present connection, or of the time without one
    // Begin of the last connection, on the monotonic clock; unset: there was none.
    std::optional<absl::Duration> connected_at;
    absl::node_hash_map<std::string, Domain> domains;  // by UUID
    int runs = 0;
    size_t searches = 0;   // for processes, without a result yet
    size_t held = 0;       // number of events in Life::held
    bool listing = false;  // a list of the domains was requested, and has not arrived
    TokenBucket new_runs{kBurst, kPerSecond};

    bool connected() const { return state == State::kConnected; }
    // Returns whether it may report something, now or later.
    bool reachable() const { return wanted || state != State::kClosed; }
  };

  LibvirtSource(RunContext* context, RunTable* table, UpdateSink* sink,
                std::shared_ptr<LibvirtApi> api, UniqueFd wake);

  void OnFdReady(uint32_t events) override;
  void OnSocket(const LibvirtSpec& spec, const std::string& path);
  void OnSocketGone(const LibvirtSpec& spec, const std::string& path);

  static LibvirtRun* Of(VmRun* run) { return static_cast<LibvirtRun*>(run); }
  Link* LinkAt(const std::string& uri);
  void Want(Link* link, const LibvirtSpec& spec, const std::string& socket);
  // Connects by a spec without a glob as soon as one of its awaited paths exists and libvirt's
  // library is loaded; tries again later until then. Waits at most `patience` for the file system
  // of the library.
  void ConnectWhenAvailable(const LibvirtSpec& spec, absl::Duration patience);
  void Connect(Link* link);
  // Delays the next attempt by the link's backoff, and increases the backoff.
  void BackOff(Link* link);
  void RetryLater(Link* link);
  void OnSlow(Link* link);
  void EndAttempt(Link* link);
  void Disconnect(Link* link, absl::string_view why);
  // The link's socket is gone for good, so nothing can report any more how its domains end.
  void DropLink(Link* link);
  void DropUnused();
  // Lists the domains again after `wait`, and then periodically, while anything about them is in
  // doubt.
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

  // Compares a list with the runs, except for domains about which it may be wrong.
  void ApplyList(Link* link, const std::vector<ActiveDomain>& list);
  void OnListed(Link* link, const ActiveDomain& active);
  void OnStarted(Link* link, const DomainName& name, const DomainLifecycle& lifecycle);
  void OnPaused(Link* link, const DomainName& name, const DomainLifecycle& lifecycle);
  void OnStopped(Link* link, const DomainName& name, const DomainLifecycle& lifecycle);
  // Returns the domain's life with this id. A life with another id is over, and is dropped.
  static Life* LifeOf(Link* link, Domain* domain, int64_t id);
  // Removes the domain's life, with its held events, and returns it.
  static Life TakeLife(Link* link, Domain* domain);
  // Starts a search for the process of the domain's life, unless one is under way. The result
  // decides about the life.
  static void LookForProcessOfLife(Link* link, const DomainName& domain, Life* life);
  // Starts a search for the domain's process, such as for that of a run without a process.
  static void LookForProcess(Link* link, const DomainName& domain);
  static void Hold(Link* link, Life* life, std::variant<QmpEvent, DomainLifecycle> what);
  // Passes the held events to `run`, as long as it is the domain's run.
  static void Release(LibvirtRun* run, const Link& link, const Life& life);
  // Returns the run of the life whose process was looked for; creates it if needed. Null: no run
  // follows the life.
  LibvirtRun* RunOf(Link* link, const Life& life, ProcessFound* found);
  static LibvirtRun* FindRun(const Link& link, const std::string& uuid);
  // Returns the runs for which `pass` is true, ordered by UUID and id: events of the same instant
  // have a fixed order. Each run may be destroyed when another one gets an input.
  std::vector<LibvirtRun*> RunsThat(
      const std::function<bool(const LibvirtRun&, const Link&)>& pass) const;
  // Returns whether the ids alone prove that the life that libvirt names is that of `run`. False:
  // it may be, which the domain's process decides.
  static bool IsSameLifeById(const LibvirtRun& run, const DomainName& domain);
  // Returns whether the life that libvirt names is that of `run`, judged by its process if that was
  // found.
  static bool IsSameLife(const LibvirtRun& run, const DomainName& domain,
                         const PeerProcess& process);
  // Creates a run. Null: too many domains started at once, or there is already a run with this id.
  LibvirtRun* AddRun(Link* link, ProcessFound* found);
  LibvirtRun* Adopt(Link* link, const std::string& uuid, VmSession session);
  // Follows the process that was found for a run without one.
  void Track(LibvirtRun* run, ProcessFound* found);

  RunContext* const context_;
  RunTable* const table_;
  UpdateSink* const sink_;
  // Written by the loop thread, read by any thread.
  struct {
    Counter connects;
    Counter failures;
    Counter overflows;
    Counter left_out;
  } meters_;
  std::shared_ptr<LibvirtApi> api_;             // null: it is loaded when an awaited libvirt exists
  const std::shared_ptr<const UniqueFd> wake_;  // an eventfd, readable if messages wait
  DetachedThreads threads_;
  PendingCall<absl::StatusOr<std::shared_ptr<LibvirtApi>>> loading_;
  SocketGlobWatcher sockets_;
  std::map<std::string, std::unique_ptr<Link>> links_;  // by URI
  std::string last_read_;                               // URI of the link that was read last
  absl::flat_hash_map<VmRun*, Link*> link_of_;
  TimerId await_;
  std::string awaited_problem_;  // the problem that was logged last
  bool started_ = false;
  bool first_scan_done_ = false;
  bool reading_ = false;
  bool has_unused_ = false;  // there may be unused links or domains

  mutable Mutex mutex_;
  std::map<std::string, v1::LibvirtConnection> states_ ABSL_GUARDED_BY(mutex_);  // by URI
};

}  // namespace vmeventd
