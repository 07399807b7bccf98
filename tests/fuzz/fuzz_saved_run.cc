// A run restored from arbitrary journal data is refused, or it continues and ends, and what it
// saves is restored unchanged.

#include <cstdlib>

#include "watcher/session/vm_session.h"

void Fuzz_saved_run(absl::string_view input) {
  using vmeventd::VmSession;
  const vmeventd::SessionOptions options;
  const vmeventd::Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  auto run = VmSession::Restore(input, &options, now);
  if (!run.ok()) return;
  const std::string saved = run->Save();
  auto again = VmSession::Restore(saved, &options, now);
  if (!again.ok() || again->Save() != saved) std::abort();
  run->On(vmeventd::input::Tick{}, now);
  run->On(vmeventd::input::MonitorReady{{"7.2.0", "running", "", ""}}, now);
  run->On(vmeventd::input::ProcessGone{{vmeventd::ExitStatus{0, 9}, true}}, now);
  again->On(vmeventd::input::HostRebooted{}, now);
}
