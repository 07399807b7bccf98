#ifndef VMEVENTD_TESTS_SYSTEM_HOSTILE_HOSTILE_TEST_H_
#define VMEVENTD_TESTS_SYSTEM_HOSTILE_HOSTILE_TEST_H_

#include <string>
#include <vector>

#include "tests/support/fake_qemu.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {

// Whether `text` holds what could drive or deceive a terminal: a control character but the end of
// a line, one that turns the direction of text or cannot be seen, a byte that is not UTF-8.
bool DrivesTerminal(const std::string& text);

// For what means no good and sits beside the VMs.
class HostileTest : public E2eTest {
 protected:
  // Tells the guest's own end, in order, to whoever is connected.
  static const std::string kGuestShutdown;

  // The daemon lives, and tells the start and the end of a VM that has nothing to do with it all.
  void ExpectServes(const std::string& vm_name);

  // Runs vmevents to its end; it must succeed. Returns what it prints.
  std::string Vmevents(const std::vector<std::string>& arguments);
  // What vmevents shows of everything: that of each command drives no terminal, and with -o json
  // each line is an object.
  void ExpectHarmlessOutput(const std::vector<std::string>& vm_names);
  // Each line of the daemon's log is an entry, and no entry drives a terminal.
  void ExpectHarmlessLog(bool json);
};

}  // namespace vmeventd::e2e

#endif  // VMEVENTD_TESTS_SYSTEM_HOSTILE_HOSTILE_TEST_H_
