#include "server/program.h"

#include <malloc.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "server/config/config.h"
#include "server/host/privileges.h"
#include "server/host/signal_watcher.h"
#include "server/logging/logging.h"
#include "spdlog/spdlog.h"
#include "watcher/signals/bpf_trace.h"

namespace vmeventd {

namespace {

// The error says why what is required cannot be had.
absl::StatusOr<SignalTracing> BeginSignalTracing(const Config& config) {
  if (config.signal_senders == SignalSenders::kOff)
    return SignalTracing{nullptr, "--signal-senders is off"};
  if (!config.process_tracking) return SignalTracing{nullptr, "--process-tracking is off"};
  absl::StatusOr<std::unique_ptr<BpfTrace>> trace = BpfTrace::Begin();
  if (trace.ok()) return SignalTracing{*std::move(trace)};
  if (config.signal_senders == SignalSenders::kAuto) {
    return SignalTracing{nullptr, std::string(trace.status().message())};
  }
  return absl::UnavailableError(
      absl::StrCat("--signal-senders=require: ", trace.status().message()));
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
  bool dropped = DropCapabilities();
  absl::StatusOr<SignalTracing> tracing = BeginSignalTracing(*parsed.config);
  dropped = DropTracing() && dropped;
  BlockSignals();
  if (!dropped) spdlog::warn("the capabilities that are not needed cannot be given up");
  const SystemClock clock;
  const Logging logging(parsed.config->log_level, parsed.config->log_format, &clock);
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
