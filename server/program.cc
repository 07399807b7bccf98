#include "server/program.h"

#include <malloc.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "server/daemon.h"
#include "server/handover.h"
#include "server/host/privileges.h"
#include "server/host/signal_watcher.h"
#include "server/logging/logging.h"
#include "spdlog/spdlog.h"
#include "watcher/signals/bpf_trace.h"

namespace vmeventd {

namespace {

// Continues `kept`, the trace that the service manager has kept, or begins one, which it keeps from
// now on. `*note` is for the log.
absl::StatusOr<std::shared_ptr<SignalTrace>> BeginTrace(absl::StatusOr<std::vector<UniqueFd>> kept,
                                                        std::string* note) {
  absl::Status unusable = kept.status();
  if (kept.ok() && !kept->empty()) {
    absl::StatusOr<std::unique_ptr<BpfTrace>> trace = BpfTrace::GoOn(*std::move(kept));
    if (trace.ok()) return *std::move(trace);
    unusable = trace.status();
  }
  if (!unusable.ok()) {
    *note = absl::StrCat("who sent signals meanwhile is not known: ", unusable.message());
  }
  absl::StatusOr<std::unique_ptr<BpfTrace>> trace = BpfTrace::Begin();
  if (!trace.ok()) return trace.status();
  if (absl::Status status = StoreTrace((*trace)->descriptors()); !status.ok()) {
    *note = absl::StrCat("who sends signals is not recorded over a restart: ", status.message());
  }
  return *std::move(trace);
}

// The error says why what is required cannot be had.
absl::StatusOr<SignalTracing> BeginSignalTracing(const Config& config, std::string* note) {
  absl::StatusOr<std::vector<UniqueFd>> kept = TakeTrace();
  SignalTracing tracing;
  if (config.signal_senders == SignalSenders::kOff) {
    tracing.problem = "--signal-senders is off";
  } else if (!config.process_tracking) {
    tracing.problem = "--process-tracking is off";
  } else {
    absl::StatusOr<std::shared_ptr<SignalTrace>> trace = BeginTrace(std::move(kept), note);
    if (trace.ok()) return SignalTracing{*std::move(trace)};
    tracing.problem = std::string(trace.status().message());
    if (config.signal_senders != SignalSenders::kAuto) {
      return absl::UnavailableError(absl::StrCat("--signal-senders=require: ", tracing.problem));
    }
  }
  // Ends the kept trace: nobody would read its records.
  StoreTrace({}).IgnoreError();
  return tracing;
}

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
  // hostile monitor makes glibc keep up to 64 MiB for the next.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  // Free memory at the end of an arena that it keeps. With glibc's 128 KiB a burst of events gives
  // memory back and takes it again all the time, for a fifth of its processor time.
  mallopt(M_TRIM_THRESHOLD, 1 << 20);
  // Debian's Abseil, built without NDEBUG, checks at each of gRPC's locks whether their order could
  // make a deadlock, and then ends the process.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  bool dropped = DropCapabilities();
  std::string note;
  absl::StatusOr<SignalTracing> tracing = BeginSignalTracing(*parsed.config, &note);
  dropped = DropTracing() && dropped;
  BlockSignals();
  if (!dropped) spdlog::warn("the capabilities that are not needed cannot be given up");
  const SystemClock clock;
  const Logging logging(parsed.config->log_level, parsed.config->log_format, &clock);
  if (!note.empty()) spdlog::warn("{}", note);
  if (!tracing.ok()) {
    spdlog::error("cannot start: {}", std::string(tracing.status().message()));
    return 1;
  }
  absl::StatusOr<std::unique_ptr<Daemon>> daemon =
      Daemon::Create(*parsed.config, &clock, &logging.meters(), tuning, *std::move(tracing));
  if (!daemon.ok()) {
    spdlog::error("cannot start: {}", std::string(daemon.status().message()));
    return 1;
  }
  const SignalWatcher signals([&daemon] { (*daemon)->RequestStop(); },
                              [&daemon] { (*daemon)->Reload(); });
  (*daemon)->Run();
  return 0;
}

}  // namespace vmeventd
