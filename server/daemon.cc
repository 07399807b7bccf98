#include "server/daemon.h"

#include <unistd.h>

#include <climits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/descriptor_limit.h"
#include "server/directories.h"
#include "server/random.h"
#include "server/version.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxQueuedUpdates = 100'000;
constexpr size_t kTokenKeyBytes = 32;

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

}  // namespace

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(const Config& config, const Clock* clock) {
  if (absl::Status status = MakeOwnDirectory(config.state_dir); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<LockFile>> lock = LockFile::Acquire(config.state_dir + "/lock");
  if (!lock.ok()) return lock.status();
  const absl::StatusOr<std::string> journal_id = RandomUuid();
  if (!journal_id.ok()) return journal_id.status();
  const absl::StatusOr<std::string> token_key = RandomBytes(kTokenKeyBytes);
  if (!token_key.ok()) return token_key.status();

  std::unique_ptr<Daemon> daemon(
      new Daemon(clock, *std::move(lock), *journal_id, *token_key,
                 {.version = kVersion, .node = HostName(), .start_time = clock->Now().wall}));
  absl::StatusOr<std::unique_ptr<NodeWatcher>> watcher =
      NodeWatcher::Create(ToWatcherOptions(config), clock, &daemon->queue_);
  if (!watcher.ok()) return watcher.status();
  daemon->watcher_ = *std::move(watcher);
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(config.listens, &daemon->service_);
  if (!server.ok()) return server.status();
  daemon->server_ = *std::move(server);
  LogStart(config, daemon->server_->addresses(), *journal_id);
  return daemon;
}

Daemon::Daemon(const Clock* clock, std::unique_ptr<LockFile> state_lock, std::string journal_id,
               std::string token_key, ServerFacts facts)
    : clock_(clock),
      state_lock_(std::move(state_lock)),
      queue_(kMaxQueuedUpdates),
      store_(EventStoreOptions(), std::move(journal_id)),
      hub_(&store_, clock, StreamOptions()),
      pump_(&queue_, &store_, [this] { hub_.WakeStreams(); }),
      queries_(&store_, std::move(token_key)),
      service_(std::move(facts), &store_, &queries_, &hub_) {}

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
  while (!stop_) changed_.Wait(&mutex_);
}

void Daemon::Run() {
  pump_thread_ = std::thread([this] { pump_.Run(); });
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
  spdlog::info("stopping: sending what was observed to {} streams", hub_.stream_count());
  server_->SetServing(false);
  watcher_thread_.join();
  queue_.Close();
  pump_thread_.join();
  // What remains is for the transport and for calls that are no streams.
  constexpr absl::Duration kShutdownTime = absl::Milliseconds(700);
  hub_.Drain(end - kShutdownTime - clock_->Now().monotonic);
  server_->Shutdown((end - clock_->Now().monotonic) / 2);
  hub_.Stop();
  hub_thread_.join();
  server_.reset();
  spdlog::info("stopped at sequence {}", store_.range().newest);
}

}  // namespace vmeventd
