#include "client/doctor/monitor_obstacle.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "client/doctor/diagnose_sockets.h"
#include "client/doctor/monitor_paths.h"
#include "client/doctor/node_facts.h"
#include "client/output/shell_quote.h"

namespace vmeventd::client {

Finding ObstacleAt(const Examination& exam, const Monitor& monitor, const v1::Vm* vm) {
  const NodeProcess* const client = monitor.client;
  const std::string directory = QuoteForShell(DirectoryOf(monitor.path));
  // A holder that only root sees may be vmeventd, which follows the VM.
  const bool is_own =
      IsDaemon(client) || (vm != nullptr && client == nullptr && !exam.facts().is_root);
  const auto found = [&monitor](const char* kind, const std::string& what,
                                const std::string& line) {
    return Finding{kind, {monitor.path}, what, {{Place::kShell, line}}};
  };
  if (monitor.held && !is_own) {
    const std::string what = absl::StrCat(
        "The monitor is held by ",
        client == nullptr ? "a process that cannot be seen from here" : DescribeProcess(*client),
        ". A monitor serves one client, and vmeventd waits until that one disconnects.");
    if (client == nullptr) {
      return found("held-monitor", what, absl::StrCat("ss -xp | grep -F ", directory));
    }
    if (client->program == kKvmdProgram) return found("held-monitor", what, kDisableKvmd);
    return found("held-monitor",
                 absl::StrCat(what,
                              " Stop it if it is not needed; otherwise give it or vmeventd "
                              "another monitor (docs/connect.md)."),
                 absl::StrCat("ps -o pid,user,lstart,args -p ", client->pid));
  }
  if (monitor.listener == nullptr) {
    return found("no-monitor", "Nothing listens on the monitor socket of this QEMU's command line.",
                 absl::StrCat("ls -l ", directory));
  }
  if (vm == nullptr || monitor.held || !monitor.listener->waited_at) return {};
  return found("hung-monitor",
               "This QEMU hangs: it does not accept the client that waits at its monitor. The "
               "line shows what its threads do.",
               absl::StrCat("ps -L -o tid,stat,wchan:30,comm -p ", kWords));
}

}  // namespace vmeventd::client
