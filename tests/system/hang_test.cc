// A watched or a listening directory, or the files of TLS, in a file system that does not answer:
// FUSE, whose server is stopped.

#include <sys/mount.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/child_process.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/is_serving.h"
#include "tests/support/machine_probe.h"
#include "tests/support/programs.h"
#include "tests/support/test_certificates.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vm_end.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;

constexpr char kPowerOff[] =
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"SHUTDOWN\", \"data\": "
    "{\"guest\": true, \"reason\": \"guest-shutdown\"}}\r\n";

// The directory "mount", by bindfs. Hangs, from Hang() to Answer(), for everybody who looks into
// it.
class FuseMount {
 public:
  explicit FuseMount(const TemporaryDirectory& directory) : path_(directory / "mount") {
    std::filesystem::create_directory(path_);
    std::filesystem::create_directory(directory / "behind");
    server_ = std::make_unique<ChildProcess>(ChildOptions{
        .arguments = {"bindfs", "-f", "-o", "attr_timeout=0,entry_timeout=0,negative_timeout=0",
                      directory / "behind", path_}});
    WaitUntil("it is mounted", [&] {
      return absl::StrContains(ReadFile("/proc/self/mounts"), absl::StrCat(" ", path_, " "));
    });
  }
  ~FuseMount() {
    Answer();
    umount2(path_.c_str(), MNT_DETACH);
    server_->Signal(SIGKILL);
  }
  FuseMount(const FuseMount&) = delete;
  FuseMount& operator=(const FuseMount&) = delete;

  const std::string& path() const { return path_; }
  void Hang() { server_->Signal(SIGSTOP); }
  void Answer() { server_->Signal(SIGCONT); }

 private:
  const std::string path_;
  std::unique_ptr<ChildProcess> server_;
};

// Its parameter: the watched directory below the mount.
class HangTest : public E2eTest, public testing::WithParamInterface<std::string> {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoFuse(); !why.empty()) GTEST_SKIP() << why;
    mount_ = std::make_unique<FuseMount>(dir());
    directory_ = mount_->path() + GetParam();
    std::filesystem::create_directories(directory_);
  }
  void Start() { Start(Options({"--watch", directory_ + ":*.kvmd"})); }
  // The directory of a second socket on which it listens, in addition to the test's own.
  void StartListening() { Start(Options({"--listen", "unix:" + directory_ + "/run/s.sock"})); }
  void Start(DaemonOptions options) {
    options.wrapper = {"env", absl::StrCat("NOTIFY_SOCKET=", dir() / "notify"),
                       "WATCHDOG_USEC=3000000"};
    StartDaemonAndStream(options);
  }
  v1::WatchedDirectory Directory() { return daemon().GetServerInfo().directories(1); }
  std::string Problem() { return Directory().problem().text(); }
  bool IsServing(const std::string& service) { return e2e::IsServing(daemon().channel(), service); }
  void WaitState(const std::string& vm, v1::VmState state) {
    WaitUntil(vm + " is in that state", [&] { return daemon().GetVm(vm).state() == state; });
  }

  void WaitNewClientIsServed() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto channel = grpc::CreateCustomChannel(daemon().server_address(),
                                                   grpc::InsecureChannelCredentials(), arguments);
    WaitUntil("a new client is served", [&] { return e2e::IsServing(channel); });
  }

  FakeServiceManager manager_{dir() / "notify"};
  std::unique_ptr<FuseMount> mount_;
  std::string directory_;
};

INSTANTIATE_TEST_SUITE_P(, HangTest, testing::Values("", "/above/watched"),
                         [](const auto& test) { return test.param.empty() ? "Mount" : "Above"; });

