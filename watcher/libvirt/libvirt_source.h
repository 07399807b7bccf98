#ifndef VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_SOURCE_H_
#define VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_SOURCE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "base/token_bucket.h"
#include "watcher/core/event_sink.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/libvirt/libvirt_inbox.h"
#include "watcher/libvirt/libvirt_link.h"
#include "watcher/libvirt/libvirt_run.h"
#include "watcher/libvirt/socket_glob_watcher.h"
#include "watcher/runs/libvirt_connection_state.h"
#include "watcher/runs/run_source.h"
#include "watcher/runs/run_table.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {

// What the source has met. The loop thread counts, any thread reads.
struct LibvirtMeters {
  Counter connects;
  Counter failures;   // connections that could not be made, or were lost
  Counter overflows;  // of those, because more came than is taken in; and domains left out for that
};

// The source "libvirt": connects to the libvirts that --libvirt names and follows their domains, by
// the events of QEMU that libvirt passes on. It never waits for a libvirt (LibvirtLink). A domain
// whose process another source follows is left to that. Loop thread.
class LibvirtSource : public RunSource,
                      public LibvirtRun::Source,
                      public SocketGlobWatcher::Delegate,
                      public FdHandler {
 public:
  // All outlive the source; `api` may be null where options->libvirts is empty. An error names the
  // system resource that could not be had.
  static absl::StatusOr<std::unique_ptr<LibvirtSource>> Create(RunContext* context,
                                                               const WatcherOptions* options,
                                                               RunTable* table, EventSink* sink,
                                                               std::shared_ptr<LibvirtApi> api);
  // Gives calls that are under way a moment to end.
  ~LibvirtSource() override;

  void Start() override;
  bool first_scan_done() const override;
  void EndTurn() override;

  bool Restores(const RunInfo& info) const override { return info.managed(); }
  VmRun* Restore(std::unique_ptr<VmSession> session) override;
  void OnRestored(VmRun* /*run*/) override {}
  bool IsServed(const VmRun* /*run*/) override { return false; }
  void EndUnreachableRuns() override {}

  void OnPublished(VmRun* /*run*/) override {}
  bool OwnsName(const VmRun* /*run*/) const override { return false; }  // it has no shutdown file
  void OnOver(VmRun* run) override;

  // Any thread.
  std::vector<LibvirtConnectionState> connections() const;
  const LibvirtMeters& meters() const { return meters_; }

 private:
  // Domains that one libvirt may begin: STARTED and STOPPED pass the limits of events.
  static constexpr double kBurst = 20'000;
  static constexpr double kPerSecond = 20;

  // One libvirt. It exists as long as its socket or a run of it does, or for ever where its URI
  // has no glob.
  struct Link {
    std::string uri;
    std::string pid_directory;
    std::unique_ptr<LibvirtLink> worker;  // null: nothing configured leads there
    bool wanted = false;                  // to be connected
    bool connected = false;
    bool tried = false;          // the first attempt has ended, or takes long
    bool was_connected = false;  // at some time
    AttemptId attempt = 0;       // that is under way or led to the connection; 0: none
    TimerId retry;
    TimerId slow;  // of an attempt that takes long
    absl::Duration backoff;
    std::string problem;
    absl::Time since;
    absl::flat_hash_map<std::string, LibvirtRun*> runs;  // by UUID, the latest of each
    // Lives that are no run here (any more) and that libvirt may still send events of: by UUID, the
    // number of the domain. Another source follows them, or their run ended before libvirt said so.
    absl::flat_hash_map<std::string, int64_t> passed_over;
    // The UUIDs of the domains that list messages have named since LinkOpened.
    absl::flat_hash_set<std::string> listed;
    TokenBucket new_runs{kBurst, kPerSecond};
  };

  LibvirtSource(RunContext* context, const WatcherOptions* options, RunTable* table,
                EventSink* sink, std::shared_ptr<LibvirtApi> api,
                std::shared_ptr<LibvirtInbox> inbox);

  void OnFdReady(uint32_t events) override;
  void AskGuestAgent(LibvirtRun* run) override;
  void ReadNow(absl::Duration limit) override;
  void OnSocketPath(int spec, const std::string& path) override;
  void OnSocketPathGone(int spec, const std::string& path) override;

  Link* LinkAt(const std::string& uri);
  void Want(Link* link, const LibvirtSpec& spec, const std::string& socket);
  void Connect(Link* link);
  void RetryLater(Link* link);
  void OnSlow(Link* link);
  void EndAttempt(Link* link);
  void Disconnect(Link* link, absl::string_view why);
  // Its socket is gone for good, and with it the only one who could say how its domains end.
  void GiveUp(Link* link);
  void SetProblem(Link* link, const std::string& problem);
  void ShowState(const Link& link);
  void PublishGap(const Link& link);

  void Handle(Link* link, LinkOpened& message);
  void Handle(Link* link, DomainListed& message);
  void Handle(Link* link, DomainsListed& message);
  void Handle(Link* link, LinkClosed& message);
  void Handle(Link* link, DomainEvent& message);
  void Handle(Link* link, DomainChanged& message);
  void Handle(Link* link, AgentChanged& message);
  void Handle(Link* link, AgentKnown& message);

  // The run of that very life of the domain; null: none is followed.
  LibvirtRun* FindRun(Link* link, const DomainName& domain);
  // The same, and one that is made if need be; null: another source follows its process.
  LibvirtRun* FindOrAddRun(Link* link, const DomainName& domain, const std::string& run_state);
  LibvirtRun* AddRun(Link* link, const DomainName& domain);
  LibvirtRun* Adopt(Link* link, const std::string& uuid, VmSession session);
  // Follows its process if that was not to be had before.
  void TrackIfPossible(Link* link, LibvirtRun* run);
  PeerProcess FindProcess(const Link& link, const DomainName& domain, bool* out_of_descriptors);

  RunContext* const context_;
  const WatcherOptions* const options_;
  RunTable* const table_;
  EventSink* const sink_;
  const std::shared_ptr<LibvirtApi> api_;
  const std::shared_ptr<LibvirtInbox> inbox_;
  const std::shared_ptr<LibvirtWorkers> workers_ = std::make_shared<LibvirtWorkers>();
  std::unique_ptr<SocketGlobWatcher> sockets_;          // null without --libvirt
  std::map<std::string, std::unique_ptr<Link>> links_;  // by URI
  absl::flat_hash_map<AttemptId, Link*> attempts_;      // that are under way or connected
  absl::flat_hash_map<VmRun*, Link*> link_of_;
  AttemptId last_attempt_ = 0;
  bool started_ = false;
  bool reading_ = false;
  bool has_unused_links_ = false;  // there may be some
  LibvirtMeters meters_;

  mutable Mutex mutex_;
  std::map<std::string, LibvirtConnectionState> states_ ABSL_GUARDED_BY(mutex_);  // by URI
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_LIBVIRT_LIBVIRT_SOURCE_H_
