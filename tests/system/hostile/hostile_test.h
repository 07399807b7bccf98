#pragma once

#include <string>
#include <vector>

#include "tests/support/fake_qemu.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {

// A fixture for hostile neighbours of the VMs.
class HostileTest : public E2eTest {
 protected:
  // The SHUTDOWN of an orderly guest shutdown.
  static const std::string kGuestShutdown;

  // Expects that the daemon still publishes the start and the end of an unrelated VM.
  void ExpectServes(const std::string& vm_name);

  // Runs vmevents, which must succeed. Returns its output.
  std::string Vmevents(const std::vector<std::string>& arguments);
  // Expects that no output of vmevents controls a terminal, and that with -o json each line is an
  // object.
  void ExpectHarmlessOutput(const std::vector<std::string>& vm_names);
  // Expects that each line of the daemon's log is an entry, and that none controls a terminal.
  void ExpectHarmlessLog(bool json);
};

}  // namespace vmeventd::e2e
