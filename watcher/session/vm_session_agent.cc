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
  if (saved_.agent.reported && saved_.agent.port == port) return SetAgentOpen(*open, now);
  // Either it was plugged in since, or it is a console, of which a guest may send any number.
  if (absl::c_linear_search(other_ports_, port)) return;
  if (absl::c_linear_search(asked_about_, port)) return;
  constexpr ptrdiff_t kMaxPorts = GuestAgentProbe::kMaxPorts;
  if (absl::c_distance(asked_about_) == kMaxPorts) return;
  asked_about_.push_front(port);
  effects_.push_back(QueryGuestAgent{});
}

void VmSession::Handle(const input::AgentAnswer& input, Instant now) {
  saved_.agent.unknown = false;
  saved_.agent.present = input.info.present;
  saved_.agent.reported = input.info.reported;
  saved_.agent.port = input.info.port;
  other_ports_.assign(input.info.other_ports.begin(), input.info.other_ports.end());
  SetAgentOpen(input.info.open, now);
  if (!std::exchange(attached_, true) && started_) PublishStatus();
}

void VmSession::SetAgentOpen(bool open, Instant now) {
  const bool was_open = std::exchange(saved_.agent.open, open);
  if (open && !was_open) {
    saved_.agent.opened = now;
    saved_.agent.closed.reset();
  } else if (!open && was_open) {
    saved_.agent.closed = now;
  }
}

// A host that asks the agent leaves no trace, and the agent is gone before its guest is down: so
// one counts that was there as late as a press of the power button would.
std::optional<ShutdownCaveat> VmSession::AgentCaveat(absl::Duration now) const {
  if (saved_.agent.open) return ShutdownCaveat::kGuestAgentConnected;
  if (saved_.agent.closed.has_value() &&
      now - saved_.agent.closed->monotonic <= options_->powerdown_window) {
    return ShutdownCaveat::kGuestAgentConnected;
  }
  if (saved_.agent.unknown || (saved_.agent.present && !saved_.agent.reported)) {
    return ShutdownCaveat::kGuestAgentPossible;
  }
  return std::nullopt;
}

void VmSession::Describe(ShutdownCaveat caveat, ShutdownDetail* detail) const {
  if (caveat == ShutdownCaveat::kHostShuttingDown) return;  // the timeline has it
  if (caveat == ShutdownCaveat::kPowerdownEarlier) {
    detail->evidence.push_back(
        {saved_.state_time,
         absl::StrCat("the power button was pressed ",
                      absl::FormatDuration(absl::Trunc(*detail->powerdown_age, absl::Seconds(1))),
                      " before the SHUTDOWN, which is longer than --powerdown-window: "
                      "the guest may have obeyed late")});
    return;
  }
  if (caveat == ShutdownCaveat::kGuestAgentPossible) {
    const char* const why =
        saved_.agent.unknown
            ? "vmeventd had not learned yet whether a guest agent is connected"
            : "the VM has a guest agent's port whose device has no id: QEMU does not "
              "report whether an agent is connected";
    InsertByTime({saved_.attached_at.wall, why}, &detail->evidence);
    return;
  }
  if (saved_.agent.opened.has_value()) {
    InsertByTime({saved_.agent.opened->wall,
                  "guest agent connected: the host can ask it for a shutdown, which leaves no "
                  "trace on the monitor"},
                 &detail->evidence);
  }
  if (saved_.agent.closed.has_value()) {
    InsertByTime({saved_.agent.closed->wall, "guest agent disconnected"}, &detail->evidence);
  }
}

}  // namespace vmeventd