TEST_P(HangTest, AHangingDirectoryAffectsNoOther) {
  FakeQemu hung(TestProgramPath("fake_qemu"));
  FakeQemu other(TestProgramPath("fake_qemu"));
  hung.AddMonitor(directory_ + "/hung1.kvmd");
  const int monitor = other.AddMonitor(watch_dir() + "/vm1.kvmd");
  Start();
  WaitFollowed("hung1");
  WaitFollowed("vm1");
  mount_->Hang();
  WaitUntil("the directory has the problem",
            [&] { return Directory().problem().code() == v1::PROBLEM_CODE_DIRECTORY_HANGS; });
  EXPECT_FALSE(Directory().present());
  WaitState("hung1", v1::VM_STATE_UNREACHABLE);
  EXPECT_FALSE(IsServing("watch"));
  EXPECT_TRUE(IsServing(""));
  EXPECT_TRUE(IsServing("sources"));
  const int notified = manager_.Count("WATCHDOG=1");
  WaitUntil("the watchdog is notified",
            [&] { return manager_.Count("WATCHDOG=1") > notified + 1; });

  EXPECT_EQ(daemon().GetVm("vm1").state(), v1::VM_STATE_RUNNING);
  other.Send(monitor, kPowerOff);
  other.Exit();
  ExpectStopped(kGuestPoweroff);
  EXPECT_TRUE(FileAtStop("vm1"));
  FakeQemu later(TestProgramPath("fake_qemu"));
  later.AddMonitor(watch_dir() + "/vm2.kvmd");
  WaitFollowed("vm2");
  // The end of a VM whose directory hangs is seen, too.
  hung.Kill(SIGKILL);
  WaitStopped("hung1");

  mount_->Answer();
  WaitUntil("it is there again", [&] { return Directory().present(); });
  EXPECT_EQ(Problem(), "");
  WaitUntil("health is as before", [&] { return IsServing("watch"); });
  FakeQemu next(TestProgramPath("fake_qemu"));
  next.AddMonitor(directory_ + "/hung2.kvmd");
  WaitFollowed("hung2");
}

TEST_P(HangTest, ADirectoryThatHangsAtTheStartDelaysNoOther) {
  FakeQemu hung(TestProgramPath("fake_qemu"));
  FakeQemu other(TestProgramPath("fake_qemu"));
  hung.AddMonitor(directory_ + "/hung1.kvmd");
  other.AddMonitor(watch_dir() + "/vm1.kvmd");
  mount_->Hang();
  Start();
  WaitFollowed("vm1");
  EXPECT_THAT(Problem(), HasSubstr("has not answered"));
  mount_->Answer();
  WaitFollowed("hung1");
}

TEST_P(HangTest, AHangingListenSocketAffectsNoOther) {
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  qemu.AddMonitor(watch_dir() + "/vm1.kvmd");
  StartListening();
  WaitFollowed("vm1");
  ASSERT_TRUE(daemon().GetServerInfo().listeners(1).listening());
  mount_->Hang();
  daemon().WaitLog("does not answer, so new clients may fail to connect");
  WaitNewClientIsServed();
  const int notified = manager_.Count("WATCHDOG=1");
  WaitUntil("the watchdog is notified",
            [&] { return manager_.Count("WATCHDOG=1") > notified + 1; });
  mount_->Answer();
  qemu.Kill(SIGKILL);
  WaitStopped("vm1");
}

TEST_P(HangTest, AListenSocketThatHangsAtTheStartDoesNotStopWatching) {
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  qemu.AddMonitor(watch_dir() + "/vm1.kvmd");
  mount_->Hang();
  StartListening();
  WaitFollowed("vm1");
  EXPECT_FALSE(daemon().GetServerInfo().listeners(1).listening());
  WaitNewClientIsServed();
  mount_->Answer();
  WaitUntil("it listens there as well",
            [&] { return daemon().GetServerInfo().listeners(1).listening(); });
}

TEST_P(HangTest, ACertificateFileThatHangsLeavesThePreviousOneInUse) {
  const auto authority = MakeCertificateAuthority(directory_);
  const CertificateFiles server = authority->Issue(ServerCertificate());
  const std::string trusted = dir() / "trusted.pem";
  std::filesystem::copy_file(authority->certificate(), trusted);
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  qemu.AddMonitor(watch_dir() + "/vm1.kvmd");
  Start(Options(
      {"--listen", "127.0.0.1:0", "--tls-cert", server.certificate, "--tls-key", server.key}));
  WaitFollowed("vm1");
  const std::string address = LoopbackAddress();
  mount_->Hang();
  const auto health = [&] {
    return RunCommand({.arguments = VmeventsCommand(address, {"--tls-ca", trusted, "health"})});
  };
  WaitUntil("the log names the hang", [&] {
    EXPECT_EQ(health().exit_code, 0);
    return absl::StrContains(daemon().Log(),
                             "does not answer; the previous certificate stays in use");
  });
  daemon().Signal(SIGHUP);
  const int notified = manager_.Count("WATCHDOG=1");
  WaitUntil("the watchdog is notified",
            [&] { return manager_.Count("WATCHDOG=1") > notified + 1; });
  mount_->Answer();
  CertificateOptions second = ServerCertificate();
  second.common_name = "second";
  ReplaceCertificate(authority->Issue(second), server);
  WaitUntil("the second certificate is in use", [&] {
    daemon().Signal(SIGHUP);
    return absl::StrContains(daemon().Log(), "CN=second");
  });
}

}  // namespace
}  // namespace vmeventd::e2e
