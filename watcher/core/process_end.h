#pragma once

#include <optional>
#include <string>

// The end of a process.

namespace vmeventd {

// Exit status of a process, as the kernel reports it.
struct ExitStatus {
  int code = 0;    // valid if signal is 0
  int signal = 0;  // the signal that ended it; 0: none
  bool core_dumped = false;
};

// The kernel's report of a process that is gone.
struct ProcessEnd {
  std::optional<ExitStatus> status;  // unset: not known
  bool oom_killed = false;           // its cgroup counts an OOM kill that is attributed to it
  // The reason why the sender of its SIGKILL or SIGQUIT is unknown; does not count if a SignalSent
  // named the sender.
  std::string sender_unknown = {};
  bool unseen = false;              // it ended while vmeventd was restarted
  bool late = false;                // it had ended when vmeventd looked for it
  std::string status_unknown = {};  // reason why `status` is unset; empty: no reason is known
};

}  // namespace vmeventd
