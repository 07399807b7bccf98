#include "server/program.h"

#include <malloc.h>

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "server/config/config.h"
#include "server/host/privileges.h"
#include "server/host/signal_watcher.h"
#include "server/log/logging.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

int RunProgram(const std::vector<std::string>& arguments, const Tuning& tuning) {
  const ParsedConfig parsed = ParseConfig(arguments, SystemEnvironment());
  if (!parsed.config.has_value()) {
    std::fputs(parsed.text.c_str(), parsed.exit_code == 0 ? stdout : stderr);
    return parsed.exit_code;
  }
  // An arena for each of gRPC's threads would cost more memory than the VMs do.
  mallopt(M_ARENA_MAX, 2);
  // What is larger goes back to the kernel when it is freed. Without this, one long line from a
  // hostile monitor makes glibc keep up to 64 MiB for the next.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  const bool dropped = DropCapabilities();
  BlockSignals();
  if (!dropped) spdlog::warn("the capabilities that are not needed cannot be given up");
  const SystemClock clock;
  const Logging logging(parsed.config->log_level, parsed.config->log_format, &clock);
  absl::StatusOr<std::unique_ptr<Daemon>> daemon =
      Daemon::Create(*parsed.config, &clock, &logging.meters(), tuning);
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
