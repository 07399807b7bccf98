#include "tests/simulation/daemon.h"

#include <utility>

#include "tests/simulation/handover_store.h"
#include "tests/simulation/world.h"
#include "tests/support/event_log_for_tests.h"
#include "tests/support/sources_with_libvirt.h"
#include "watcher/host/host_shutdown_api.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/previous_runs.h"
#include "watcher/runs/watcher_options.h"
#include "watcher/session/vm_session.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd::simulation {
namespace {

// Time that the clients of a daemon that stops have to read the rest.
constexpr absl::Duration kDrain = absl::Seconds(4);

// The source from which one daemon learns of the shutdown of the simulated host. `kernel` outlives
// it.
class HostShutdown : public HostShutdownApi {
 public:
  explicit HostShutdown(Kernel* kernel) : kernel_(kernel), fd_(kernel->WatchHostShutdown()) {}
  ~HostShutdown() override { kernel_->Close(fd_); }

  int fd() const override { return fd_; }
  HostShutdownState Read() override {
    return {.known = true, .shutting_down = kernel_->AskHostShutdown(), .by = "systemd-logind"};
  }

 private:
  Kernel* const kernel_;
  const int fd_;
};

// The records of signals that the simulated kernel has for one daemon, which continues those that
// were handed over. `kernel` outlives it.
class SignalRings : public SignalTrace {
 public:
  explicit SignalRings(Kernel* kernel)
      : kernel_(kernel),
        fd_(kernel->KeptTrace() >= 0 ? kernel->KeptTrace() : kernel->TraceSignals()) {
    kernel_->KeepTrace(false);
  }
  ~SignalRings() override {
    if (kernel_->KeptTrace() != fd_) kernel_->Close(fd_);
  }

  int fd() const override { return fd_; }
  void Read(std::vector<SignalRecord>* out) override { kernel_->ReadSignals(out); }
  uint64_t lost() const override { return 0; }

