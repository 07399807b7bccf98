// An end that came while vmeventd was away, and the process that the previous daemon has left to
// the next one.

#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/support/machine_probe.h"
#include "tests/watcher/libvirt/libvirt_process_test.h"
#include "tests/watcher/libvirt/test_domains.h"
#include "tests/watcher/runs/child.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {
namespace {

using testing::SizeIs;

// A daemon that is away as a domain ends.
class LibvirtUnattendedTest : public LibvirtProcessTest {
 protected:
  // A daemon that has followed the domain stops.
  void FollowAndStop() {
    StartWithDomain();
    ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->state() == VmState::kRunning; }));
    watcher_.reset();
  }
  // Ends the domain, and starts the next daemon.
  void EndAndRestart() {
    process_.reset();
    std::filesystem::remove(directory_.Path("qemu/web1.pid"));
    libvirt_->SetActive({});
    Restart();
  }
  void UntilSaved(const std::string& text) {
    ASSERT_TRUE(Until([&] {
      const auto saved = SavedRuns();
      return !saved.empty() && absl::StrContains(saved.begin()->second, text);
    }));
  }
  void ExpectStopped(ShutdownClass shutdown_class, ShutdownCause cause) {
    ASSERT_TRUE(UntilCount(EventType::kStopped));
    EXPECT_EQ(LastStopped().shutdown().shutdown_class(), shutdown_class) << LastStopped().message();
    EXPECT_EQ(LastStopped().shutdown().cause(), cause) << LastStopped().message();
    Step();
    EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
    EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  }
};

TEST_F(LibvirtUnattendedTest, AnUnseenEndIsUnknownAtOnce) {
  FollowAndStop();
  libvirt_->Hang(true);
  EndAndRestart();
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(LibvirtUnattendedTest, EvidenceFromBeforeTheRestartDecides) {
  StartWithDomain();
  libvirt_->Qmp(kDomain, "SHUTDOWN", R"({"guest": false, "reason": "host-qmp-quit"})");
  UntilSaved("host-qmp-quit");
  watcher_.reset();
  EndAndRestart();
  ExpectStopped(ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
}

// libvirt resets a domain that is down, as for `virsh reboot`, and it may have ended otherwise.
TEST_F(LibvirtUnattendedTest, AGuestThatWasDownBeforeMayHaveComeUp) {
  StartWithDomain();
  libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown);
  UntilSaved("guest-shutdown");
  watcher_.reset();
  EndAndRestart();
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(LibvirtUnattendedTest, LibvirtsReportFromBeforeTheRestartDecides) {
  StartWithDomain();
  libvirt_->Stopped(kDomain, ManagerEnd::kSaved, "stopped, saved");
  UntilSaved("stopped, saved");
  watcher_.reset();
  EndAndRestart();
  ExpectStopped(ShutdownClass::kAdmin, ShutdownCause::kHostSave);
}

TEST_F(LibvirtUnattendedTest, ADomainThatBeganAgainIsAnotherRun) {
  FollowAndStop();
  StartProcess();
  libvirt_->SetActive({{{kDomain.name, kDomain.uuid, kDomain.id + 1}, "running"}});
  Restart();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  ASSERT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(LastStopped().shutdown().shutdown_class(), ShutdownClass::kUnknown);
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), process_->pid());
}

// A list that is not the first one decides of the other domain, whose process nobody sees.
TEST_F(LibvirtUnattendedTest, AnEndedLifeThatIsStillListedBeginsNoRun) {
  FollowAndStop();
  process_.reset();
  std::filesystem::remove(directory_.Path("qemu/web1.pid"));
  libvirt_->SetActive({{kDomain, "running"}, {kOther, "running"}});
  Restart();
  ASSERT_TRUE(UntilInTime([&] { return sink_.Latest("other") != nullptr; }));
  ExpectEnd(ShutdownClass::kUnknown);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2) << "that of the other domain";
}

