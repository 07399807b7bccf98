#pragma once

#include <memory>
#include <string>

#include "tests/support/child_process.h"

namespace vmeventd::e2e {

struct KvmdOptions {
  std::string directory;  // that it watches; made if it is missing
  std::string root;       // for its configuration and its logs
  bool debug = false;     // it logs each message of a monitor
  std::string log_file;   // for its output; empty: the process's, for ReadUntil
};

// What this machine lacks to run the real ganeti-kvmd, for people; empty: nothing.
std::string WhatKvmdLacks();
// The real ganeti-kvmd. It may not have read the directory yet.
std::unique_ptr<ChildProcess> StartKvmd(const KvmdOptions& options);

}  // namespace vmeventd::e2e
