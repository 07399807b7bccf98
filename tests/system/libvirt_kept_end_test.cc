// Ends of a real libvirt's domains while vmeventd is away: what libvirt has kept of them.

#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/machine_probe.h"
#include "tests/support/wait.h"
#include "tests/system/libvirt_test.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;

class LibvirtKeptEndTest : public LibvirtTest {
 protected:
  // Beside its libvirtd, so that the logs of that are where a vmeventd looks for them.
  DaemonOptions OptionsBeside() {
    DaemonOptions options = LibvirtOptions({libvirtd().uri()});
    options.wrapper = {"nsenter", absl::StrCat("--mount=/proc/", libvirtd().pid(), "/ns/mnt")};
    return options;
  }
  void FollowBeside() { StartDaemonAndStream(OptionsBeside()); }
  // Follows a domain, has it end while vmeventd is away, and returns its STOPPED.
  v1::Event EndUnseen(const DomainOptions& domain, const std::function<void(Libvirtd&)>& end) {
    FollowBeside();
    libvirtd().DefineAndStart(domain);
    stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
    WaitUntil("it runs", [&] { return daemon().GetVm("vm1").state() == v1::VM_STATE_RUNNING; });
    StopDaemon();
    end(libvirtd());
    WaitUntil("libvirt has seen that it is gone", [&] {
      return libvirtd().TryVirsh({"domstate", "vm1"}).output.find("shut off") != std::string::npos;
    });
    FollowBeside();
    v1::Event stopped = WaitStopped();
    ExpectOneStopped();
    return stopped;
  }
};

struct UnseenEnding {
  std::string name;
  VmEnd end;
  std::string evidence;
  std::function<void(Libvirtd&)> act;
  DomainOptions domain{};
};

std::vector<UnseenEnding> UnseenEndings() {
  const auto kill_qemu = [](int signal) {
    return [signal](Libvirtd& libvirtd) { kill(libvirtd.Pid("vm1"), signal); };
  };
  const auto virsh = [](const std::string& command) {
    return [command](Libvirtd& libvirtd) { libvirtd.Virsh({command, "vm1"}); };
  };
  const auto type = [](const std::string& line) {
    return [line](Libvirtd& libvirtd) { libvirtd.Type("vm1", line); };
  };
  constexpr VmEnd kUnseenCrash = {v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_UNOBSERVED};
  return {
      {"Destroy", kHostDestroy, "destroyed", virsh("destroy")},
      {"Save", kHostSave, "saved", virsh("managedsave")},
      {"Sigkill", kUnseenCrash, "crashed", kill_qemu(SIGKILL)},
      {"Segfault", kUnseenCrash, "crashed", kill_qemu(SIGSEGV)},
      {"Panic", kUnseenCrash, "crashed", type("echo c > /proc/sysrq-trigger"), LinuxGuest()},
      {"Sigterm", kUnobserved, "shutdown", kill_qemu(SIGTERM)},
      {"GuestPoweroff", kUnobserved, "shutdown", type("poweroff -f"), LinuxGuest()},
      {"DestroyThenRestartOfLibvirt", kUnobserved, "unknown",
       [](Libvirtd& libvirtd) {
         libvirtd.Virsh({"destroy", "vm1"});
         libvirtd.Stop(SIGTERM);
         libvirtd.Start();
       }},
      // It takes what it does not find any more for a crash.
      {"SigtermWhileLibvirtIsAwayToo", kUnobserved,
       "crashed, by a libvirt that may have been restarted meanwhile",
       [](Libvirtd& libvirtd) {
         libvirtd.Stop(SIGKILL);
         const pid_t pid = libvirtd.Pid("vm1");
         kill(pid, SIGTERM);
         WaitUntil("it is gone", [pid] { return kill(pid, 0) != 0; });
         libvirtd.Start();
       }},
      {"DestroyOfALaterLife", kUnobserved,
       "destroyed, of this or of a later life of the domain, as its log does not say",
       [](Libvirtd& libvirtd) {
         kill(libvirtd.Pid("vm1"), SIGKILL);
         WaitUntil("libvirt starts it again", [&] {
           return libvirtd.TryVirsh({"start", "vm1"}).exit_code == 0;
         });
         libvirtd.Virsh({"destroy", "vm1"});
       }},
  };
}

class LibvirtKeptEndEndingTest : public LibvirtKeptEndTest,
                                 public testing::WithParamInterface<UnseenEnding> {};

INSTANTIATE_TEST_SUITE_P(Of, LibvirtKeptEndEndingTest, testing::ValuesIn(UnseenEndings()), kByName);

TEST_P(LibvirtKeptEndEndingTest, IsWhatLibvirtHasKept) {
  const UnseenEnding& ending = GetParam();
  const v1::Event stopped = EndUnseen(ending.domain, ending.act);
  ExpectEnd(stopped, ending.end);
  EXPECT_THAT(EvidenceOf(stopped),
              Contains(absl::StrCat("libvirt, asked afterwards: shut off, ", ending.evidence)))
      << stopped.message();
}

// A service manager keeps the domains' processes.
class LibvirtHandoverTest : public LibvirtKeptEndTest {
 protected:
  void Begin() {
    DaemonOptions options = OptionsBeside();
    std::vector<UniqueFd> stored;
    const std::vector<std::string> managed = manager_.Wrapper(&stored);
    options.wrapper.insert(options.wrapper.end(), managed.begin(), managed.end());
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

TEST_F(LibvirtHandoverTest, ProcessesAreFollowedOn) {
  FollowAll({"crashes", "killed", "stays"});
  End();
  EndDomain("crashes", SIGSEGV);
  EndDomain("killed", SIGKILL);
  Begin();
  daemon().WaitLog("resuming 3 VMs");
  const bool known = WhyNoPidfdExitStatus().empty();
  const v1::Event crash = WaitStopped("crashes");
  if (known) ExpectEnd(crash, kQemuCrashed);
  const v1::Event killed = WaitStopped("killed");
  EXPECT_EQ(killed.shutdown().rule(), known ? "killed-unseen" : "manager-kept-crash");
  WaitUntil("the one that stays is listed",
            [&] { return daemon().GetVm("stays").state() == v1::VM_STATE_RUNNING && Connected(); });
  libvirtd().Virsh({"destroy", "stays"});
  ExpectStopped(kHostDestroy, "stays");
  EXPECT_EQ(TypesOf(stream().EventsOf("stays")), "STARTED STOPPED");
}

}  // namespace
}  // namespace vmeventd::e2e
