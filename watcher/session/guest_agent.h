#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/rare.h"
#include "vmeventd/contract/enums.h"
#include "watcher/session/guest_agent_probe.h"

namespace vmeventd {

// The guest agent's channel, as QEMU reported it last. Through an agent, a host can shut the guest
// down without a trace on the monitor. All members are saved, except `other_ports` and
// `asked_about`. Pure.
struct GuestAgent : GuestAgentInfo {
  bool unknown = true;   // QEMU has not reported it yet
  Rare<Instant> opened;  // time at which it was seen open
  Rare<Instant> closed;  // later time at which it was seen closed
  // Ids of further ports for which QEMU was asked again, at most GuestAgentProbe::kMaxPorts; beyond
  // that it is not asked.
  std::vector<std::string> asked_about;

  // Takes over QEMU's answer.
  void Learn(const GuestAgentInfo& info, Instant now);
  // Call it when the guest has opened or closed a virtio-serial port whose device has this id.
  // Returns whether QEMU is to be asked about the agent again: the port may be a new one of the
  // agent's.
  bool SawPort(const std::string& id, bool now_open, Instant now);
  void SawReset();

  // Returns the doubt that the agent raises about a guest's shutdown that is seen at `now`
  // (monotonic clock). An agent that was connected within the last `window` counts, because an
  // agent ends before its guest is down.
  std::optional<ShutdownCaveat> CaveatAt(absl::Duration now, absl::Duration window) const;

 private:
  void SetOpen(bool now_open, Instant now);
};

}  // namespace vmeventd