// libvirt may have sent the signal: nothing was received from it yet.
TEST_F(LibvirtUnattendedTest, AKillBeforeTheListIsUnknown) {
  FollowAndStop();
  libvirt_->SetOpenError(absl::UnavailableError("it is away"));
  Restart();
  Step();
  ASSERT_EQ(sink_.Count(EventType::kStopped), 0);
  process_.reset();
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

class LibvirtHandoverTest : public LibvirtUnattendedTest {
 protected:
  void Stop() {
    watcher_->PublishRest();
    handed_ = watcher_->HandOver().value().runs;
    watcher_.reset();
  }
  void FollowAndHandOver() {
    StartWithDomain();
    ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->state() == VmState::kRunning; }));
    Stop();
    ASSERT_THAT(handed_, SizeIs(1));
    EXPECT_FALSE(handed_[0].connection.valid());
  }
  void Resume() {
    previous_.handed = std::move(handed_);
    Restart();
  }
  void EndByAndGoOn(int signal) {
    kill(process_->pid(), signal);
    process_->AwaitEnd();
    process_->Reap();
    std::filesystem::remove(directory_.Path("qemu/web1.pid"));
    libvirt_->SetActive({});
    Resume();
  }
  // Returns whether the exit status of a reaped process can be read.
  static bool HasExitStatus() { return WhyNoPidfdExitStatus().empty(); }
  void ExpectHandedOver() {
    EXPECT_EQ(watcher_->counters().handovers, 1u);
    EXPECT_EQ(watcher_->counters().handovers_refused, 0u);
  }

  std::vector<HandedRun> handed_;
};

TEST_F(LibvirtHandoverTest, ADomainIsStillFollowed) {
  FollowAndHandOver();
  libvirt_->SetActive({{kDomain, "running"}});
  Resume();
  ASSERT_TRUE(UntilConnected());
  Step();
  ExpectHandedOver();
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
  EXPECT_EQ(sink_.Count(EventType::kGap), 0);
  libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown);
  process_.reset();
  libvirt_->SetActive({});
  ReportShutdown();
  ExpectStopped(ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

struct HandedEnd {
  int signal;
  ShutdownClass shutdown_class;
  ShutdownCause cause;
};
class LibvirtHandoverEndTest : public LibvirtHandoverTest,
                               public testing::WithParamInterface<HandedEnd> {};

TEST_P(LibvirtHandoverEndTest, IsDecidedByTheExitStatus) {
  FollowAndHandOver();
  EndByAndGoOn(GetParam().signal);
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  ExpectHandedOver();
  if (HasExitStatus()) ExpectStopped(GetParam().shutdown_class, GetParam().cause);
}

INSTANTIATE_TEST_SUITE_P(
    Signals, LibvirtHandoverEndTest,
    testing::Values(HandedEnd{SIGSEGV, ShutdownClass::kCrash, ShutdownCause::kQemuCrashed},
                    HandedEnd{SIGTERM, ShutdownClass::kAdmin, ShutdownCause::kHostSignal},
                    // Who sent it is not known.
                    HandedEnd{SIGKILL, ShutdownClass::kUnknown, ShutdownCause::kUnobserved}));

TEST_F(LibvirtHandoverTest, AnEndBeforeTheListIsNotAwaited) {
  FollowAndHandOver();
  libvirt_->Hang(true);
  Resume();
  Step();
  process_.reset();
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(LibvirtHandoverTest, AHandedProcessOrConnectionOfAnotherVmIsRefused) {
  StartWithDomain();
  for (const bool process : {true, false}) {
    ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->state() == VmState::kRunning; }));
    Stop();
    ASSERT_THAT(handed_, SizeIs(1));
    if (process) {
      handed_[0].process = Child(Sleep).OpenPidfd();  // it has ended by now
    } else {
      handed_[0].connection = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    }
    libvirt_->SetActive({{kDomain, "running"}});
    Resume();
    ASSERT_TRUE(UntilConnected());
    Step();
    EXPECT_EQ(watcher_->counters().handovers, 0u);
    EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
    EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
    EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
  }
}

}  // namespace
}  // namespace vmeventd
