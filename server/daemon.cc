#include "server/daemon.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/descriptor_limit.h"
#include "server/directories.h"
#include "server/event_codec.h"
#include "server/version.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxQueuedUpdates = 100'000;

std::string HostName() {
  char name[HOST_NAME_MAX + 1] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

WatcherOptions ToWatcherOptions(const Config& config) {
  WatcherOptions options;
  options.watches = config.watches;
  options.process_tracking = config.process_tracking;
  options.session.powerdown_window = config.powerdown_window;
  options.session.shutdown_files = config.shutdown_files;
  options.max_vm_descriptors = VmDescriptors(RaiseDescriptorLimit());
  return options;
}

void LogStart(const Config& config, const std::vector<ListenAddress>& addresses,
              const std::string& journal_id) {
  const auto directory = [](std::string* out, const WatchSpec& watch) {
    absl::StrAppend(out, watch.directory, ":", watch.pattern());
  };
  const auto address = [](std::string* out, const ListenAddress& listen) {
    absl::StrAppend(out, listen.ToString());
  };
  spdlog::info(
      "vmeventd {} started, pid {}; watching {}; listening on {}; state directory {}; journal {}",
      kVersion, getpid(), absl::StrJoin(config.watches, ", ", directory),
      absl::StrJoin(addresses, ", ", address), config.state_dir, journal_id);
}

// Ends the process where a stop takes longer than it may. Everything is in the journal and was sent
// or given up by then; what hangs is gRPC, which waits for a client that does not read (1.51).
class StopDeadline {
 public:
  explicit StopDeadline(absl::Duration timeout) : thread_([this, timeout] { Wait(timeout); }) {}
  ~StopDeadline() {
    {
      const MutexLock lock(&mutex_);
      stopped_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }
  StopDeadline(const StopDeadline&) = delete;
  StopDeadline& operator=(const StopDeadline&) = delete;

 private:
  void Wait(absl::Duration timeout) {
    const auto end = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(timeout);
    const MutexLock lock(&mutex_);
    while (!stopped_) {
      const absl::Duration left = absl::FromChrono(end - std::chrono::steady_clock::now());
      if (left <= absl::ZeroDuration()) {
        spdlog::warn("a client holds its connection up: exiting without it");
        spdlog::shutdown();
        _exit(0);
      }
      changed_.WaitFor(&mutex_, left);
    }
  }

  Mutex mutex_;
  CondVar changed_;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(const Config& config, const Clock* clock) {
  absl::Status status = MakeOwnDirectory(config.state_dir);
  if (status.ok()) status = CheckOwner(config.state_dir);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<LockFile>> lock = LockFile::Acquire(config.state_dir + "/lock");
  if (!lock.ok()) return lock.status();
  const JournalOptions journal_options = {.path = config.state_dir + "/journal.db",
                                          .retention_age = config.retention_age,
                                          .retention_events = config.retention_events};
  absl::StatusOr<Kept> kept =
      OpenJournal(journal_options, config.state_dir + "/sequence", clock->Now().wall);
  if (!kept.ok()) return kept.status();
  WatcherOptions watcher_options = ToWatcherOptions(config);
  for (const JournalSession& session : kept->sessions) {
    watcher_options.saved_runs.push_back(session.payload);
  }

  const bool tell_runs_again = kept->replaced;
  std::unique_ptr<Daemon> daemon(
      new Daemon(journal_options, clock, *std::move(lock), *std::move(kept),
                 {.version = kVersion, .node = HostName(), .start_time = clock->Now().wall}));
  absl::StatusOr<std::unique_ptr<NodeWatcher>> watcher =
      NodeWatcher::Create(std::move(watcher_options), clock, &daemon->queue_);
  if (!watcher.ok()) return watcher.status();
  daemon->watcher_ = *std::move(watcher);
  daemon->service_.SetWatcher(daemon->watcher_.get());
  if (tell_runs_again) daemon->watcher_->TellRunsAgain();
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(config.listens, &daemon->service_);
  if (!server.ok()) return server.status();
  daemon->server_ = *std::move(server);
  if (config.metrics_listen.has_value()) {
    absl::StatusOr<std::unique_ptr<MetricsServer>> metrics = MetricsServer::Start(
        *config.metrics_listen, {&daemon->store_, &daemon->hub_, &daemon->queue_, kVersion,
                                 daemon->watcher_->exit_status_source()});
    if (!metrics.ok()) return metrics.status();
    daemon->metrics_ = *std::move(metrics);
    spdlog::info("metrics at http://{}/metrics", daemon->metrics_->address().ToString());
  }
  LogStart(config, daemon->server_->addresses(), daemon->store_.journal_id());
  return daemon;
}

absl::StatusOr<Daemon::Kept> Daemon::OpenJournal(const JournalOptions& options,
                                                 const std::string& mark, absl::Time now) {
  absl::StatusOr<std::unique_ptr<SequenceMark>> opened_mark = SequenceMark::Open(mark);
  if (!opened_mark.ok()) return opened_mark.status();
  absl::StatusOr<Journal::Opened> opened =
      Journal::Open(options, now, [&opened_mark](const std::string& journal_id) {
        return (*opened_mark)->Of(journal_id).committed;
      });
  if (!opened.ok()) return opened.status();
  Kept kept{.journal = std::move(opened->journal),
            .mark = *std::move(opened_mark),
            .sessions = std::move(opened->sessions),
            .stops = std::move(opened->stops)};
  if (!opened->moved_to.empty()) {
    kept.replaced = true;
    spdlog::error("{}: the journal is corrupt and was moved to {}; a new one begins",
                  opened->moved_because, opened->moved_to);
    kept.gaps.push_back(absl::StrCat("the journal was corrupt and was moved to ", opened->moved_to,
                                     "; the events before this one are there"));
  }
  const std::string& before = kept.mark->value().journal_id;
  if (opened->moved_to.empty() && !before.empty() && before != kept.journal->journal_id() &&
      kept.mark->value().committed > 0) {
    spdlog::error("{}: the journal {} is gone; another one begins", options.path, before);
    kept.gaps.push_back(
        absl::StrCat("the journal ", before, " is gone, and the events and open runs in it"));
  }
  const uint64_t committed = kept.journal->newest();
  kept.newest = std::max(committed, kept.mark->Of(kept.journal->journal_id()).published);
  if (kept.newest > committed) {
    kept.gaps.push_back(absl::StrCat("the events ", committed + 1, " to ", kept.newest,
                                     " were told as not durable and are lost: vmeventd ended "
                                     "before the journal could be written again"));
  }
  return kept;
}

Daemon::Daemon(const JournalOptions& options, const Clock* clock,
               std::unique_ptr<LockFile> state_lock, Kept kept, ServerFacts facts)
    : clock_(clock),
      state_lock_(std::move(state_lock)),
      queue_(kMaxQueuedUpdates),
      store_(EventStoreOptions(), {kept.journal->journal_id(), kept.journal->token_key()},
             {kept.journal->oldest(), kept.journal->deleted_until()}, kept.newest),
      history_(options.path, &store_,
               [this](const std::string& journal_id, const absl::Status& found) {
                 pump_.ReportCorrupt(journal_id, found);
               }),
      hub_(&store_, &history_, clock, StreamOptions()),
      journal_(options, std::move(kept.journal), std::move(kept.mark)),
      pump_(&queue_, &store_, &journal_, clock,
            {[this] { hub_.WakeStreams(); }, [this](bool writable) { OnJournalWritable(writable); },
             [this] { watcher_->TellRunsAgain(); }}),
      queries_(&store_),
      service_(std::move(facts), &store_, &queries_, &history_, &hub_) {
  TellKept(kept);
}

void Daemon::TellKept(const Kept& kept) {
  EventStore::Step step;
  step.retained = {journal_.journal().oldest(), journal_.journal().deleted_until()};
  for (const JournalStop& stop : kept.stops) {
    step.vms.push_back({std::make_shared<const VmRecord>(DecodeSnapshotVmField(stop.vm)), {}});
  }
  // The runs that were open stand in the first snapshot already: the watcher tells of them later.
  const SessionOptions session_options;
  for (const JournalSession& session : kept.sessions) {
    const absl::StatusOr<std::unique_ptr<VmSession>> run =
        VmSession::Restore(session.payload, &session_options, clock_->Now());
    if (!run.ok()) continue;  // the watcher says so
    step.vms.push_back(
        {std::make_shared<const VmRecord>((*run)->Status(), session.last_sequence), {}});
  }
  store_.Publish(std::move(step));
  for (const std::string& message : kept.gaps) {
    VmEvent gap;
    gap.type = EventType::kGap;
    gap.observe_time = clock_->Now().wall;
    gap.message = message;
    queue_.Push({std::nullopt, std::move(gap), false});
  }
}

void Daemon::OnJournalWritable(bool writable) {
  server_->SetJournalServing(writable);
  hub_.WakeStreams();
}

Daemon::~Daemon() {
  // First of all: open streams use the rest.
  server_.reset();
}

void Daemon::WatcherLoop() {
  for (bool scanned = false, stop = false; !stop;) {
    watcher_->RunOnce(absl::InfiniteDuration());
    const MutexLock lock(&mutex_);
    if (!scanned && watcher_->first_scan_done()) {
      scanned = scanned_ = true;
      changed_.NotifyAll();
    }
    stop = stop_;
  }
  watcher_->RunOnce(absl::ZeroDuration());  // what came until now
}

bool Daemon::WaitForScanOrStop() {
  const MutexLock lock(&mutex_);
  while (!scanned_ && !stop_) changed_.Wait(&mutex_);
  return stop_;
}

void Daemon::WaitForStop() {
  const MutexLock lock(&mutex_);
  // To take up thousands of VMs leaves as much freed memory behind as they need themselves.
  constexpr absl::Duration kSettleTime = absl::Seconds(10);
  if (!stop_) changed_.WaitFor(&mutex_, kSettleTime);
  malloc_trim(0);
  while (!stop_) changed_.Wait(&mutex_);
}

void Daemon::Run() {
  pump_thread_ = std::thread([this] { pump_.Run(); });
  history_thread_ = std::thread([this] { history_.Run(); });
  hub_thread_ = std::thread([this] { hub_.Run(); });
  watcher_thread_ = std::thread([this] { WatcherLoop(); });
  if (!WaitForScanOrStop()) {
    server_->SetServing(true);
    spdlog::info("the first scan is done: serving");
    WaitForStop();
  }
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

void Daemon::Stop() {
  const absl::Duration end = clock_->Now().monotonic + kStopTimeout;
  const StopDeadline deadline(kStopTimeout);
  spdlog::info("stopping: sending what was observed to {} streams", hub_.stream_count());
  server_->SetServing(false);
  service_.StopIntents();
  watcher_thread_.join();
  watcher_->RunOnce(absl::ZeroDuration());  // answers the intents that came in between
  queue_.Close();
  pump_thread_.join();
  // What remains is for the transport and for calls that are no streams. A connection without any
  // call is closed at its end too, for its client may not read.
  constexpr absl::Duration kShutdownTime = absl::Milliseconds(700);
  hub_.Drain(end - kShutdownTime - clock_->Now().monotonic);
  server_->Shutdown(kShutdownTime / 2);
  hub_.Stop();
  hub_thread_.join();
  history_.Stop();
  history_thread_.join();
  server_.reset();
  if (!journal_.writable()) {
    spdlog::error(
        "events that were told as not durable are lost: the journal is still not writable");
  }
  spdlog::info("stopped at sequence {}", store_.range().newest);
}

}  // namespace vmeventd
