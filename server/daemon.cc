#include "server/daemon.h"

#include <malloc.h>
#include <unistd.h>

#include <climits>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/thread_name.h"
#include "base/unique_fd.h"
#include "server/config/config.h"
#include "server/config/parse_config.h"
#include "server/config/tls_files.h"
#include "server/config/version.h"
#include "server/disk_wait.h"
#include "server/handover.h"
#include "server/host/lock_file.h"
#include "server/host/node_id.h"
#include "server/host/own_directory.h"
#include "server/host/privileges.h"
#include "server/host/service.h"
#include "server/logging/logging.h"
#include "server/metrics/metrics.h"
#include "server/metrics/metrics_server.h"
#include "server/signals.h"
#include "server/startup_log.h"
#include "server/stop.h"
#include "server/supervisor.h"
#include "server/transport/descriptor_shares.h"
#include "spdlog/spdlog.h"
#include "watcher/core/service_health.h"
#include "watcher/host/host_shutdown_api.h"
#include "watcher/host/system_bus.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/held_processes.h"
#include "watcher/runs/last_words.h"
#include "watcher/runs/previous_runs.h"
#include "watcher/runs/source_table.h"
#include "watcher/runs/watcher_options.h"
#include "watcher/signals/bpf_trace.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {
namespace {

std::string NodeName(const Config& config) {
  if (!config.node.empty()) return config.node;
  char name[HOST_NAME_MAX + 1] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

WatcherOptions ToWatcherOptions(const Config& config, const Tuning& tuning, int vm_descriptors) {
  WatcherOptions options;
  options.sources = config.sources.Resolved();
  options.process_tracking = config.process_tracking;
  if (config.process_tracking) options.command_lines = std::make_shared<CommandLines>();
  // Last words of QEMUs need one descriptor more, where their standard error is a file.
  const int files = vm_descriptors / 8;
  options.last_words = std::make_shared<LastWordsReader>(files);
  options.session.last_words = true;
  options.session.powerdown_window = config.powerdown_window;
  options.session.label_rules = config.labels;
  options.session.hang_check = config.hang_check;
  options.session.event_limits = tuning.event_limits;
  options.max_vm_descriptors = vm_descriptors - files;
  return options;
}

JournalOptions ToJournalOptions(const Config& config) {
  return {.path = config.state_dir + "/journal.db",
          .retention_age = config.retention_age,
          .retention_events = config.retention_events};
}

GrpcServerOptions ServerOptions(const Config& config, const DescriptorShares& descriptors,
                                TlsFiles* tls, const Tuning& tuning) {
  return {.addresses = config.listens,
          .tls = tls,
          .operators = config.tls_operators,
          .max_connections = descriptors.connections,
          .arrivals = {.at_once = descriptors.arrivals},
          .calls = {.streams = static_cast<int>(config.max_streams),
                    .streams_of_peer = static_cast<int>(config.max_streams_per_peer())},
          .list_rate = tuning.list_rate};
}

// The whole daemon. Its threads: the watcher's loop, the threads of the event log, and gRPC's own.
class Daemon {
 public:
  // Takes the locks, sets up the watcher and listens; an address that cannot be listened on is
  // retried while the daemon runs. The error names the obstacle. `meters` are those of the log.
  // `signals` must have been begun before any thread started; `parcel` is the result of
  // TakeParcel(). The objects behind the pointers must outlive the daemon.
  static absl::StatusOr<std::unique_ptr<Daemon>> Create(const Config& config, const Clock* clock,
                                                        const LogMeters* meters,
                                                        const Tuning& tuning, SignalTracing signals,
                                                        UniqueFd parcel);
  // Follows the VMs and serves until RequestStop(), then stops (StopDaemon). Call it once, on the
  // thread that made the daemon.
  void Run();
  // Makes Run() stop the daemon. Any thread.
  void RequestStop();
  // Reads the TLS files again, which may be replaced while the daemon runs. Any thread.
  void Reload();

 private:
  Daemon(const Config& config, const Clock* clock, UniqueFd state_lock,
         std::unique_ptr<TlsFiles> tls, std::unique_ptr<EventLog> log);

  absl::Status StartServer(const Config& config, const DescriptorShares& descriptors,
                           const Tuning& tuning);
  absl::Status StartMetrics(const Config& config, const LogMeters* log);
  void WatcherLoop();
  // Called on the pump thread after each of its turns.
  void OnPumpTurn();

  const Clock* const clock_;
  const UniqueFd state_lock_;            // see LockFile
  const std::unique_ptr<TlsFiles> tls_;  // null: no TLS
  RefusalCounters refusals_;
  const std::unique_ptr<EventLog> log_;
  StreamHub hub_;
  VmEventService service_;
  std::shared_ptr<SignalTrace> trace_;  // null: none
  std::unique_ptr<NodeWatcher> watcher_;

  std::thread watcher_thread_;
  Supervisor supervisor_;
  // Destroyed first, because open streams and scrapes use the rest.
  std::unique_ptr<GrpcServer> server_;
  std::unique_ptr<MetricsServer> metrics_server_;  // null: not asked for
};

// Null: no TLS.
absl::StatusOr<std::unique_ptr<TlsFiles>> OpenTls(const Config& config, const Clock* clock) {
  if (!config.tls().has_value()) return nullptr;
  return TlsFiles::Open(*config.tls(), clock);
}

// Makes the state directory, and takes its lock.
absl::StatusOr<UniqueFd> LockState(const Config& config) {
  absl::Status made = MakeStateDirectory(config.state_dir);
  if (!made.ok()) return made;
  return LockFile(config.state_dir + "/lock");
}

// Opens the log, with what the previous daemon handed over of it. `*has_log`: it did.
absl::StatusOr<std::unique_ptr<EventLog>> OpenLog(const Config& config, const Clock* clock,
                                                  const UniqueFd& parcel, bool* has_log) {
  const absl::StatusOr<std::string> node_id = NodeId(config.state_dir);
  if (!node_id.ok()) {
    spdlog::warn("cannot determine node_id: {}", std::string(node_id.status().message()));
  }
  return EventLog::Open({.journal = ToJournalOptions(config), .node_id = node_id.value_or("")},
                        clock, [&](const JournalEnd& found) {
                          std::optional<HandedLog> handed = LogIn(parcel, found);
                          *has_log = handed.has_value();
                          return handed;
                        });
}

WatcherOptions::HostShutdown ListenToHost() {
  absl::StatusOr<std::unique_ptr<HostShutdownApi>> host = ListenOnSystemBus();
  if (host.ok()) return {*std::move(host), ""};
  return {nullptr, std::string(host.status().message())};
}

// Returns what the previous daemon saved and handed over, for the watcher. Passes its VMs to the
// log.
PreviousRuns TakeOver(Handover handover, bool has_log, Instant now, EventLog* log) {
  PreviousRuns previous{.daemon_existed = log->previous().existed,
                        .is_handover = has_log,
                        .are_known = log->previous().runs_are_known,
                        .handed = std::move(handover.runs),
                        .exit_statuses = std::move(handover.exit_statuses)};
  SavedRuns runs = log->TakeRuns();
  log->PutVms(VmsOf(runs, now));
  for (auto& [run_id, run] : runs) previous.saved.push_back(std::move(run.payload));
  return previous;
}

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(const Config& config, const Clock* clock,
                                                       const LogMeters* meters,
                                                       const Tuning& tuning, SignalTracing signals,
                                                       UniqueFd parcel) {
  const uint64_t descriptor_limit = RaiseDescriptorLimit();  // the parcel has one for each VM
  const DescriptorShares descriptors = ShareDescriptors(descriptor_limit, config.listens.size(),
                                                        static_cast<int>(config.max_connections));
  WatcherOptions options = ToWatcherOptions(config, tuning, descriptors.vms);
  const SourceTable sources = NodeWatcher::AllSources();
  absl::Status status = NodeWatcher::LoadLibraries(options.sources, sources);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<TlsFiles>> tls = OpenTls(config, clock);
  if (!tls.ok()) return tls.status();
  // Holds the processes, so that the exit status of a VM that ends while the disk hangs is known.
  options.held_processes = std::make_shared<HeldProcesses>();
  if (config.process_tracking) options.held_processes->Open(descriptors.vms);

  GrpcServerOptions waiting = ServerOptions(config, descriptors, tls->get(), tuning);
  waiting.health = DiskWait::NothingServes(sources);
  std::optional<DiskWait> disk_wait(
      std::in_place, config.state_dir, std::move(waiting),
      ServerFacts{.version = kVersion, .node = NodeName(config), .start_time = clock->Now().wall},
      clock);
  absl::StatusOr<UniqueFd> lock = LockState(config);
  if (!lock.ok()) return lock.status();
  bool has_log = false;
  absl::StatusOr<std::unique_ptr<EventLog>> log = OpenLog(config, clock, parcel, &has_log);
  if (!log.ok()) return log.status();
  disk_wait.reset();  // a stop that comes now hands over again

  Handover handover = UnpackHandover(std::move(parcel), has_log);
  const std::string no_senders = signals.problem.text;
  std::shared_ptr<SignalTrace> trace = signals.trace;
  options.signals = std::move(signals);
  options.host_shutdown = ListenToHost();
  options.session.last_watched = (*log)->previous().last_watched;
  PreviousRuns previous = TakeOver(std::move(handover), has_log, clock->Now(), log->get());

  std::unique_ptr<Daemon> daemon(
      new Daemon(config, clock, *std::move(lock), *std::move(tls), *std::move(log)));
  absl::StatusOr<std::unique_ptr<NodeWatcher>> watcher = NodeWatcher::Create(
      std::move(options), std::move(previous), clock, daemon->log_.get(), sources);
  if (!watcher.ok()) return watcher.status();
  daemon->watcher_ = *std::move(watcher);
  daemon->trace_ = std::move(trace);
  daemon->service_.SetWatcher(daemon->watcher_.get());
  status = daemon->StartServer(config, descriptors, tuning);
  if (status.ok()) status = daemon->StartMetrics(config, meters);
  if (!status.ok()) return status;
  LogSetup(config, daemon->server_->listeners(), daemon->log_->identity().journal_id);
  LogMissing(config, daemon->watcher_->Describe().exit_status_source(), no_senders);
  return daemon;
}

absl::Status Daemon::StartServer(const Config& config, const DescriptorShares& descriptors,
                                 const Tuning& tuning) {
  if (descriptors.connections < config.max_connections) {
    spdlog::warn(
        "the limit of file descriptors leaves {} for connections of each listener, instead of {}: "
        "raise it (LimitNOFILE=, ulimit -n)",
        descriptors.connections, config.max_connections);
  }
  GrpcServerOptions options = ServerOptions(config, descriptors, tls_.get(), tuning);
  options.health = watcher_->Health();  // its thread does not run yet
  options.health.push_back(log_->Health());
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(std::move(options), &service_, &refusals_, clock_);
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status Daemon::StartMetrics(const Config& config, const LogMeters* log) {
  if (!config.metrics_listen.has_value()) return absl::OkStatus();
  const MetricSources sources = {log_.get(),
                                 &hub_,
                                 watcher_.get(),
                                 &refusals_,
                                 server_.get(),
                                 tls_.get(),
                                 log,
                                 ToJournalOptions(config).path,
                                 kVersion,
                                 static_cast<size_t>(config.metrics_vms)};
  absl::StatusOr<std::unique_ptr<MetricsServer>> server =
      MetricsServer::Create({.address = *config.metrics_listen,
                             .metrics = [sources] { return MetricsText(sources); },
                             .health = &server_->health(),
                             .refusals = &refusals_},
                            clock_);
  if (!server.ok()) return server.status();
  metrics_server_ = *std::move(server);
  return absl::OkStatus();
}

Daemon::Daemon(const Config& config, const Clock* clock, UniqueFd state_lock,
               std::unique_ptr<TlsFiles> tls, std::unique_ptr<EventLog> log)
    : clock_(clock),
      state_lock_(std::move(state_lock)),
      tls_(std::move(tls)),
      log_(std::move(log)),
      hub_(log_.get(), clock, StreamOptions()),
      service_({.version = kVersion, .node = NodeName(config), .start_time = clock->Now().wall},
               log_.get(), &hub_, &refusals_),
      supervisor_(clock, log_.get(), &hub_) {
  log_->Subscribe([this](bool /*published*/) { OnPumpTurn(); });
}

void Daemon::WatcherLoop() {
  SetThreadName("watcher");
  for (bool stop = false; !stop;) {
    watcher_->RunOnce(absl::InfiniteDuration());
    server_->health().Report(watcher_->Health());
    stop = supervisor_.OnWatcherTurn(watcher_->first_scan_done());
  }
  watcher_->RunOnce(absl::ZeroDuration());  // handles input so far
}

void Daemon::OnPumpTurn() {
  server_->health().Report({log_->Health()});
  supervisor_.OnPumpTurn();
}

void Daemon::Run() {
  log_->Start();
  watcher_thread_ = std::thread([this] { WatcherLoop(); });
  supervisor_.ServeUntilStop(watcher_.get(), server_.get());
  Notify("STOPPING=1\nSTATUS=sending the remaining events");
  StopDaemon({.clock = clock_,
              .log = log_.get(),
              .hub = &hub_,
              .service = &service_,
              .watcher = watcher_.get(),
              .watcher_thread = &watcher_thread_,
              .trace = trace_.get(),
              .server = &server_,
              .metrics_server = &metrics_server_});
}

void Daemon::RequestStop() {
  supervisor_.RequestStop();
  watcher_->Wake();
}

void Daemon::Reload() {
  if (tls_ == nullptr) {
    spdlog::info("nothing to reload: TLS is not configured");
  } else {
    tls_->Reload().IgnoreError();  // it has been logged
  }
}

// Resumes `handed`, the trace of the previous daemon, or begins a new trace. `*note` gets a
// sentence for the log. Error: --signal-senders=require cannot be fulfilled; the message has the
// reason.
absl::StatusOr<SignalTracing> BeginSignalTracing(const Config& config, std::vector<UniqueFd> handed,
                                                 std::string* note) {
  if (config.signal_senders == SignalSenders::kOff)
    return SignalTracing{{}, {ProblemCode::kSwitchedOff, "--signal-senders is off"}};
  if (!config.process_tracking) {
    return SignalTracing{{}, {ProblemCode::kSwitchedOff, "--process-tracking is off"}};
  }
  if (!handed.empty()) {
    absl::StatusOr<std::unique_ptr<SignalTrace>> trace = ResumeTrace(std::move(handed));
    if (trace.ok()) return SignalTracing{*std::move(trace)};
    *note = absl::StrCat("senders of signals during the restart are not known: ",
                         trace.status().message());
  }
  SignalTracing begun = BeginTrace();
  if (begun.trace != nullptr || config.signal_senders == SignalSenders::kAuto) return begun;
  return absl::UnavailableError(absl::StrCat("--signal-senders=require: ", begun.problem.text));
}

// Called before there are threads.
void TuneLibraries() {
  // An arena for each of gRPC's threads would cost more memory than the VMs do.
  mallopt(M_ARENA_MAX, 2);
  // Larger blocks go back to the kernel when they are freed. Without this, one long line from a
  // hostile monitor makes glibc hold up to 64 MiB for the next.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  // Free memory at the end of an arena that glibc holds. With glibc's 128 KiB a burst of events
  // gives memory back and takes it again all the time, for a fifth of its processor time.
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
  // Debian's Abseil, built without NDEBUG, checks at each of gRPC's locks whether their order could
  // make a deadlock, and then ends the process.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

int CannotStart(const absl::Status& status) {
  spdlog::error("cannot start: {}", std::string(status.message()));
  return 1;
}

}  // namespace

int RunProgram(const std::vector<std::string>& arguments, const Tuning& tuning) {
  const ParsedConfig parsed = ParseConfig(arguments, SystemEnvironment());
  if (!parsed.config.has_value()) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  TuneLibraries();
  NodeWatcher::PrepareProcess();
  bool dropped = DropCapabilities();
  UniqueFd parcel = TakeParcel();
  std::string note;
  absl::StatusOr<SignalTracing> tracing =
      BeginSignalTracing(*parsed.config, TraceIn(parcel), &note);
  dropped = DropTracing() && dropped;
  BlockSignals();
  signal(SIGPIPE, SIG_IGN);
  const SystemClock clock;
  const Logging logging(parsed.config->log_level, parsed.config->log_format, &clock);
  if (!dropped) spdlog::warn("cannot drop the capabilities that are not needed");
  if (!note.empty()) spdlog::warn("{}", note);
  if (!tracing.ok()) return CannotStart(tracing.status());
  absl::StatusOr<std::unique_ptr<Daemon>> daemon = Daemon::Create(
      *parsed.config, &clock, &logging.meters(), tuning, *std::move(tracing), std::move(parcel));
  if (!daemon.ok()) return CannotStart(daemon.status());
  const SignalThread signals([&] { (*daemon)->Reload(); }, [&] { (*daemon)->RequestStop(); });
  (*daemon)->Run();
  return 0;
}

}  // namespace vmeventd
