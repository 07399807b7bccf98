#pragma once

#include <memory>
#include <string>

#include "tests/support/child_process.h"

namespace vmeventd::e2e {

struct KvmdOptions {
  std::string directory;  // watched directory; made if it is missing
  std::string root;       // root of its configuration and its logs
  bool debug = false;     // logs each message of a monitor
  std::string log_file;   // file of its output; empty: the process's, for ReadUntil
};

// Names what this machine lacks to run the real ganeti-kvmd, for people; empty: nothing.
std::string WhatKvmdLacks();
// The real ganeti-kvmd. It may not have read the directory yet.
std::unique_ptr<ChildProcess> StartKvmd(const KvmdOptions& options);

}  // namespace vmeventd::e2e
