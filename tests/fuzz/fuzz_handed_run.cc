// A run that was handed over by arbitrary bytes is refused, or it is written as it is read, holds
// no more than may wait, and a saved run goes on with it.

#include <cstdlib>

#include "watcher/runs/handed_run.h"
#include "watcher/session/vm_session.h"

namespace {

constexpr char kSaved[] =
    R"({"format":1,"run":{"name":"web1","run_id":"boot-1-2-3","monitor_path":"/run/web1.kvmd",)"
    R"("process_tracked":true,"pid":4711,"start_ticks":0,"pid_namespace":0,"boot_id":"boot",)"
    R"("socket":[0,0,0]},"attached_at":[1795157000000000000,1000000000000],"state":1,)"
    R"("state_time":1795157000000000000,"qemu_version":"7.2.22","evidence":{},"timeline":[]})";

}  // namespace

void Fuzz_handed_run(absl::string_view input) {
  using vmeventd::HandedMonitor;
  const auto run = vmeventd::ReadHandedRun(input);
  if (!run.ok()) return;
  if (run->monitor.unhandled.str().size() > HandedMonitor::kMaxUnhandled) std::abort();
  const std::string written = vmeventd::WriteHandedRun(*run);
  const auto again = vmeventd::ReadHandedRun(written);
  if (!again.ok() || vmeventd::WriteHandedRun(*again) != written) std::abort();
  const vmeventd::SessionOptions options;
  const vmeventd::Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  auto session = vmeventd::VmSession::Restore(kSaved, &options, now);
  if (!session.ok()) std::abort();
  session->GoOn(run->session);
  session->OnTick(now);
  session->OnProcessGone(now, {vmeventd::ExitStatus{0, 9}, true});
}