 private:
  Kernel* const kernel_;
  const int fd_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(Kernel* kernel, const Options& options,
                                                      HandoverStore* store,
                                                      std::function<void()> on_published) {
  absl::StatusOr<std::unique_ptr<EventLog>> log =
      EventLog::Open({.journal = {.path = kJournalPath,
                                  .retention_age = options.retention_age,
                                  .retention_events = options.retention_events},
                      .ring_bytes = options.ring_bytes,
                      .max_waiting_bytes = options.max_waiting_bytes,
                      .node_id = "node"},
                     kernel, [store](const JournalEnd& found) {
                       if (store->log && !store->log->end.MayBeSameJournal(found))
                         store->log.reset();
                       return store->log;
                     });
  if (!log.ok()) return log.status();
  (*log)->Subscribe([on_published = std::move(on_published)](bool published) {
    if (published) on_published();
  });
  std::unique_ptr<Daemon> daemon(new Daemon(kernel, options, *std::move(log)));
  if (store->log.has_value()) daemon->handed_through_ = store->log->end.newest;
  if (absl::Status status = daemon->Watch(options, store); !status.ok()) return status;
  return daemon;
}

Daemon::Daemon(Kernel* kernel, const Options& options, std::unique_ptr<EventLog> log)
    : kernel_(kernel),
      log_(std::move(log)),
      queries_(log_.get()),
      hub_(log_.get(), kernel,
           {.progress_interval = kProgressInterval,
            .write_timeout = kWriteTimeout,
            .message_bytes = options.message_bytes}) {
  // Acts as the relay's thread.
  ticks_ = std::thread([this] {
    const MutexLock lock(&mutex_);
    const auto ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_; };
    while (!WaitUntil(&changed_, &mutex_, kTick, ended)) hub_.CheckDeadlines();
  });
}

absl::StatusOr<std::vector<HandedRun>> Daemon::TakeRuns(HandoverStore* store) {
  const bool fits = std::exchange(store->log, std::nullopt).has_value();
  std::vector<HandedRun> runs;
  absl::Status status;
  for (const HandoverStore::Run& stored : std::exchange(store->runs, {})) {
    HandedRun run;
    if (!run.state.ParseFromString(stored.text)) status.Update(absl::DataLossError("a stored run"));
    run.connection = UniqueFd(stored.connection);
    run.process = UniqueFd(stored.process);
    for (const int fd : {stored.connection, stored.process}) kernel_->PassKept(fd);
    if (!fits) run.state.clear_run_id();
    if (!run.connection.valid()) domains_.insert(run.state.run_id());
    runs.push_back(std::move(run));
  }
  if (!status.ok()) return status;
  if (fits) handed_ = runs.size();
  return runs;
}

absl::Status Daemon::Watch(const Options& options, HandoverStore* store) {
  WatcherOptions watcher_options;
  absl::StatusOr<WatchSpec> watch = ParseWatchSpec(std::string(kWatchedDirectory) + ":*.kvmd");
  if (!watch.ok()) return watch.status();
  watcher_options.sources.watches = {*std::move(watch)};
  watcher_options.command_lines = std::make_shared<CommandLines>();
  if (kernel_->features().signals) {
    watcher_options.signals.trace = std::make_shared<SignalRings>(kernel_);
    // Acts as bpf() that is out of descriptors, under --signal-senders=auto.
    if (watcher_options.signals.trace->fd() < 0) {
      watcher_options.signals = {nullptr, {ProblemCode::kCannotTrace, "no descriptor"}};
    }
  } else {
    watcher_options.signals = {nullptr, {ProblemCode::kNoCapability, "no CAP_BPF"}};
  }
  watcher_options.host_shutdown.source = std::make_shared<HostShutdown>(kernel_);
  // Acts as epoll_create1() that is out of descriptors.
  if (watcher_options.host_shutdown.source->fd() < 0) {
    watcher_options.host_shutdown = {nullptr, "no descriptor"};
  }
  if (options.libvirt != nullptr) {
    absl::StatusOr<LibvirtSpec> libvirt = ParseLibvirtUri(kLibvirtUri);
    if (!libvirt.ok()) return libvirt.status();
    watcher_options.sources.libvirts = {*std::move(libvirt)};
  }
  watcher_options.max_vm_descriptors = options.max_vm_descriptors;
  // A directory that answers at once, or whenever its thread has a turn.
  watcher_options.directory_patience =
      kernel_->random().OneIn(2) ? absl::InfiniteDuration() : absl::ZeroDuration();
  watcher_options.session.last_watched = log_->previous().last_watched;
  PreviousRuns previous{.daemon_existed = log_->previous().existed,
                        .is_handover = store->log.has_value(),
                        .are_known = log_->previous().runs_are_known};
  const SavedRuns runs = log_->TakeRuns();
  log_->PutVms(VmsOf(runs, kernel_->Now()));
  for (const auto& [run_id, run] : runs) previous.saved.push_back(run.payload);
  absl::StatusOr<std::vector<HandedRun>> handed = TakeRuns(store);
  if (!handed.ok()) return handed.status();
  previous.handed = *std::move(handed);
  absl::StatusOr<std::unique_ptr<NodeWatcher>> watcher =
      NodeWatcher::Create(std::move(watcher_options), std::move(previous), kernel_, log_.get(),
                          SourcesWithLibvirt(options.libvirt));
  if (!watcher.ok()) return watcher.status();
  watcher_ = *std::move(watcher);
  return absl::OkStatus();
}

Daemon::~Daemon() {
  {
    const MutexLock lock(&mutex_);
    ended_ = true;
    changed_.NotifyAll();
  }
  ticks_.join();
}

bool Daemon::LoopIsDue() const {
  // The first look at the directories continues by itself; one for domains waits for libvirt.
  constexpr int kFirstTurns = 100;
  return (loop_turns_ < kFirstTurns && !watcher_->first_scan_done()) ||
         kernel_->loop_due() <= kernel_->monotonic() || kernel_->LoopHasInput();
}

absl::Duration Daemon::pump_due() const {
  const absl::Duration next = EventLogForTests::NextStep(*log_);
  return wrote_ || next == absl::ZeroDuration() ? kernel_->monotonic() : next;
}

void Daemon::Stop(HandoverStore* store) {
  stops_ = true;
  watcher_->RunOnce(absl::ZeroDuration());
  watcher_->PublishRest();
  std::optional<OpenRuns> handed;
  if (store != nullptr) handed = watcher_->HandOver();
  log_->Close();
  while (log_->Step() && !kernel_->dead()) {
    if (!log_->StepWriter()) {
      kernel_->AdvanceTo(std::max(pump_due(), kernel_->monotonic() + absl::Milliseconds(1)));
    }
  }
  while (!kernel_->dead() && log_->StepWriter()) {
  }
  if (!handed.has_value() || kernel_->dead()) return;
  kernel_->KeepTrace(true);
  store->log = LogOf(*log_, *handed);
  for (HandedRun& run : handed->runs) {
    const int connection = run.connection.Release();
    const int process = run.process.Release();
    store->runs.push_back({run.state.SerializeAsString(), connection, process});
    for (const int fd : {connection, process}) kernel_->Keep(fd);
  }
}

void Daemon::EndStreams() { hub_.Drain(kDrain); }

}  // namespace vmeventd::simulation
