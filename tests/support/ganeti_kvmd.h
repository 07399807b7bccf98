#pragma once

#include <memory>
#include <string>

#include "tests/support/child_process.h"

namespace vmeventd::e2e {

struct KvmdOptions {
  std::string directory;  // watched directory; created if it is missing
  std::string root;       // root directory of its configuration and logs
  bool debug = false;     // logs each message of a monitor
  std::string log_file;  // file for its output; empty: its output goes to ChildProcess::ReadUntil()
};

// Returns, for people, what this machine lacks to run the real ganeti-kvmd; empty: nothing.
std::string WhatKvmdLacks();
// Starts the real ganeti-kvmd. When this returns, it may not have read the directory yet.
std::unique_ptr<ChildProcess> StartKvmd(const KvmdOptions& options);

}  // namespace vmeventd::e2e
