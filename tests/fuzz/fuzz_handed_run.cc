// A run that was handed over by arbitrary bytes is refused, or it is written as it is read, holds
// no more than may wait, and a saved run goes on with it.

#include <cstdlib>

#include "vmeventd/internal/run_state.pb.h"
#include "watcher/runs/handed_run.h"
#include "watcher/session/vm_session.h"

namespace {

std::string SavedRun() {
  vmeventd::internal::RunState state;
  state.set_format(2);
  state.mutable_run()->set_name("web1");
  state.mutable_run()->set_run_id("boot-1-2-3");
  state.mutable_run()->set_monitor_path("/run/web1.kvmd");
  state.set_monitor(4);  // unseen
  for (const auto set : {&vmeventd::internal::RunState::set_state,
                         &vmeventd::internal::RunState::set_published_state,
                         &vmeventd::internal::RunState::set_state_before_loss}) {
    (state.*set)(1);
  }
  return state.SerializeAsString();
}

}  // namespace

void Fuzz_handed_run(absl::string_view input) {
  using vmeventd::HandedMonitor;
  const auto run = vmeventd::ReadHandedRun(input);
  if (!run.ok()) return;
  if (run->monitor.unhandled.size() > HandedMonitor::kMaxUnhandled) std::abort();
  const std::string written = vmeventd::WriteHandedRun(*run);
  const auto again = vmeventd::ReadHandedRun(written);
  if (!again.ok() || vmeventd::WriteHandedRun(*again) != written) std::abort();
  const vmeventd::SessionOptions options;
  const vmeventd::Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  auto session = vmeventd::VmSession::Restore(SavedRun(), &options, now);
  if (!session.ok()) std::abort();
  session->GoOn(run->session);
  session->On(vmeventd::input::Tick{}, now);
  session->On(vmeventd::input::ProcessGone{{vmeventd::ExitStatus{0, 9}, true}}, now);
}
