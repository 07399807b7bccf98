// A run restored from arbitrary journal data is refused, or it continues and ends, and what it
// saves is restored unchanged.

#include <cstdint>
#include <cstdlib>

#include "watcher/session/vm_session.h"

extern "C" int Fuzz_saved_run(const uint8_t* data, size_t size) {
  using vmeventd::VmSession;
  const vmeventd::SessionOptions options;
  const vmeventd::Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  auto run = VmSession::Restore({reinterpret_cast<const char*>(data), size}, &options, now);
  if (!run.ok()) return 0;
  const std::string saved = run->Save();
  auto again = VmSession::Restore(saved, &options, now);
  if (!again.ok() || again->Save() != saved) std::abort();
  run->OnTick(now);
  run->OnMonitorReady({"7.2.0", "running", "", ""}, now);
  run->OnProcessGone(now, {vmeventd::ExitStatus{0, 9}, true});
  again->OnHostRebooted(now);
  return 0;
}
