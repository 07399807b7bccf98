#include "watcher/node/node_watcher.h"

#include <atomic>
#include <utility>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "watcher/libvirt/libvirt_source.h"
#include "watcher/qmp/qmp_run.h"
#include "watcher/qmp/socket_connector.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/oom_watch.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_restorer.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {
namespace {

// Options that all sessions share.
WatcherOptions WithShared(WatcherOptions options, TokenBucket* node_events) {
  options.session.node_events = node_events;
  return options;
}

HandedExits HandedExitsOf(const std::shared_ptr<UniqueFd>& socket,
                          const std::vector<HandedRun>& runs) {
  HandedExits exits;
  if (socket == nullptr) return exits;
  exits.socket = std::move(*socket);
  for (const HandedRun& run : runs) {
    if (run.pid != 0) exits.wait_statuses[run.pid] = run.wait_status;
  }
  return exits;
}

// The parts of the watcher, in the order in which they are made.
class NodeWatcherImpl : public NodeWatcher {
 public:
  NodeWatcherImpl(WatcherOptions options, EventSink* sink, std::unique_ptr<EventLoop> loop,
                  std::unique_ptr<OomWatch> oom_watch, HandedExits handed_exits)
      : options_(WithShared(std::move(options), &node_events_)),
        loop_(std::move(loop)),
        exit_statuses_(ExitStatusReader::Create(loop_.get(),
                                                options_.process_tracking
                                                    ? options_.exit_status_source
                                                    : std::optional(ExitStatusSource::kNone),
                                                std::move(handed_exits))),
        oom_watch_(std::move(oom_watch)),
        signals_(loop_.get(), options_.signals.trace, options_.signals.problem),
        host_(loop_.get(), options_.host_shutdown.source, options_.host_shutdown.problem),
        sink_(sink),
        table_(sink, &context_.meters),
        intents_(loop_.get(), &table_, options_.session.event_limits) {
    context_.loop = loop_.get();
    context_.exit_statuses = exit_statuses_.get();
    context_.oom_counters = &oom_counters_;
    context_.oom_watch = oom_watch_.get();
    context_.signals = &signals_;
    context_.host = &host_;
    host_.OnChange([this](const HostShutdownState& state) {
      const OnThread here(&loop_role_);
      table_.SetHostShutdown(state);
    });
    host_.Drain();  // that there is nobody to ask is known at once
    context_.boot_id = ReadBootId();
    context_.pid_namespace = ReadPidNamespace();
    context_.max_vm_descriptors = options_.max_vm_descriptors;
    context_.options = &options_;
    context_.budget = std::make_unique<MonitorBudget>();
  }

  absl::Status AddSources(EventSink* sink, std::vector<std::string> saved_runs,
                          std::vector<HandedRun> handed_runs) {
    absl::StatusOr<std::unique_ptr<SocketConnector>> sockets =
        SocketConnector::Create(&context_, &table_, sink);
    if (!sockets.ok()) return sockets.status();
    sockets_ = *std::move(sockets);
    absl::StatusOr<std::unique_ptr<LibvirtSource>> libvirt =
        LibvirtSource::Create(&context_, &options_, &table_, sink, options_.libvirt_api);
    if (!libvirt.ok()) return libvirt.status();
    libvirt_ = *std::move(libvirt);
    const OnThread here(&loop_role_);
    restorer_ =
        std::make_unique<RunRestorer>(&context_, &options_.session, &table_,
                                      std::vector<RunSource*>{sockets_.get(), libvirt_.get()},
                                      std::move(saved_runs), std::move(handed_runs));
    return absl::OkStatus();
  }

  void RunOnce(absl::Duration timeout) override {
    const OnThread here(&loop_role_);
    // Ends while vmeventd was away are judged by whether the host shuts down.
    if (!started_ && host_.settled()) {
      timeout = absl::ZeroDuration();
      // The runs come first, so that what is found in the directories is known for theirs.
      if (restorer_->RestoreSome()) {
        exit_statuses_->ForgetHanded();
        sockets_->Start();
        libvirt_->Start();
        started_ = true;
        table_.ReportSharedUuids();
      }
    }
    loop_->RunOnce(timeout);
    table_.EndTurn();
    sockets_->EndTurn();
    libvirt_->EndTurn();
    if (started_) {
      if (publish_runs_again_.exchange(false)) table_.PublishAll();
      if (first_scan_done()) intents_.Handle();
    }
    sink_->EndTurn();
  }

  void Wake() override { loop_->Wake(); }

