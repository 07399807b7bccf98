#include "server/program.h"

#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/system.h"
#include "server/daemon.h"
#include "server/handover.h"
#include "server/host/privileges.h"
#include "server/logging/logging.h"
#include "spdlog/spdlog.h"
#include "watcher/signals/signal_watch.h"

namespace vmeventd {

namespace {

// Resumes `handed`, the trace of the previous daemon, or begins one. `*note` is for the log. The
// error is the reason why what is required cannot be had.
absl::StatusOr<SignalTracing> BeginSignalTracing(const Config& config, std::vector<UniqueFd> handed,
                                                 std::string* note) {
  SignalTracing tracing;
  if (config.signal_senders == SignalSenders::kOff) {
    tracing.problem = "--signal-senders is off";
  } else if (!config.process_tracking) {
    tracing.problem = "--process-tracking is off";
  } else {
    absl::StatusOr<std::unique_ptr<SignalTrace>> trace = absl::NotFoundError("");
    if (!handed.empty()) {
      trace = ResumeTrace(std::move(handed));
      if (!trace.ok()) {
        *note = absl::StrCat("who sent signals during the restart is not known: ",
                             trace.status().message());
      }
    }
    if (!trace.ok()) trace = BeginTrace();
    if (trace.ok()) return SignalTracing{*std::move(trace)};
    tracing.problem = std::string(trace.status().message());
    if (config.signal_senders != SignalSenders::kAuto) {
      return absl::UnavailableError(absl::StrCat("--signal-senders=require: ", tracing.problem));
    }
  }
  return tracing;
}

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

// Waits for signals on a thread of its own. SIGHUP reloads the daemon. The first SIGTERM or SIGINT
// stops it; the second ends the process at once, with status 1.
class SignalWatcher {
 public:
  explicit SignalWatcher(Daemon* daemon) : daemon_(daemon), thread_([this] { Run(); }) {}
  ~SignalWatcher() {
    done_ = true;
    pthread_kill(thread_.native_handle(), SIGHUP);
    thread_.join();
  }
  SignalWatcher(const SignalWatcher&) = delete;
  SignalWatcher& operator=(const SignalWatcher&) = delete;

 private:
  void Run() {
    SetThreadName("signals");
    const sigset_t signals = WatchedSignals();
    for (bool stopping = false;;) {
      int number = 0;
      sigwait(&signals, &number);
      if (done_) return;
      if (number == SIGHUP) {
        daemon_->Reload();
        continue;
      }
      if (stopping) _exit(1);
      stopping = true;
      daemon_->RequestStop();
    }
  }

  Daemon* const daemon_;
  std::atomic<bool> done_{false};
  std::thread thread_;  // last: it uses the rest
};

}  // namespace

int RunProgram(const std::vector<std::string>& arguments, const Tuning& tuning) {
  const ParsedConfig parsed = ParseConfig(arguments, SystemEnvironment());
  if (!parsed.config.has_value()) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
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
  bool dropped = DropCapabilities();
  UniqueFd parcel = TakeParcel();
  std::string note;
  absl::StatusOr<SignalTracing> tracing =
      BeginSignalTracing(*parsed.config, TraceIn(parcel), &note);
  dropped = DropTracing() && dropped;
  // In this thread and in those that it starts.
  const sigset_t signals = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  if (!dropped) spdlog::warn("cannot drop the capabilities that are not needed");
  const SystemClock clock;
  const Logging logging(parsed.config->log_level, parsed.config->log_format, &clock);
  if (!note.empty()) spdlog::warn("{}", note);
  if (!tracing.ok()) {
    spdlog::error("cannot start: {}", std::string(tracing.status().message()));
    return 1;
  }
  absl::StatusOr<std::unique_ptr<Daemon>> daemon = Daemon::Create(
      *parsed.config, &clock, &logging.meters(), tuning, *std::move(tracing), std::move(parcel));
  if (!daemon.ok()) {
    spdlog::error("cannot start: {}", std::string(daemon.status().message()));
    return 1;
  }
  const SignalWatcher watcher(daemon->get());
  (*daemon)->Run();
  return 0;
}

}  // namespace vmeventd
