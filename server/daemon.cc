#include "server/daemon.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "base/system.h"
#include "server/handover.h"
#include "server/host/files.h"
#include "server/host/privileges.h"
#include "server/host/service.h"
#include "server/transport/connection_acceptor.h"
#include "spdlog/spdlog.h"
#include "watcher/host/host_watch.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/command_lines.h"

namespace vmeventd {
namespace {

std::string NodeName(const Config& config) {
  if (!config.node.empty()) return config.node;
  char name[HOST_NAME_MAX + 1] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

// Returns the node's id; empty if it cannot be determined, which is logged.
std::string NodeIdOrNone(const std::string& state_dir) {
  absl::StatusOr<std::string> id = NodeId(state_dir);
  if (id.ok()) return *std::move(id);
  spdlog::warn("cannot determine node_id: {}", std::string(id.status().message()));
  return "";
}

WatcherOptions ToWatcherOptions(const Config& config, const Tuning& tuning, int vm_descriptors) {
  WatcherOptions options;
  options.watches = config.watches;
  options.libvirts = config.libvirts;
  if (config.has_default_sources()) {
    options.watches.push_back(GanetiIfThere());
    options.libvirts.push_back(SystemLibvirtIfThere());
  }
  options.process_tracking = config.process_tracking;
  if (config.process_tracking) options.command_lines = std::make_shared<CommandLines>();
  // Last words of QEMUs need one descriptor more, where their standard error is a file.
  const int files = vm_descriptors / 8;
  options.last_words = std::make_shared<LastWordsReader>(files);
  options.session.last_words = true;
  options.session.powerdown_window = config.powerdown_window;
  options.session.hang_check = config.hang_check;
  options.session.shutdown_files = ShutdownFiles::kGaneti;
  options.session.event_limits = tuning.event_limits;
  options.max_vm_descriptors = vm_descriptors - files;
  return options;
}

JournalOptions ToJournalOptions(const Config& config) {
  return {.path = config.state_dir + "/journal.db",
          .retention_age = config.retention_age,
          .retention_events = config.retention_events};
}

JournalEnd EndOf(const EventLog& log) { return {log.identity().journal_id, log.range().newest}; }

void LogStart(const Config& config, const std::vector<ListenerState>& listeners,
              const std::string& journal_id) {
  const auto directory = [](std::string* out, const WatchSpec& watch) {
    absl::StrAppend(out, watch.text());
  };
  const auto uri = [](std::string* out, const LibvirtSpec& libvirt) {
    absl::StrAppend(out, "libvirt ", libvirt.ToFlag());
  };
  std::vector<std::string> sources;
  if (!config.watches.empty()) sources.push_back(absl::StrJoin(config.watches, ", ", directory));
  if (!config.libvirts.empty()) sources.push_back(absl::StrJoin(config.libvirts, ", ", uri));
  if (config.has_default_sources()) sources.push_back("libvirt and Ganeti if they exist");
  const auto address = [](std::string* out, const ListenerState& listener) {
    absl::StrAppend(out, listener.address.ToString());
  };
  spdlog::info(
      "vmeventd {} started, pid {}; watching {}; listening on {}; state directory {}; journal {}",
      kVersion, getpid(), absl::StrJoin(sources, ", "), absl::StrJoin(listeners, ", ", address),
      config.state_dir, journal_id);
  if (config.has_default_sources()) {
    spdlog::info("{}; to follow others instead, set watch = [\"/run/qemu:*.qmp\"], libvirt or both",
                 kDefaultSources);
  }
}

// Ends the process if a stop exceeds its deadline.
void GiveUpStop(const StopDeadline::Step& hangs) {
  if (hangs.exit_code == 0) {
    spdlog::warn("stopping takes too long: {}; exiting anyway", hangs.what);
  } else {
    spdlog::error("stopping takes too long: {}; exiting with {}", hangs.what, hangs.exit_code);
  }
  spdlog::default_logger()->flush();
  _exit(hangs.exit_code);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(const Config& config, const Clock* clock,
                                                       const LogMeters* meters,
                                                       const Tuning& tuning, SignalTracing signals,
                                                       UniqueFd parcel) {
  std::shared_ptr<LibvirtApi> libvirt;
  if (!config.libvirts.empty()) {
    absl::StatusOr<std::shared_ptr<LibvirtApi>> loaded = LoadLibvirt();
    if (!loaded.ok()) return loaded.status();
    libvirt = *std::move(loaded);
  }
  absl::Status status = MakeOwnDirectory(config.state_dir);
  if (status.ok()) status = CheckOwner(config.state_dir);
  if (!status.ok()) return status;
  absl::StatusOr<UniqueFd> lock = LockFile(config.state_dir + "/lock");
  if (!lock.ok()) return lock.status();
  std::unique_ptr<TlsFiles> tls;
  if (config.tls().has_value()) {
    absl::StatusOr<std::unique_ptr<TlsFiles>> opened = TlsFiles::Open(*config.tls(), clock);
    if (!opened.ok()) return opened.status();
    tls = *std::move(opened);
  }
  absl::StatusOr<std::unique_ptr<EventLog>> log = EventLog::Open(
      {.journal = ToJournalOptions(config), .node_id = NodeIdOrNone(config.state_dir)}, clock);
  if (!log.ok()) return log.status();
  const DescriptorShares descriptors = ShareDescriptors(
      RaiseDescriptorLimit(), config.listens.size(),
      ConnectionAcceptor::DescriptorsFor(static_cast<int>(config.max_connections)));
  WatcherOptions watcher_options = ToWatcherOptions(config, tuning, descriptors.vms);
  watcher_options.libvirt_api = std::move(libvirt);
  const std::string no_senders = signals.problem;
  std::shared_ptr<SignalTrace> trace = signals.trace;
  watcher_options.signals = std::move(signals);
  absl::StatusOr<std::unique_ptr<HostShutdownApi>> host = ListenOnSystemBus();
  if (host.ok()) {
    watcher_options.host_shutdown.source = *std::move(host);
  } else {
    watcher_options.host_shutdown.problem = std::string(host.status().message());
  }
  SavedState saved = (*log)->TakeSaved();
  for (SavedRun& run : saved.runs) watcher_options.saved_runs.push_back(std::move(run.payload));
  Handover handover = UnpackHandover(std::move(parcel), EndOf(**log));
  watcher_options.handed_runs = std::make_shared<std::vector<HandedRun>>(std::move(handover.runs));
  if (handover.exit_statuses.valid()) {
    watcher_options.handed_exits = std::make_shared<UniqueFd>(std::move(handover.exit_statuses));
  }

  std::unique_ptr<Daemon> daemon(
      new Daemon(config, tuning, clock, *std::move(lock), std::move(tls), *std::move(log)));
  absl::StatusOr<std::unique_ptr<NodeWatcher>> watcher =
      NodeWatcher::Create(std::move(watcher_options), clock, daemon->log_->sink());
  if (!watcher.ok()) return watcher.status();
  daemon->watcher_ = *std::move(watcher);
  daemon->trace_ = std::move(trace);
  daemon->service_.SetWatcher(daemon->watcher_.get());
  if (saved.journal_is_new) daemon->watcher_->PublishRunsAgain();
  status = daemon->StartServer(config, descriptors.listener);
  if (!status.ok()) return status;
  if (status = daemon->StartMetrics(config, meters); !status.ok()) return status;
  LogStart(config, daemon->server_->listeners(), daemon->log_->identity().journal_id);
  const std::string exit_statuses =
      config.process_tracking ? daemon->watcher_->exit_status_source() : "not wanted";
  for (const std::string& right : MissingRights(exit_statuses)) {
    spdlog::warn("{}", right);
  }
  // Nobody misses what was switched off.
  if (!no_senders.empty() && config.process_tracking &&
      config.signal_senders != SignalSenders::kOff) {
    spdlog::info("cannot see who sends signals to VMs: {}", no_senders);
  }
  return daemon;
}

absl::Status Daemon::StartServer(const Config& config, int descriptors) {
  const auto wanted = static_cast<int>(config.max_connections);
  const ConnectionAcceptor::Seats seats = ConnectionAcceptor::SeatsWithin(descriptors, wanted);
  if (seats.connections < wanted) {
    spdlog::warn(
        "the limit of file descriptors leaves {} for connections of each listener, instead of {}: "
        "raise it (LimitNOFILE=, ulimit -n)",
        seats.connections, wanted);
  }
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start({.addresses = config.listens,
                         .tls = tls_.get(),
                         .operators = config.tls_operators,
                         .max_connections = seats.connections,
                         .arrivals = {.at_once = seats.arrivals},
                         .max_streams = static_cast<int>(config.max_streams),
                         .max_streams_per_peer = static_cast<int>(config.max_streams_per_peer()),
                         .list_rate = tuning_.list_rate},
                        &service_, &refusals_, clock_);
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status Daemon::StartMetrics(const Config& config, const LogMeters* log) {
  if (!config.metrics_listen.has_value()) return absl::OkStatus();
  metrics_ = std::make_unique<Metrics>(Metrics::Inputs{
      log_.get(), &hub_, watcher_.get(), &refusals_, server_.get(), tls_.get(), log,
      ToJournalOptions(config).path, kVersion, static_cast<size_t>(config.metrics_vms)});
  absl::StatusOr<std::unique_ptr<MetricsServer>> server = MetricsServer::Create(
      *config.metrics_listen, metrics_.get(), &server_->health(), &refusals_, clock_);
  if (!server.ok()) return server.status();
  metrics_server_ = *std::move(server);
  return absl::OkStatus();
}

Daemon::Daemon(const Config& config, const Tuning& tuning, const Clock* clock, UniqueFd state_lock,
               std::unique_ptr<TlsFiles> tls, std::unique_ptr<EventLog> log)
    : tuning_(tuning),
      clock_(clock),
      state_lock_(std::move(state_lock)),
      tls_(std::move(tls)),
      log_(std::move(log)),
      hub_(log_.get(), clock, StreamOptions()),
      service_({.version = kVersion, .node = NodeName(config), .start_time = clock->Now().wall},
               log_.get(), &hub_, &refusals_) {
  log_->Subscribe(
      {.journal_writable = [this](bool writable) { server_->health().Set("journal", writable); },
       .turn = [this] { OnPumpTurn(); }});
}

Daemon::~Daemon() {
  // Destroyed first, because scrapes and open streams use the rest.
  metrics_server_.reset();
  server_.reset();
}

void Daemon::WatcherLoop() {
  SetThreadName("watcher");
  for (bool scanned = false, open = false, libvirts = true, stop = false; !stop;) {
    watcher_->RunOnce(absl::InfiniteDuration());
    if (watcher_->has_open_source() != open) server_->health().Set("sources", open = !open);
    if (watcher_->reaches_all_libvirts() != libvirts) {
      server_->health().Set("libvirt", libvirts = !libvirts);
    }
    const MutexLock lock(&mutex_);
    if (!scanned && watcher_->first_scan_done()) {
      scanned = scanned_ = true;
      changed_.NotifyAll();
    }
    stop = stop_;
    watchdog_->Answer(Watchdog::kWatcher);
  }
  watcher_->RunOnce(absl::ZeroDuration());  // handles input so far
}

std::string Daemon::StatusText() const {
  const EventLog::Health health = log_->health();
  std::string out =
      absl::StrCat("following ", log_->vm_count(), " VMs for ", hub_.stream_count(), " streams",
                   health.journal_writable ? "" : "; the journal cannot be written",
                   health.directories_present ? "" : "; a watched directory is missing");
  for (const ListenerState& listener : server_->listeners()) {
    if (listener.listening) continue;
    absl::StrAppend(&out, "; not listening on ", listener.address.ToString());
  }
  return out;
}

void Daemon::OnPumpTurn() {
  if (const bool present = log_->health().directories_present; present != directories_present_) {
    directories_present_ = present;
    server_->health().Set("watch", present);
  }
  watchdog_->Answer(Watchdog::kPump);
}

void Daemon::AskThreads() {
  watcher_->Wake();
  log_->Wake();
  server_->Probe([watchdog = watchdog_] { watchdog->Answer(Watchdog::kAcceptor); },
                 [watchdog = watchdog_] { watchdog->Answer(Watchdog::kGrpc); });
}

void Daemon::ServeUntilStop() {
  // Attaching to thousands of VMs leaves as much freed memory behind as they need themselves.
  constexpr absl::Duration kSettleTime = absl::Seconds(10);
  absl::Duration now = clock_->Now().monotonic;
  const absl::Duration ready_by = now + kReadyTimeout;
  absl::Duration trim_at = absl::InfiniteDuration();
  bool serving = false;
  bool ready = false;
  for (;;) {
    const absl::Duration next = ready ? watchdog_->turn() : ready_by - now;
    bool begins = false;
    {
      const MutexLock lock(&mutex_);
      begins = WaitUntil(&changed_, &mutex_, std::min(next, trim_at - now),
                         [this, serving]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
                           return stop_ || (scanned_ && !serving);
                         });
      if (stop_) return;
    }
    now = clock_->Now().monotonic;
    if (begins) {
      spdlog::info("the first scan is done: serving");
      // A program that waits for SERVING then finds all lines of the start in the log.
      spdlog::default_logger()->flush();
      server_->SetServing(true);
      serving = true;
      trim_at = now + kSettleTime;
    }
    if (!ready && (serving || now >= ready_by)) {
      ready = true;
      const std::string status = serving ? StatusText() : "the first scan is not done yet";
      const MutexLock lock(&mutex_);
      if (!stop_) {
        ready_ = true;
        NotifyReady(status);
      }
    }
    if (now >= trim_at) {
      malloc_trim(0);
      trim_at = absl::InfiniteDuration();
    }
    if (ready && watchdog_->turn() < absl::InfiniteDuration() && watchdog_->Turn(now)) {
      NotifyAlive(serving ? StatusText() : "the first scan is not done yet");
      AskThreads();
    }
  }
}

void Daemon::Run() {
  server_->health().Set("journal", log_->health().journal_writable);
  log_->Start();
  hub_thread_ = std::thread([this] { hub_.Run(); });
  watcher_thread_ = std::thread([this] { WatcherLoop(); });
  ServeUntilStop();
  NotifyStopping("sending the remaining events");
  Stop();
}

void Daemon::RequestStop() {
  {
    const MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  watcher_->Wake();
}

void Daemon::Reload() {
  // The service manager is notified of a reload only between READY and STOPPING: a READY before the
  // first scan, or after the stop began, would not be true.
  bool ready = false;
  {
    const MutexLock lock(&mutex_);
    ready = ready_ && !stop_;
    if (ready) NotifyReloading();
  }
  if (tls_ == nullptr) {
    spdlog::info("nothing to reload: TLS is not configured");
  } else {
    tls_->Reload().IgnoreError();  // it has been logged
  }
  if (!ready) return;
  const std::string status = StatusText();
  const MutexLock lock(&mutex_);
  if (!stop_) NotifyReady(status);
}

void Daemon::Stop() {
  const absl::Duration end = clock_->Now().monotonic + kStopTimeout;
  StopDeadline deadline(
      kStopTimeout, {"the watcher hangs, in the file system of a watched directory or in /proc"},
      GiveUpStop);
  spdlog::info("stopping: sending the remaining events to {} streams", hub_.stream_count());
  server_->SetServing(false);
  service_.SetWatcher(nullptr);  // refuses intents
  watcher_thread_.join();
  watcher_->RunOnce(absl::ZeroDuration());  // answers the intents that came in between
  // Nothing is read any more; each monitor's socket holds its QEMU's messages.
  std::vector<HandedRun> handed;
  if (HasServiceManager()) handed = watcher_->HandOver();
  // The streams get what was observed last even while the disk hangs.
  constexpr absl::Duration kWriteTime = absl::Seconds(2);
  deadline.Enter({"the event pump hangs"});
  log_->Close(kWriteTime);
  if (HasServiceManager() && log_->health().journal_writable) {
    deadline.Enter({"the service manager does not answer", 0});
    StoreHandover(EndOf(*log_), handed, watcher_->exit_status_socket(),
                  trace_ == nullptr ? std::vector<int>() : trace_->descriptors());
  }
  // The rest of the time is for the transport and for other calls. Connections without a call are
  // closed too, because their clients may not read.
  constexpr absl::Duration kShutdownTime = absl::Milliseconds(700);
  deadline.Enter({"streams do not close"});
  hub_.Drain(end - kShutdownTime - clock_->Now().monotonic);
  // Stops before the transport's shutdown, which waits for the queries that the history thread
  // answers.
  deadline.Enter(
      {"the disk of the state directory does not respond; events that were published as "
       "not durable may be lost"});
  log_->Stop();
  // Everything is in the journal now, and was sent or dropped.
  deadline.Enter({"a client does not close its connection", 0});
  server_->Shutdown(kShutdownTime / 2);
  hub_.Stop();
  hub_thread_.join();
  deadline.Enter({"a scrape of the metrics does not finish", 0});
  metrics_server_.reset();
  deadline.Enter({"a client does not close its connection", 0});
  server_.reset();
  if (!log_->health().journal_writable) {
    spdlog::error(
        "events that were published as not durable are lost: the journal is still not writable");
  }
  spdlog::info("stopped at sequence {}", log_->range().newest);
}

}  // namespace vmeventd
