#pragma once

namespace vmeventd {

// A question of a session to its QEMU.
enum class Question {
  kRunState,    // query-status; the answer is input::StateAnswer
  kGuestAgent,  // the commands of a GuestAgentProbe; the answer is input::AgentAnswer
};

}  // namespace vmeventd
