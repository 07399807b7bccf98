#include "server/daemon.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/nats/subject.h"
#include "base/thread_name.h"
#include "base/wait_until.h"
#include "server/config/version.h"
#include "server/fleet/jetstream_sink.h"
#include "server/fleet/position_file.h"
#include "server/host/descriptor_limit.h"
#include "server/host/directories.h"
#include "server/host/node_id.h"
#include "server/host/privileges.h"
#include "server/host/service_manager.h"
#include "server/host/stop_deadline.h"
#include "spdlog/spdlog.h"
#include "watcher/libvirt/libvirt_api.h"
#include "watcher/runs/command_lines.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxQueuedUpdates = 100'000;

std::string HostName() {
  char name[HOST_NAME_MAX + 1] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

// Empty where it cannot be found out, which is logged.
std::string NodeIdOrNone(const std::string& state_dir) {
  absl::StatusOr<std::string> id = NodeId(state_dir);
  if (id.ok()) return *std::move(id);
  spdlog::warn("node_id is not known: {}", std::string(id.status().message()));
  return "";
}

WatcherOptions ToWatcherOptions(const Config& config, const Tuning& tuning, int vm_descriptors) {
  WatcherOptions options;
  options.watches = config.watches;
  options.libvirts = config.libvirts;
  options.process_tracking = config.process_tracking;
  if (config.process_tracking) options.command_lines = std::make_shared<CommandLines>();
  options.session.powerdown_window = config.powerdown_window;
  options.session.shutdown_files = ShutdownFiles::kGaneti;
  options.session.event_limits = tuning.event_limits;
  options.max_vm_descriptors = vm_descriptors;
  return options;
}

JournalOptions ToJournalOptions(const Config& config) {
  return {.path = config.state_dir + "/journal.db",
          .retention_age = config.retention_age,
          .retention_events = config.retention_events};
}

StreamOptions ToStreamOptions(const Config& config) {
  StreamOptions options;
  options.max_streams = static_cast<int>(config.max_streams);
  options.max_streams_per_peer = static_cast<int>(config.max_streams_per_peer());
  return options;
}

int WantedConnections(const Config& config) {
  return static_cast<int>(config.max_connections * static_cast<int64_t>(config.listens.size()));
}

void LogStart(const Config& config, const std::vector<ListenAddress>& addresses,
              const std::string& journal_id) {
  const auto directory = [](std::string* out, const WatchSpec& watch) {
    absl::StrAppend(out, watch.directory, ":", watch.pattern());
  };
  const auto uri = [](std::string* out, const LibvirtSpec& libvirt) {
    absl::StrAppend(out, ", libvirt ", libvirt.ToFlag());
  };
  const auto address = [](std::string* out, const ListenAddress& listen) {
    absl::StrAppend(out, listen.ToString());
  };
  spdlog::info(
      "vmeventd {} started, pid {}; watching {}{}; listening on {}; state directory {}; journal {}",
      kVersion, getpid(), absl::StrJoin(config.watches, ", ", directory),
      absl::StrJoin(config.libvirts, "", uri), absl::StrJoin(addresses, ", ", address),
      config.state_dir, journal_id);
}

// Ends the process where a stop takes longer than it may.
void GiveUpStop(const StopDeadline::Step& hangs) {
  if (hangs.exit_code == 0) {
    spdlog::warn("the stop takes too long: {}; exiting without it", hangs.what);
  } else {
    spdlog::error("the stop takes too long: {}; exiting with {}", hangs.what, hangs.exit_code);
  }
  spdlog::default_logger()->flush();
  _exit(hangs.exit_code);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(const Config& config, const Clock* clock,
                                                       const LogMeters* log, const Tuning& tuning) {
  std::shared_ptr<LibvirtApi> libvirt;
  if (!config.libvirts.empty()) {
    absl::StatusOr<std::shared_ptr<LibvirtApi>> loaded = LoadLibvirt();
    if (!loaded.ok()) return loaded.status();
    libvirt = *std::move(loaded);
  }
  absl::Status status = MakeOwnDirectory(config.state_dir);
  if (status.ok()) status = CheckOwner(config.state_dir);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<LockFile>> lock = LockFile::Acquire(config.state_dir + "/lock");
  if (!lock.ok()) return lock.status();
  std::unique_ptr<TlsFiles> tls;
  if (config.tls().has_value()) {
    absl::StatusOr<std::unique_ptr<TlsFiles>> opened = TlsFiles::Open(*config.tls(), clock);
    if (!opened.ok()) return opened.status();
    tls = *std::move(opened);
  }
  absl::StatusOr<RecoveredState> recovered =
      Recover(ToJournalOptions(config), config.state_dir + "/sequence", clock->Now().wall);
  if (!recovered.ok()) return recovered.status();
  const DescriptorShares descriptors =
      ShareDescriptors(RaiseDescriptorLimit(), WantedConnections(config));
  WatcherOptions watcher_options = ToWatcherOptions(config, tuning, descriptors.vms);
  watcher_options.libvirt_api = std::move(libvirt);
  for (const JournalSession& session : recovered->sessions) {
    watcher_options.saved_runs.push_back(session.payload);
  }
  watcher_options.ended_runs = recovered->EndedRuns();

  const bool publish_runs_again = recovered->replaced;
  std::unique_ptr<Daemon> daemon(
      new Daemon(config, tuning, clock, *std::move(lock), std::move(tls), *std::move(recovered)));
  absl::StatusOr<std::unique_ptr<NodeWatcher>> watcher =
      NodeWatcher::Create(std::move(watcher_options), clock, &daemon->queue_);
  if (!watcher.ok()) return watcher.status();
  daemon->watcher_ = *std::move(watcher);
  daemon->service_.SetWatcher(daemon->watcher_.get());
  if (publish_runs_again) daemon->watcher_->PublishRunsAgain();
  status = daemon->StartServer(config, descriptors.connections);
  if (!status.ok()) return status;
  if (status = daemon->PrepareFleet(config); !status.ok()) return status;
  daemon->StartMetrics(config, log);
  LogStart(config, daemon->server_->addresses(), daemon->live_state_.journal_id());
  for (const std::string& warning : config.warnings) spdlog::warn("{}", warning);
  const std::string exit_statuses =
      config.process_tracking ? daemon->watcher_->exit_status_source() : "not wanted";
  for (const std::string& right : MissingRights(exit_statuses)) {
    spdlog::warn("{}", right);
  }
  return daemon;
}

absl::Status Daemon::StartServer(const Config& config, int max_connections) {
  if (max_connections < WantedConnections(config)) {
    spdlog::warn(
        "the limit of open descriptors leaves {} for connections, instead of {}: raise it "
        "(LimitNOFILE=, ulimit -n)",
        max_connections, WantedConnections(config));
  }
  const auto listeners = static_cast<int>(config.listens.size());
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start({.addresses = config.listens,
                         .tls = tls_.get(),
                         .operators = config.tls_operators,
                         .max_connections = std::max(1, max_connections / listeners),
                         .max_streams = static_cast<int>(config.max_streams),
                         .max_streams_per_peer = static_cast<int>(config.max_streams_per_peer()),
                         .list_rate = tuning_.list_rate},
                        &service_, &refusals_, clock_);
  if (!server.ok()) return server.status();
  server_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status Daemon::PrepareFleet(const Config& config) {
  if (config.publish.empty()) return absl::OkStatus();
  const std::string node = HostName();
  JetStreamOptions options;
  for (const NatsServerAddress& server : config.publish)
    options.nats.servers.push_back(server.ToUrl());
  options.cluster = config.publish_cluster;
  options.node = node;
  options.nats.name = absl::StrCat("vmeventd ", node);
  options.stream = std::string(kFleetStream);
  options.create_replicas = static_cast<int>(config.publish_create_stream);
  options.nats.credentials = config.publish_credentials;
  options.nats.tls_ca = config.publish_tls_ca;
  options.nats.tls_cert = config.publish_tls_cert;
  options.nats.tls_key = config.publish_tls_key;
  absl::StatusOr<std::unique_ptr<FleetSink>> sink = MakeJetStreamSink(std::move(options));
  if (!sink.ok()) return sink.status();
  const std::string target =
      absl::StrCat(kFleetStream, "/", NodeSubjects(config.publish_cluster, node));
  absl::StatusOr<std::unique_ptr<PositionFile>> position =
      PositionFile::Open(config.state_dir + "/published", target);
  if (!position.ok()) return position.status();
  fleet_sink_ = *std::move(sink);
  fleet_ = std::make_unique<FleetPublisher>(
      PublisherOptions{.cluster = config.publish_cluster,
                       .node = node,
                       .format = config.publish_format == PublishFormat::kJson
                                     ? FleetFormat::kJson
                                     : FleetFormat::kProtobuf,
                       .events_per_second = tuning_.publish_rate,
                       .version = kVersion,
                       .heartbeat = tuning_.publish_heartbeat},
      fleet_sink_.get(), &outbox_, *std::move(position), clock_,
      [] { return absl::Uniform(absl::BitGen(), 0.0, 1.0); });
  return absl::OkStatus();
}

void Daemon::StartMetrics(const Config& config, const LogMeters* log) {
  if (!config.metrics_listen.has_value()) return;
  metrics_ = std::make_unique<Metrics>(
      Metrics::Sources{&live_state_, &pump_, &journal_, &hub_, &queue_, watcher_.get(), &refusals_,
                       server_.get(), tls_.get(), log, ToJournalOptions(config).path, kVersion,
                       fleet_ == nullptr ? nullptr : &fleet_->meters()});
  metrics_server_ =
      std::make_unique<MetricsServer>(*config.metrics_listen, metrics_.get(), &refusals_);
}

Daemon::Daemon(const Config& config, const Tuning& tuning, const Clock* clock,
               std::unique_ptr<LockFile> state_lock, std::unique_ptr<TlsFiles> tls,
               RecoveredState recovered)
    : tuning_(tuning),
      clock_(clock),
      state_lock_(std::move(state_lock)),
      tls_(std::move(tls)),
      queue_(kMaxQueuedUpdates),
      live_state_(LiveStateOptions(),
                  {recovered.journal->journal_id(), recovered.journal->token_key(),
                   NodeIdOrNone(config.state_dir)},
                  recovered.journal->retained(), recovered.newest),
      read_queue_(ToJournalOptions(config).path, &live_state_,
                  [this](const std::string& journal_id, const absl::Status& found) {
                    pump_.ReportCorrupt(journal_id, found);
                  }),
      hub_(&live_state_, &read_queue_, clock, ToStreamOptions(config), &refusals_),
      journal_(ToJournalOptions(config), std::move(recovered.journal), std::move(recovered.mark)),
      outbox_(&live_state_, &read_queue_),
      pump_(&queue_, &live_state_, &journal_, clock,
            {[this] { OnPublished(); }, [this](bool writable) { OnJournalWritable(writable); },
             [this] { watcher_->PublishRunsAgain(); }}),
      queries_(&live_state_),
      service_({.version = kVersion, .node = HostName(), .start_time = clock->Now().wall},
               &live_state_, &queries_, &read_queue_, &hub_, &refusals_) {
  PublishRecovered(recovered, journal_.journal().retained(), clock_->Now(), &live_state_, &pump_);
}

void Daemon::OnPublished() {
  hub_.WakeStreams();
  if (fleet_ != nullptr) fleet_->Wake();
}

void Daemon::OnJournalWritable(bool writable) {
  server_->SetJournalServing(writable);
  OnPublished();
}

Daemon::~Daemon() {
  // First, because scrapes and open streams use the rest.
  metrics_server_.reset();
  server_.reset();
}

void Daemon::WatcherLoop() {
  SetThreadName("watcher");
  for (bool scanned = false, stop = false; !stop;) {
    watcher_->RunOnce(absl::InfiniteDuration());
    const MutexLock lock(&mutex_);
    if (!scanned && watcher_->first_scan_done()) {
      scanned = scanned_ = true;
      changed_.NotifyAll();
    }
    stop = stop_;
    watchdog_->Answer(Watchdog::kWatcher);
  }
  watcher_->RunOnce(absl::ZeroDuration());  // handles what has come until now
}

std::string Daemon::StatusText() const {
  return absl::StrCat(
      "following ", live_state_.vm_count(), " VMs for ", hub_.stream_count(), " streams",
      live_state_.journal_writable() ? "" : "; the journal cannot be written",
      AllDirectoriesArePresent() ? "" : "; a watched directory is missing", NotListening());
}

std::string Daemon::NotListening() const {
  const std::vector<ListenAddress> addresses = server_->addresses();
  const std::vector<bool> listening = server_->listening();
  std::string out;
  for (size_t i = 0; i < addresses.size(); ++i) {
    if (!listening[i]) absl::StrAppend(&out, "; not listening on ", addresses[i].ToString());
  }
  return out;
}

bool Daemon::AllDirectoriesArePresent() const {
  const std::vector<WatchedDirectory> directories = live_state_.directories();
  return std::all_of(directories.begin(), directories.end(),
                     [](const WatchedDirectory& directory) { return directory.present; });
}

void Daemon::PumpLoop() {
  SetThreadName("pump");
  for (bool more = true; more;) {
    more = pump_.RunOnce(absl::InfiniteDuration());
    if (const bool present = AllDirectoriesArePresent(); present != directories_present_) {
      directories_present_ = present;
      server_->SetWatchServing(present);
    }
    watchdog_->Answer(Watchdog::kPump);
  }
}

void Daemon::AskThreads() {
  watcher_->Wake();
  queue_.Wake();
  server_->Probe([watchdog = watchdog_] { watchdog->Answer(Watchdog::kAcceptor); },
                 [watchdog = watchdog_] { watchdog->Answer(Watchdog::kGrpc); });
}

Daemon::Change Daemon::WaitForChange(bool serving, absl::Duration timeout) {
  const MutexLock lock(&mutex_);
  WaitUntil(&changed_, &mutex_, timeout, [this, serving]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stop_ || (scanned_ && !serving);
  });
  if (stop_) return Change::kStop;
  return scanned_ && !serving ? Change::kScanned : Change::kNone;
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
    const Change change = WaitForChange(serving, std::min(next, trim_at - now));
    if (change == Change::kStop) return;
    now = clock_->Now().monotonic;
    if (change == Change::kScanned) {
      spdlog::info("the first scan is done: serving");
      // A program that waits for SERVING then finds all lines of the start in the log.
      spdlog::default_logger()->flush();
      server_->SetServing(true);
      serving = true;
      trim_at = now + kSettleTime;
    }
    if (!ready && (serving || now >= ready_by)) {
      ready = true;
      NotifyFirstReady(serving ? StatusText() : "the first scan is not done yet");
    }
    if (now >= trim_at) {
      malloc_trim(0);
      trim_at = absl::InfiniteDuration();
    }
    if (ready && watchdog_->turn() < absl::InfiniteDuration() &&
        watchdog_->Turn(now, journal_.writing())) {
      NotifyAlive(serving ? StatusText() : "the first scan is not done yet");
      AskThreads();
    }
  }
}

void Daemon::Run() {
  pump_thread_ = std::thread([this] { PumpLoop(); });
  history_thread_ = std::thread([this] { read_queue_.Run(); });
  hub_thread_ = std::thread([this] { hub_.Run(); });
  if (fleet_ != nullptr) fleet_thread_ = std::thread([this] { fleet_->Run(); });
  watcher_thread_ = std::thread([this] { WatcherLoop(); });
  ServeUntilStop();
  NotifyStopping("sending what was observed");
  Stop();
}

void Daemon::NotifyFirstReady(const std::string& status) {
  const MutexLock lock(&mutex_);
  if (stop_) return;
  ready_ = true;
  NotifyReady(status);
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
  // The service manager hears of a reload only between READY and STOPPING: a READY before the first
  // scan, or after the stop began, would not be true.
  bool ready = false;
  {
    const MutexLock lock(&mutex_);
    ready = ready_ && !stop_;
    if (ready) NotifyReloading();
  }
  if (tls_ == nullptr) {
    spdlog::info("nothing to read again: there is no TLS");
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
  spdlog::info("stopping: sending what was observed to {} streams", hub_.stream_count());
  server_->SetServing(false);
  service_.StopIntents();
  watcher_thread_.join();
  watcher_->RunOnce(absl::ZeroDuration());  // answers the intents that came in between
  queue_.Close();
  deadline.Enter(
      {"the journal cannot be written, the disk of the state directory does not answer; events "
       "that were observed last are lost"});
  pump_thread_.join();
  // The rest of the time is for the transport and for other calls. Connections without a call are
  // closed too, because their clients may not read.
  constexpr absl::Duration kShutdownTime = absl::Milliseconds(700);
  deadline.Enter({"streams do not end"});
  hub_.Drain(end - kShutdownTime - clock_->Now().monotonic);
  // What is not published yet is published by the next start.
  if (fleet_ != nullptr) {
    deadline.Enter({"a server of --publish does not answer", 0});
    fleet_->Stop();
    fleet_thread_.join();
  }
  // Before the transport's shutdown, which waits for the queries that the history thread answers.
  deadline.Enter({"the journal cannot be read, the disk of the state directory does not answer"});
  read_queue_.Stop();
  history_thread_.join();
  // Everything is in the journal now, and was sent or given up.
  deadline.Enter({"a client holds its connection up", 0});
  server_->Shutdown(kShutdownTime / 2);
  hub_.Stop();
  hub_thread_.join();
  deadline.Enter({"a scrape of the metrics does not end", 0});
  metrics_server_.reset();
  deadline.Enter({"a client holds its connection up", 0});
  server_.reset();
  if (!journal_.writable()) {
    spdlog::error(
        "events that were published as not durable are lost: the journal is still not writable");
  }
  spdlog::info("stopped at sequence {}", live_state_.range().newest);
}

}  // namespace vmeventd
