// The guest agent, by which a host can shut a guest down without a trace on the monitor.

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// The guest has opened or closed a virtio-serial port whose device has an id.
void VmSession::OnPortChange(const QmpEvent& event, Instant now) {
  const std::string port = QmpText(event.data, "id");
  const std::optional<bool> open = QmpBool(event.data, "open");
  if (port.empty() || !open.has_value()) return;
  if (agent_.reported && agent_.port == port) return SetAgentOpen(*open, now);
  // Either it was plugged in since, or it is a console, of which a guest may send any number.
  if (absl::c_linear_search(agent_.other_ports, port)) return;
  if (absl::c_linear_search(agent_.asked_about, port)) return;
  constexpr ptrdiff_t kMaxPorts = GuestAgentProbe::kMaxPorts;
  if (absl::c_distance(agent_.asked_about) == kMaxPorts) return;
  agent_.asked_about.push_front(port);
  effects_.push_back(QueryGuestAgent{});
}

Effects VmSession::OnGuestAgent(const GuestAgentInfo& info, Instant now) {
  return Step(now, [&] {
    agent_.unknown = false;
    agent_.present = info.present;
    agent_.reported = info.reported;
    agent_.port = info.port;
    agent_.other_ports.assign(info.other_ports.begin(), info.other_ports.end());
    SetAgentOpen(info.open, now);
    if (!std::exchange(attached_, true) && started_) PublishStatus();
  });
}

void VmSession::SetAgentOpen(bool open, Instant now) {
  const bool was_open = std::exchange(agent_.open, open);
  if (open && !was_open) {
    agent_.opened = now;
    agent_.closed.reset();
  } else if (!open && was_open) {
    agent_.closed = now;
  }
}

// A host that asks the agent leaves no trace, and the agent is gone before its guest is down: so
// one counts that was there as late as a press of the power button would.
std::optional<ShutdownCaveat> VmSession::AgentCaveat(absl::Duration now) const {
  if (agent_.open) return ShutdownCaveat::kGuestAgentConnected;
  if (agent_.closed.has_value() && now - agent_.closed->monotonic <= options_->powerdown_window) {
    return ShutdownCaveat::kGuestAgentConnected;
  }
  if (agent_.unknown || (agent_.present && !agent_.reported)) {
    return ShutdownCaveat::kGuestAgentPossible;
  }
  return std::nullopt;
}

void VmSession::Describe(ShutdownCaveat caveat, ShutdownDetail* detail) const {
  if (caveat == ShutdownCaveat::kHostShuttingDown) return;  // the timeline has it
  if (caveat == ShutdownCaveat::kPowerdownEarlier) {
    detail->evidence.push_back(
        {state_time_,
         absl::StrCat("the power button was pressed ",
                      absl::FormatDuration(absl::Trunc(*detail->powerdown_age, absl::Seconds(1))),
                      " before the SHUTDOWN, which is longer than --powerdown-window: "
                      "the guest may have obeyed late")});
    return;
  }
  if (caveat == ShutdownCaveat::kGuestAgentPossible) {
    const char* const why =
        agent_.unknown ? "vmeventd had not learned yet whether a guest agent is connected"
                       : "the VM has a guest agent's port whose device has no id: QEMU does not "
                         "report whether an agent is connected";
    InsertByTime({attached_at_.wall, why}, &detail->evidence);
    return;
  }
  if (agent_.opened.has_value()) {
    InsertByTime({agent_.opened->wall,
                  "guest agent connected: the host can ask it for a shutdown, which leaves no "
                  "trace on the monitor"},
                 &detail->evidence);
  }
  if (agent_.closed.has_value()) {
    InsertByTime({agent_.closed->wall, "guest agent disconnected"}, &detail->evidence);
  }
}

}  // namespace vmeventd
