// Two lives of a domain, of which one could pass for the other.

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/support/problem_texts.h"
#include "tests/support/test_util.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "tests/watcher/runs/child.h"
#include "watcher/runs/process.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

using testing::Contains;

// A pod: its libvirt's socket is served from a PID namespace of its own, where a QEMU of the domain
// starts when the test says so.
class LibvirtPodProcessTest : public LibvirtSourceTest {
 protected:
  void SetUp() override {
    options_.process_tracking = true;
    ASSERT_EQ(pipe2(orders_, O_CLOEXEC), 0);
    ASSERT_EQ(pipe2(answers_, O_CLOEXEC), 0);
    const std::string path = pod_directory() + "/virtqemud-sock";
    std::filesystem::create_directories(pod_directory());
    options_.libvirts = {ParseLibvirtUri("qemu+unix:///system?socket=" + path).value()};
    pod_ = std::make_unique<Child>([&] {
      close(answers_[0]);
      if (unshare(CLONE_NEWPID) != 0) return 1;
      if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(RunPod(path));
      }
      close(answers_[1]);
      return Sleep();
    });
    close(answers_[1]);
    char byte = 0;
    if (read(answers_[0], &byte, 1) != 1) GTEST_SKIP() << "no PID namespace can be made";
  }
  ~LibvirtPodProcessTest() override {
    libvirt_->Hang(false);
    watcher_.reset();
    for (const int fd : {orders_[0], orders_[1], answers_[0]}) close(fd);
  }

  // An emptyDir, in which no socket's path fits a Unix address.
  std::string pod_directory() const {
    return directory_.Path(
        "pods/6f9619ff-8b86-4d01-b42d-00cf4fc964ff/volumes/kubernetes.io~empty-dir/"
        "libvirt-runtime");
  }

  // Returns once it runs with its arguments.
  void StartQemu() {
    ASSERT_EQ(write(orders_[1], "", 1), 1);
    char byte = 0;
    ASSERT_EQ(read(answers_[0], &byte, 1), 0) << "exec closes the last end";
  }

 private:
  int RunPod(const std::string& path) const {
    char byte = 0;
    if (e2e::ListenUnix(path) < 0 || write(answers_[1], "", 1) != 1) return 1;
    if (read(orders_[0], &byte, 1) != 1) return 1;
    if (fork() == 0) {
      return execl("/bin/sh", "sh", "-c", "while :; do sleep 1; done", "sh", "-uuid",
                   kDomain.uuid.c_str(), nullptr);
    }
    close(answers_[1]);
    return Sleep();
  }

  int orders_[2];
  int answers_[2];
  std::unique_ptr<Child> pod_;
};

TEST_F(LibvirtPodProcessTest, AProcessInAPodIsFound) {
  StartQemu();
  StartWithDomain();
  ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->ref().pid() != 0; }));
}

// Its pid file has a number of the pod's, which nobody has here.
TEST_F(LibvirtPodProcessTest, ADomainThatIsListedFirstIsFollowed) {
  StartQemu();
  std::filesystem::create_directories(pod_directory() + "/qemu");
  std::ofstream(pod_directory() + "/qemu/web1.pid") << "4194304\n";
  FindDomain();
  ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->ref().pid() != 0; }));
}

// libvirt reports the end of the life before when the next one has its process already.
TEST_F(LibvirtPodProcessTest, AProcessThatALookFindsMayBeTheNextLifes) {
  StartConnected();
  libvirt_->Hang(true);
  StartDomain(kOther);
  ASSERT_TRUE(Until([&] { return libvirt_->calls_under_way() == 1; }));
  libvirt_->Started(kDomain);  // the look at its process waits for that call
  Step();
  const uint64_t heard = StartTicksNow();
  ASSERT_TRUE(Until([&] { return StartTicksNow() > heard; }));
  StartQemu();
  libvirt_->Hang(false);
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), 0);
}

// The daemon is back, no descriptor is left for the life that it knows, and libvirt lists the next
// one.
TEST_F(LibvirtProcessTest, ARunWithoutADescriptorDoesNotHideTheNextLifeOfItsId) {
  StartWithDomain();
  options_.max_vm_descriptors = 0;
  libvirt_->Hang(true);
  Restart();
  ASSERT_TRUE(Until([&] {
    return testing::Matches(Contains(kOutOfDescriptorsProblem))(
        ProblemTexts(sink_.Latest("web1")->problems()));
  }));
  // Its process is looked for each 5 s by now.
  for (int retry = 0; retry < 15; ++retry) {
    clock_.Advance(absl::Seconds(5));
    Step();
  }
  StartProcess();
  libvirt_->SetActive({{kDomain, "running"}});
  const int lists = libvirt_->lists();
  libvirt_->Hang(false);
  ASSERT_TRUE(StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); },
                        [&] { return libvirt_->lists() > lists; }));
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
  clock_.Advance(absl::Seconds(5));
  ExpectEnd(ShutdownClass::kUnknown);
  PowerOff();
  ExpectEnd(ShutdownCause::kGuestPoweroff, 2);
}

}  // namespace
}  // namespace vmeventd
