#pragma once

#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {

// A session whose VM runs, and whose monitor is attached.
struct RunningVm : SessionDriver {
  explicit RunningVm(SessionOptions options = {}, bool process_tracked = true,
                     bool has_shutdown_file = true)
      : SessionDriver(std::move(options), process_tracked, has_shutdown_file) {
    Ready();
  }
};

// Tests of such a VM.
class RunningVmTest : public testing::Test {
 protected:
  RunningVm vm_;
};

}  // namespace vmeventd
