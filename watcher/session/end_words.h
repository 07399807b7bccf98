#pragma once

#include <string>

#include "watcher/core/process_end.h"
#include "watcher/core/signal_sender.h"

// An end in words, for people. Pure.

namespace vmeventd {

// "exit code 1", "exit signal 9 (SIGKILL)".
std::string DescribeExit(const ExitStatus& status);

// "virtqemud (pid 812, uid 0, /system.slice/virtqemud.service)".
std::string DescribeSender(const SignalSender& sender);

}  // namespace vmeventd
