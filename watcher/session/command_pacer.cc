#include "watcher/session/command_pacer.h"

#include <utility>

namespace vmeventd {

bool CommandPacer::OnReply(absl::Duration now) {
  if (!std::exchange(outstanding_, false)) return false;
  quiet_until_ = now + kQuietTime;
  return true;
}

void CommandPacer::OnEvent(absl::string_view name, absl::Duration now) {
  if (name == "SHUTDOWN") {
    ending_ = true;
  } else if (name == "RESET" || name == "RESUME") {
    ending_ = false;
  } else if (name == "STOP" || name == "MIGRATION" || name == "VSERPORT_CHANGE") {
    quiet_until_ = now + kQuietTime;
  }
}

}  // namespace vmeventd