  std::vector<HandedRun> HandOver() override {
    std::vector<HandedRun> handed = sockets_->HandOver();
    for (HandedRun& run : libvirt_->HandOver()) handed.push_back(std::move(run));
    sink_->EndTurn();
    return handed;
  }

  int exit_status_socket() const override { return exit_statuses_->socket(); }

  void PublishRunsAgain() override {
    publish_runs_again_ = true;
    Wake();
  }

  void DeclareIntent(IntentRequest request,
                     std::function<void(absl::StatusOr<Intent>)> done) override {
    intents_.Declare(std::move(request), std::move(done));
  }
  void WithdrawIntent(std::string intent_id, std::function<void(absl::Status)> done) override {
    intents_.Withdraw(std::move(intent_id), std::move(done));
  }

  std::string exit_status_source() const override {
    return ExitStatusSourceName(exit_statuses_->source());
  }
  SignalWatchState signal_senders() const override { return signals_.state(); }
  HostShutdownState host_shutdown() const override { return host_.state(); }
  bool first_scan_done() const override {
    return sockets_->first_scan_done() && libvirt_->first_scan_done();
  }
  std::vector<UnfollowedSocket> unfollowed_sockets() const override {
    return sockets_->unfollowed_sockets();
  }
  bool libvirt_waits() const override { return libvirt_->waits(); }
  bool has_open_source() const override { return sockets_->is_open() || libvirt_->is_open(); }
  bool reaches_all_libvirts() const override { return libvirt_->reaches_all(); }
  std::vector<LibvirtConnectionState> libvirt_connections() const override {
    return libvirt_->connections();
  }

  WatcherCounters counters() const override {
    const DirectoryWatcher::Counters directories = sockets_->directory_counters();
    WatcherCounters all{context_.meters};
    all.inotify_overflows = directories.overflows;
    all.rescans = directories.rescans;
    all.exit_statuses_lost = exit_statuses_->overflows();
    all.lines_refused = context_.budget->refused();
    all.sockets_to_close = context_.closer.waiting();
    if (options_.command_lines != nullptr) {
      all.command_lines_left_out = options_.command_lines->left_out();
    }
    all.sockets_over_directory_limit = directories.left_out;
    all.signals_lost = signals_.lost();
    all.shutdown_file_times = context_.shutdown_file_times.Read();
    return all;
  }

 private:
  // The loop thread alone touches what this role guards, and what leads to the runs; what other
  // threads ask for has locks or atomics of its own.
  ThreadRole loop_role_;
  TokenBucket node_events_{kNodeEvents};
  const WatcherOptions options_;
  const std::unique_ptr<EventLoop> loop_;
  const OomCounters oom_counters_;
  const std::unique_ptr<ExitStatusReader> exit_statuses_;
  const std::unique_ptr<OomWatch> oom_watch_;
  SignalWatch signals_;
  HostWatch host_;
  EventSink* const sink_;
  QmpContext context_;
  // Its runs call no source when they are destroyed.
  RunTable table_ ABSL_GUARDED_BY(loop_role_);
  std::unique_ptr<SocketConnector> sockets_;
  std::unique_ptr<LibvirtSource> libvirt_;
  std::unique_ptr<RunRestorer> restorer_ ABSL_GUARDED_BY(loop_role_);
  IntentRequests intents_;
  bool started_ ABSL_GUARDED_BY(loop_role_) = false;
  std::atomic<bool> publish_runs_again_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NodeWatcher>> NodeWatcher::Create(WatcherOptions options,
                                                                 const Clock* clock,
                                                                 EventSink* sink) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) return loop.status();
  absl::StatusOr<std::unique_ptr<OomWatch>> oom_watch = OomWatch::Create(loop->get());
  if (!oom_watch.ok()) return oom_watch.status();
  options.session.started = clock->Now().wall;
  std::vector<std::string> saved_runs = std::exchange(options.saved_runs, {});
  std::vector<HandedRun> handed_runs;
  if (options.handed_runs != nullptr) handed_runs = std::move(*options.handed_runs);
  HandedExits handed_exits = HandedExitsOf(options.handed_exits, handed_runs);
  auto watcher = std::make_unique<NodeWatcherImpl>(std::move(options), sink, *std::move(loop),
                                                   *std::move(oom_watch), std::move(handed_exits));
  if (absl::Status status =
          watcher->AddSources(sink, std::move(saved_runs), std::move(handed_runs));
      !status.ok()) {
    return status;
  }
  return watcher;
}

}  // namespace vmeventd
