// A real libvirt's domains over a restart of vmeventd.

#include <csignal>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/machine_probe.h"
#include "tests/support/wait.h"
#include "tests/system/libvirt_test.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

// A service manager has the domains' processes meanwhile.
class LibvirtHandoverTest : public LibvirtTest {
 protected:
  void Begin() {
    DaemonOptions options = LibvirtOptions({libvirtd().uri()});
    std::vector<UniqueFd> stored;
    options.wrapper = manager_.Wrapper(&stored);
    StartDaemonAndStream(options);
  }
  void FollowAll(const std::vector<std::string>& names) {
    Begin();
    for (const std::string& name : names) {
      libvirtd().DefineAndStart({.name = name});
      stream().Wait(name, v1::EVENT_TYPE_STARTED);
      WaitUntil("it runs", [&] { return daemon().GetVm(name).state() == v1::VM_STATE_RUNNING; });
    }
  }
  void End() {
    EndDaemon(SIGTERM);
    WaitUntil("the manager has it", [&] { return manager_.stored() == 1; });
  }
  void EndDomain(const std::string& name, int signal) {
    const pid_t pid = libvirtd().Pid(name);
    kill(pid, signal);
    WaitUntil("it is gone", [pid] { return kill(pid, 0) != 0; });
  }

  FakeServiceManager manager_{dir() / "notify"};
};

TEST_F(LibvirtHandoverTest, ProcessesAreFollowedAcrossAHandover) {
  FollowAll({"crashes", "killed", "stays"});
  End();
  EndDomain("crashes", SIGSEGV);
  EndDomain("killed", SIGKILL);
  Begin();
  daemon().WaitLog("resuming 3 VMs");
  const bool known = WhyNoPidfdExitStatus().empty();
  ExpectEnd(WaitStopped("crashes"), known ? kQemuCrashed : kUnobserved);
  ExpectEnd(WaitStopped("killed"), kUnobserved);
  WaitUntil("the one that stays is listed",
            [&] { return daemon().GetVm("stays").state() == v1::VM_STATE_RUNNING && Connected(); });
  libvirtd().Virsh({"destroy", "stays"});
  ExpectStopped(kHostDestroy, "stays");
  EXPECT_EQ(TypesOf(stream().EventsOf("stays")), "STARTED STOPPED");
}

}  // namespace
}  // namespace vmeventd::e2e
