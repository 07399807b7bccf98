#include "watcher/session/guest_agent.h"

#include <utility>

#include "absl/algorithm/container.h"

namespace vmeventd {

void GuestAgent::Learn(const GuestAgentInfo& info, Instant now) {
  unknown = false;
  SetOpen(info.open, now);
  static_cast<GuestAgentInfo&>(*this) = info;
}

bool GuestAgent::SawPort(const std::string& id, bool now_open, Instant now) {
  if (reported && port == id) {
    SetOpen(now_open, now);
    return false;
  }
  // Either it was plugged in since, or it is a console, of which a guest may send any number.
  if (absl::c_linear_search(other_ports, id) || absl::c_linear_search(asked_about, id) ||
      asked_about.size() == GuestAgentProbe::kMaxPorts) {
    return false;
  }
  asked_about.push_back(id);
  return true;
}

void GuestAgent::SawReset() {
  // The guest begins again without its agent; a port that is reported has had an event.
  closed.reset();
  if (!reported) open = false;
}

void GuestAgent::SetOpen(bool now_open, Instant now) {
  const bool was_open = std::exchange(open, now_open);
  if (now_open && !was_open) {
    opened = now;
    closed.reset();
  } else if (!now_open && was_open) {
    closed = now;
  }
}

std::optional<ShutdownCaveat> GuestAgent::CaveatAt(absl::Duration now,
                                                   absl::Duration window) const {
  const bool left_lately = closed.has_value() && now - closed->monotonic <= window;
  if (open || left_lately) return ShutdownCaveat::kGuestAgentConnected;
  if (unknown || (present && !reported)) return ShutdownCaveat::kGuestAgentPossible;
  return std::nullopt;
}

}  // namespace vmeventd
