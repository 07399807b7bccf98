// A real libvirtd and its domains, followed through libvirt alone.

#include "tests/system/libvirt_test.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <regex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/fail.h"
#include "tests/support/files.h"
#include "tests/support/libvirt/libvirtd.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"
#include "tests/system/test_names.h"
#include "tests/system/vm_end.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::HasSubstr;

// An end of a domain: its cause, and the report of it that is expected.
struct Ending {
  std::string name;
  VmEnd end;
  std::function<void(Libvirtd&)> act;
  std::string evidence{};  // text that the evidence must contain
  DomainOptions domain{};
};

DomainOptions PanickingGuest(const std::string& on_crash) {
  return {.linux_guest = true, .on_crash = on_crash};
}

void Panic(Libvirtd& libvirtd) { libvirtd.Type("vm1", "echo c > /proc/sysrq-trigger"); }

std::vector<Ending> Endings() {
  const auto virsh = [](const std::vector<std::string>& arguments) {
    return [arguments](Libvirtd& libvirtd) { libvirtd.Virsh(arguments); };
  };
  const auto kill_qemu = [](int signal) {
    return [signal](Libvirtd& libvirtd) { kill(libvirtd.Pid("vm1"), signal); };
  };
  const auto type = [](const std::string& line) {
    return [line](Libvirtd& libvirtd) { libvirtd.Type("vm1", line); };
  };
  const DomainOptions reboot = {.linux_guest = true, .on_reboot = "destroy"};
  const DomainOptions restart = {.linux_guest = true, .on_poweroff = "restart"};
  return {
      {"GuestPoweroff", kGuestPoweroff, type("poweroff -f"), "libvirt: stopped, shutdown",
       LinuxGuest()},
      {"VirshShutdown", kHostPowerdown, virsh({"shutdown", "vm1", "--mode", "acpi"}), "POWERDOWN",
       LinuxGuest()},
      {"VirshDestroy", kHostDestroy, virsh({"destroy", "vm1"}), "libvirt: stopped, destroyed"},
      {"VirshDestroyOfAQemuThatHangs", kHostDestroy,
       [](Libvirtd& libvirtd) {
         kill(libvirtd.Pid("vm1"), SIGSTOP);
         libvirtd.Virsh({"destroy", "vm1"});
       },
       "libvirt: stopped, destroyed"},
      {"Sigterm", kHostSignal, kill_qemu(SIGTERM)},
      {"Sigkill", kUnobserved, kill_qemu(SIGKILL), "libvirt: stopped, failed"},
      {"Segfault", kQemuCrashed, kill_qemu(SIGSEGV)},
      {"Save", kHostSave,
       [](Libvirtd& libvirtd) {
         libvirtd.Virsh({"save", "vm1", libvirtd.directory() + "/vm1.save"});
       },
       "libvirt: stopped, saved"},
      {"ManagedSave", kHostSave, virsh({"managedsave", "vm1"})},
      {"DumpThatCrashes", kUnobserved,
       [](Libvirtd& libvirtd) {
         libvirtd.Virsh(
             {"dump", "vm1", libvirtd.directory() + "/vm1.dump", "--crash", "--memory-only"});
       },
       "libvirt: stopped, crashed"},
      {"PanicDestroy", kGuestPanic, Panic, "libvirt: stopped, crashed", PanickingGuest("destroy")},
      {"PanicPreserveThenDestroy", kGuestPanic,
       [](Libvirtd& libvirtd) {
         Panic(libvirtd);
         WaitUntil("libvirt says that it crashed", [&] {
           return libvirtd.Virsh({"domstate", "vm1"}).find("crashed") != std::string::npos;
         });
         libvirtd.Virsh({"destroy", "vm1"});
       },
       "GUEST_PANICKED action=pause", PanickingGuest("preserve")},
      {"PanicRestartThenDestroy", kHostDestroy,
       [](Libvirtd& libvirtd) {
         const pid_t before = libvirtd.Pid("vm1");
         Panic(libvirtd);
         WaitUntil("the guest begins again", [&] {
           return libvirtd.Pid("vm1") == before &&
                  libvirtd.Virsh({"domstate", "vm1", "--reason"}).find("running (crashed)") !=
                      std::string::npos;
         });
         libvirtd.Virsh({"destroy", "vm1"});
       },
       "", PanickingGuest("restart")},
      {"GuestRebootWhereThatDestroys", kGuestRebootExit, type("reboot -f"), "", reboot},
      {"PoweroffThatRestartsThenDestroy", kHostDestroy,
       [](Libvirtd& libvirtd) {
         libvirtd.Type("vm1", "poweroff -f");
         libvirtd.WaitReady("vm1");
         libvirtd.Virsh({"destroy", "vm1"});
       },
       "", restart},
      {"ResetThenDestroy", kHostDestroy,
       [](Libvirtd& libvirtd) {
         libvirtd.Virsh({"reset", "vm1"});
         libvirtd.Virsh({"destroy", "vm1"});
       }},
  };
}

// All endings use one libvirtd.
class LibvirtEndingTest : public LibvirtTest, public testing::WithParamInterface<Ending> {
 protected:
  static void TearDownTestSuite() {
    shared_.reset();
    directory_.reset();
  }
  void TearDown() override {
    if (shared_ != nullptr) {
      libvirtd().TryVirsh({"destroy", "vm1"});
      libvirtd().TryVirsh({"undefine", "vm1", "--managed-save"});
    }
    LibvirtTest::TearDown();
  }

 private:
  std::shared_ptr<Libvirtd> MakeLibvirtd() const override {
    if (shared_ == nullptr) {
      directory_ = std::make_unique<TemporaryDirectory>();
      shared_ = std::make_shared<Libvirtd>(*directory_ / "a");
    }
    return shared_;
  }

  inline static std::unique_ptr<TemporaryDirectory> directory_;
  inline static std::shared_ptr<Libvirtd> shared_;
};

INSTANTIATE_TEST_SUITE_P(Of, LibvirtEndingTest, testing::ValuesIn(Endings()), kByName);

TEST_P(LibvirtEndingTest, IsClassifiedAndPublishedOnce) {
  const Ending& ending = GetParam();
  Follow();
  libvirtd().DefineAndStart(ending.domain);
  const pid_t pid = libvirtd().Pid("vm1");
  const v1::Event started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(started.vm().source(), libvirtd().source());
  EXPECT_EQ(started.vm().pid(), pid);
  ending.act(libvirtd());
  const v1::Event stopped = ExpectStopped(ending.end);
  if (!ending.evidence.empty()) {
    EXPECT_THAT(EvidenceOf(stopped), Contains(ending.evidence));
  }
  EXPECT_EQ(kill(pid, 0), -1) << "STOPPED came before the process was gone";
  EXPECT_FALSE(stopped.shutdown().shutdown_file_written());
  ExpectOneStopped();
}

// QEMU exits before libvirt has read all that it sent, sometimes: libvirt then says "failed".
TEST_F(LibvirtTest, AQuitIsClassifiedAsAdminOrUnknownAndNeverAsCrash) {
  Follow();
  libvirtd().Create({});
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  libvirtd().TryVirsh({"qemu-monitor-command", "vm1", R"({"execute":"quit"})"});
  const v1::Event stopped = WaitStopped();
  ExpectEnd(stopped, stopped.qmp_event() == "SHUTDOWN" ? kHostQuit : kUnobserved);
  ExpectOneStopped();
}

TEST_F(LibvirtTest, QemusLastWordsInItsLogNameTheSenderThatTheKernelDidNot) {
  Follow();
  libvirtd().Create({});
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  kill(libvirtd().Pid("vm1"), SIGTERM);
  const v1::ShutdownDetail end = ExpectStopped(kHostSignal).shutdown();
  EXPECT_EQ(end.last_words().source(), v1::LAST_WORDS_SOURCE_LIBVIRT_LOG);
  ASSERT_EQ(end.last_words().lines_size(), 1);
  EXPECT_THAT(end.last_words().lines(0), HasSubstr("terminating on signal 15 from pid"));
  EXPECT_EQ(end.sender().pid(), getpid());
  EXPECT_TRUE(end.sender().from_last_words());
}

TEST_F(LibvirtTest, ADomainThatRanBeforeIsFound) {
  libvirtd().Create({.name = "vm1", .paused = true});
  Follow();
  WaitNewest(1);
  const v1::Vm vm = daemon().GetVm("vm1");
  EXPECT_EQ(vm.state(), v1::VM_STATE_PAUSED);
  EXPECT_EQ(vm.pause_reason(), "paused");
  EXPECT_EQ(vm.ref().pid(), libvirtd().Pid("vm1"));
  EXPECT_EQ(vm.ref().uuid() + "\n\n", libvirtd().Virsh({"domuuid", "vm1"}));
  EXPECT_EQ(vm.monitor_path(), "");
  libvirtd().Virsh({"resume", "vm1"});
  stream().Wait("vm1", v1::EVENT_TYPE_RESUMED);
  libvirtd().Virsh({"suspend", "vm1"});
  WaitUntil("libvirt has reported why it is paused",
            [&] { return daemon().GetVm("vm1").pause_reason() == "paused"; });
  libvirtd().Virsh({"destroy", "vm1"});
  WaitStopped();
  ExpectOneStopped();
}

TEST_F(LibvirtTest, LabelsComeFromADomainsMetadata) {
  const auto label = [&](const std::string& value) {
    libvirtd().Virsh({"metadata", "vm1", "urn:vmeventd:labels", "--live", "--key", "labels",
                      "--set",
                      absl::StrCat("<labels><label key='app' value='", value, "'/></labels>")});
  };
  libvirtd().Create({});
  label("web");
  Follow();
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  const auto labels = [&] { return daemon().GetVm("vm1").ref().labels(); };
  WaitUntil("the label is known", [&] { return labels().contains("app"); });
  EXPECT_EQ(labels().at("app"), "web");
  // A change while it runs, as docs/internals/libvirt.md has it.
  label("mail");
  WaitUntil("the new label is known", [&] { return labels().at("app") == "mail"; });
  libvirtd().Virsh({"destroy", "vm1"});
  EXPECT_EQ(WaitStopped().vm().labels().at("app"), "mail");
  const auto found = [&](const std::string& selector) {
    v1::ListEventsRequest request;
    request.mutable_filter()->add_labels(selector);
    request.mutable_filter()->add_types(v1::EVENT_TYPE_STOPPED);
    grpc::ClientContext call;
    v1::ListEventsResponse response;
    EXPECT_TRUE(daemon().stub().ListEvents(&call, request, &response).ok());
    return response.events_size();
  };
  EXPECT_EQ(found("app=mail,!tier"), 1);
  EXPECT_EQ(found("app=web"), 0);
}

TEST_F(LibvirtTest, ARestartOfLibvirtDoesNotAffectADomain) {
  Follow();
  libvirtd().Create({});
  const v1::Event started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  for (const int signal : {SIGTERM, SIGKILL}) {
    const int nth = signal == SIGTERM ? 1 : 2;
    libvirtd().Stop(signal);
    stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_LOST, nth);
    const v1::Vm lost = daemon().GetVm("vm1");
    EXPECT_EQ(lost.state(), v1::VM_STATE_UNREACHABLE);
    EXPECT_EQ(lost.problems(0).code(), v1::PROBLEM_CODE_LIBVIRT_LOST);
    libvirtd().Start();
    stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_RESTORED, nth);
    EXPECT_EQ(daemon().GetVm("vm1").state(), v1::VM_STATE_RUNNING);
    const v1::Event gap = stream().Wait("the node's GAP", [](const v1::Event& event) {
      return event.type() == v1::EVENT_TYPE_GAP && !event.has_vm();
    });
    EXPECT_EQ(gap.gap_reason(), v1::GAP_REASON_LIBVIRT_LOST);
  }
  libvirtd().Virsh({"destroy", "vm1"});
  EXPECT_EQ(ExpectStopped(kHostDestroy).vm().run_id(), started.vm().run_id());
  ExpectOneStopped();
}

TEST_F(LibvirtTest, AnEndThatLibvirtMissedIsClassifiedByTheKernelAndQemusWords) {
  Follow();
  libvirtd().Create({.name = "terminated"});
  libvirtd().Create({.name = "killed"});
  stream().Wait("terminated", v1::EVENT_TYPE_STARTED);
  stream().Wait("killed", v1::EVENT_TYPE_STARTED);
  libvirtd().Signal(SIGSTOP);  // it is connected, and passes nothing on
  kill(libvirtd().Pid("terminated"), SIGTERM);
  kill(libvirtd().Pid("killed"), SIGKILL);
  const v1::Event terminated = WaitStopped("terminated");
  EXPECT_EQ(terminated.shutdown().rule(), "host-signal-words");
  EXPECT_EQ(terminated.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN);
  ExpectStopped(kUnobserved, "killed");
  libvirtd().Signal(SIGCONT);
}

TEST_F(LibvirtTest, ALibvirtThatHangsMakesItsDomainsUnreachableAndStallsNobody) {
  Follow();
  libvirtd().Create({});
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  libvirtd().Signal(SIGSTOP);
  const auto guest = StartEmptyGuest("other");
  stream().Wait("other", v1::EVENT_TYPE_STARTED);
  stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_LOST);
  guest->Signal(SIGTERM);
  WaitStopped("other");
  libvirtd().Signal(SIGCONT);
  stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_RESTORED);
  libvirtd().Virsh({"destroy", "vm1"});
  WaitStopped();
  ExpectOneStopped();
}

// libvirt's name of the pid file is not always the domain's: bob's-vm has bob&apos;s-vm.pid.
TEST_F(LibvirtTest, ADomainIsFollowedByItsProcessWhateverItsName) {
  Follow();
  for (const std::string& name :
       {std::string("bob's-vm"), std::string("a&b<c>\"d\" &amp;"), std::string("..vm"),
        std::string("füré 日本"), std::string("a,b=c,%20%s"), std::string(200, 'x')}) {
    SCOPED_TRACE(name);
    libvirtd().Create({.name = name});
    stream().Wait(name, v1::EVENT_TYPE_STARTED);
    pid_t pid = 0;
    WaitUntil("its process is found", [&] {
      pid = static_cast<pid_t>(daemon().GetVm(name).ref().pid());
      return pid != 0;
    });
    EXPECT_EQ(daemon().GetVm(name).problems_size(), 0);
    kill(pid, SIGSEGV);
    ExpectStopped(kQemuCrashed, name);
    ExpectOneStopped(name);
  }
}

class LibvirtRestartTest : public LibvirtTest, public testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(By, LibvirtRestartTest, testing::Values(SIGKILL, SIGTERM), kBySignal);

TEST_P(LibvirtRestartTest, RunsContinueAfterARestartOfTheDaemon) {
  Follow();
  libvirtd().Create({.name = "stays"});
  libvirtd().Create({.name = "ends"});
  libvirtd().Create({.name = "pauses"});
  for (const char* name : {"stays", "ends", "pauses"}) {
    stream().Wait(name, v1::EVENT_TYPE_STARTED);
  }
  EndDaemon(GetParam());
  libvirtd().Virsh({"destroy", "ends"});
  libvirtd().Virsh({"suspend", "pauses"});
  Follow();
  EXPECT_EQ(WaitStopped("ends").shutdown().cause(), v1::SHUTDOWN_CAUSE_UNOBSERVED);
  stream().Wait("pauses", v1::EVENT_TYPE_GAP);
  stream().Wait("pauses", v1::EVENT_TYPE_PAUSED);
  libvirtd().Virsh({"destroy", "stays"});
  libvirtd().Virsh({"destroy", "pauses"});
  ExpectStopped(kHostDestroy, "stays");
  WaitStopped("pauses");
  for (const char* name : {"stays", "ends", "pauses"}) ExpectOneStopped(name);
}

// libvirt counts ids from 1 again where no domain runs when it starts.
TEST_F(LibvirtTest, ADomainThatGetsItsOldIdAgainIsFollowedByTheNextDaemon) {
  Follow();
  libvirtd().DefineAndStart({});
  const v1::Event started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  const std::string id = libvirtd().Virsh({"domid", "vm1"});
  EndDaemon(SIGTERM);
  libvirtd().Virsh({"destroy", "vm1"});
  libvirtd().Stop(SIGTERM);
  libvirtd().Start();
  libvirtd().Virsh({"start", "vm1"});
  ASSERT_EQ(libvirtd().Virsh({"domid", "vm1"}), id);
  Follow();
  EXPECT_EQ(WaitStopped().vm().run_id(), started.vm().run_id());
  const v1::Event next = stream().Wait("vm1", v1::EVENT_TYPE_STARTED, 2);
  EXPECT_NE(next.vm().run_id(), started.vm().run_id());
  EXPECT_EQ(next.vm().pid(), libvirtd().Pid("vm1"));
  libvirtd().Virsh({"destroy", "vm1"});
  ExpectStopped(kHostDestroy, "vm1", 2);
}

TEST_F(LibvirtTest, SocketsThatMatchAGlobComeAndGo) {
  DropLibvirtd();
  const std::string pods = dir() / "pods";
  Follow({absl::StrCat("qemu+unix:///system?socket=", pods, "/*/run/libvirt-sock")});
  EXPECT_EQ(daemon().GetServerInfo().libvirt_connections_size(), 0);
  Libvirtd pod(pods + "/1");
  pod.Create({});
  EXPECT_EQ(stream().Wait("vm1", v1::EVENT_TYPE_STARTED).vm().source(), pod.source());
  pod.Virsh({"destroy", "vm1"});
  WaitStopped();
  pod.Stop(SIGTERM);
  std::filesystem::remove(pod.socket());
  WaitUntil("the connection is forgotten",
            [&] { return daemon().GetServerInfo().libvirt_connections_size() == 0; });
  pod.Start();
  WaitUntil("it is connected again", [&] { return Connected(); });
  std::filesystem::remove_all(pods + "/2");
  Libvirtd second(pods + "/2");
  WaitUntil("the second is found",
            [&] { return daemon().GetServerInfo().libvirt_connections_size() == 2; });
}

TEST_F(LibvirtTest, WithoutAProcessLibvirtsReportIsTheEnd) {
  StartDaemonAndStream(Options({"--libvirt", libvirtd().uri(), "--process-tracking", "off"}));
  libvirtd().Create({});
  EXPECT_EQ(stream().Wait("vm1", v1::EVENT_TYPE_STARTED).vm().pid(), 0);
  libvirtd().Stop(SIGKILL);
  stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_LOST);
  libvirtd().Start();
  stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_RESTORED);
  libvirtd().Virsh({"destroy", "vm1"});
  const v1::Event stopped = WaitStopped();
  EXPECT_EQ(stopped.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN) << stopped.message();
  EXPECT_THAT(EvidenceOf(stopped),
              Contains("the process cannot be seen, so libvirt's report is taken as its end"));
  ExpectOneStopped();
}

// The URI of the DaemonSet for KubeVirt, of a node whose root is `root`. Its libvirts are root's.
std::string KubeVirtUri(const std::string& root) {
  std::smatch uri;
  const std::string patch =
      ReadFile(VMEVENTD_SOURCE_DIR "/deploy/kubernetes/components/kubevirt/patch.yaml");
  if (!std::regex_search(patch, uri, std::regex("--libvirt=(qemu\\S*)session(\\S*=)(/\\S+)"))) {
    Fail("no --libvirt in " + patch);
  }
  return absl::StrCat(uri.str(1), "system", uri.str(2), root, uri.str(3));
}

// A libvirt and QEMU as in a pod of KubeVirt, whose pid files have the pod's own numbers.
class LibvirtPodTest : public LibvirtTest {
 protected:
  // Starts vm1; its pid here.
  pid_t StartAndFollow(const DomainOptions& domain = {}) {
    DropLibvirtd();
    pod_ = std::make_unique<Libvirtd>(dir() / "pod", Libvirtd::Kind::kPod);
    EXPECT_GT(pod_->socket().size(), 107);
    Follow({KubeVirtUri(pod_->directory())});
    pod_->Create(domain);
    EXPECT_EQ(stream().Wait("vm1", v1::EVENT_TYPE_STARTED).vm().source(), pod_->source());
    pid_t pid = 0;
    WaitUntil("its process is found", [&] {
      pid = static_cast<pid_t>(daemon().GetVm("vm1").ref().pid());
      return pid != 0;
    });
    EXPECT_NE(pid, pod_->Pid("vm1"));
    EXPECT_THAT(ReadFile(absl::StrCat("/proc/", pid, "/cmdline")),
                HasSubstr(daemon().GetVm("vm1").ref().uuid()));
    return pid;
  }

  std::unique_ptr<Libvirtd> pod_;
};

TEST_F(LibvirtPodTest, APoweroffByTheGuestIsClassifiedAsUser) {
  StartAndFollow(LinuxGuest());
  pod_->Type("vm1", "poweroff -f");
  EXPECT_THAT(EvidenceOf(ExpectStopped(kGuestPoweroff)), Contains("libvirt: stopped, shutdown"));
  ExpectOneStopped();
}

TEST_F(LibvirtPodTest, ARunContinuesAfterARestartOfTheDaemon) {
  StartAndFollow();
  const std::string run_id = daemon().GetVm("vm1").ref().run_id();
  EndDaemon(SIGTERM);
  Follow({KubeVirtUri(pod_->directory())});
  WaitUntil("its libvirt is connected", [&] { return Connected(); });
  pod_->Virsh({"destroy", "vm1"});
  const v1::Event stopped = ExpectStopped(kHostDestroy);
  EXPECT_EQ(stopped.vm().run_id(), run_id);
  EXPECT_EQ(stopped.vm().source(), pod_->source());
  ExpectOneStopped();
}

TEST_F(LibvirtPodTest, TheLossOfALibvirtIsReportedWithItsPathAndByHealth) {
  StartAndFollow();
  const auto health = [&] {
    return RunCommand(
        {.arguments = VmeventsCommand("unix:" + Options().socket, {"health", "libvirt"})});
  };
  EXPECT_EQ(health().exit_code, 0);
  pod_->Signal(SIGKILL);
  WaitUntil("the connection has a problem", [&] {
    const v1::GetServerInfoResponse info = daemon().GetServerInfo();
    return info.libvirt_connections_size() == 1 &&
           absl::StrContains(info.libvirt_connections(0).problem().text(), pod_->socket());
  });
  EXPECT_THAT(daemon().GetServerInfo().libvirt_connections(0).problem().text(),
              HasSubstr("check that libvirtd or virtqemud runs there"));
  const CommandResult unhealthy = health();
  EXPECT_EQ(unhealthy.exit_code, 1);
  EXPECT_THAT(unhealthy.error, HasSubstr("cannot connect to a libvirt"));
}

TEST_F(LibvirtPodTest, TheEndOfAKilledPodsVmIsUnobserved) {
  StartAndFollow();
  pod_->Stop(SIGKILL);
  ExpectStopped(kUnobserved);
  ExpectOneStopped();
}

TEST_F(LibvirtTest, ADomainThatIsAlsoWatchedByASocketIsOneRun) {
  Follow();
  libvirtd().Create({.qemu_arguments = {"-qmp", absl::StrCat("unix:", watch_dir(),
                                                             "/vm1.kvmd,server=on,wait=off")}});
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  libvirtd().Virsh({"suspend", "vm1"});
  stream().Wait("vm1", v1::EVENT_TYPE_PAUSED);
  EXPECT_EQ(daemon().ListVms(false).size(), 1);
  libvirtd().Virsh({"destroy", "vm1"});
  WaitStopped();
  ExpectOneStopped();
}

// libvirt was first: the socket was not there, for us, when the domain started.
TEST_F(LibvirtTest, ASocketThatAppearsLaterDoesNotMakeASecondRunOfADomain) {
  Follow();
  const std::string hidden = dir() / "hidden";
  libvirtd().Create(
      {.qemu_arguments = {"-qmp", absl::StrCat("unix:", hidden, ",server=on,wait=off")}});
  const v1::Event started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  std::filesystem::rename(hidden, watch_dir() + "/vm1.kvmd");
  WaitUntil("the socket is listed as not followed",
            [&] { return daemon().GetServerInfo().unfollowed_sockets_size() == 1; });
  const v1::UnfollowedSocket socket = daemon().GetServerInfo().unfollowed_sockets(0);
  EXPECT_EQ(socket.path(), watch_dir() + "/vm1.kvmd");
  EXPECT_EQ(socket.problem().code(), v1::PROBLEM_CODE_FOLLOWED_ELSEWHERE);
  EXPECT_EQ(socket.problem().text(),
            absl::StrCat("its process is followed as vm1 of ", libvirtd().source()));
  EXPECT_EQ(daemon().ListVms(false).size(), 1);
  libvirtd().Virsh({"suspend", "vm1"});
  stream().Wait("vm1", v1::EVENT_TYPE_PAUSED);
  libvirtd().Virsh({"destroy", "vm1"});
  EXPECT_EQ(ExpectStopped(kHostDestroy).vm().run_id(), started.vm().run_id());
  ExpectOneStopped();
}

class LibvirtGuestsTest : public LibvirtTest, public testing::WithParamInterface<const char*> {};

INSTANTIATE_TEST_SUITE_P(By, LibvirtGuestsTest, testing::Values("shutdown", "suspend"),
                         [](const testing::TestParamInfo<const char*>& way) {
                           return std::string(way.param);
                         });

// The service libvirt-guests ends the domains as it does when the host shuts down.
TEST_P(LibvirtGuestsTest, AShutdownOfTheHostIsClassifiedAsAdmin) {
  const std::string way = GetParam();
  Follow();
  libvirtd().DefineAndStart(LinuxGuest());
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  const std::string settings = dir() / "default";
  const std::string state = dir() / "guests";
  std::filesystem::create_directories(settings);
  std::filesystem::create_directories(state);
  std::ofstream(settings + "/libvirt-guests")
      << "URIS='" << libvirtd().uri() << "'\nON_SHUTDOWN=" << way << "\nSHUTDOWN_TIMEOUT=120\n";
  constexpr char kStop[] = R"(mkdir -p /var/lib/libvirt /var/lock
    mount --bind "$0" /etc/default
    mount --bind "$1" /var/lib/libvirt
    mount -t tmpfs none /var/lock
    exec /usr/lib/libvirt/libvirt-guests.sh stop)";
  const CommandResult result =
      RunCommand({.arguments = {"unshare", "--mount", "sh", "-euc", kStop, settings, state}});
  EXPECT_EQ(result.exit_code, 0) << result.output << result.error;
  ExpectStopped(way == "shutdown" ? kHostPowerdown : kHostSave);
  ExpectOneStopped();
}

// ./dev nightly libvirt sets the number.
int ManyDomains() {
  int domains = 0;
  const char* const text = std::getenv("VMEVENTD_LIBVIRT_DOMAINS");
  if (text != nullptr && absl::SimpleAtoi(text, &domains)) return domains;
  return 20;
}

TEST_F(LibvirtTest, ManyDomainsStartAndStopWhileLibvirtIsRestarted) {
  const int domains = ManyDomains();
  Follow();
  const auto name = [](int number) { return absl::StrCat("many", number); };
  for (int number = 0; number < domains; ++number) {
    libvirtd().Create({.name = name(number), .paused = true});
    if (number == domains / 2) {
      libvirtd().Stop(SIGKILL);
      libvirtd().Start();
      WaitUntil("libvirt is reached again", [&] { return Connected(); });
    }
  }
  for (int number = 0; number < domains; ++number) {
    // A libvirtd that has just started ends, by itself, a domain to whose monitor it cannot
    // reconnect.
    const CommandResult destroyed = libvirtd().TryVirsh({"destroy", name(number)});
    if (destroyed.exit_code != 0) {
      EXPECT_THAT(destroyed.error, HasSubstr("Domain not found"));
    }
    if (number == domains / 2) {
      libvirtd().Stop(SIGTERM);
      libvirtd().Start();
    }
  }
  for (int number = 0; number < domains; ++number) {
    WaitStopped(name(number));
    ExpectOneStopped(name(number));
  }
}

TEST_F(LibvirtTest, AMissingLibraryIsAnErrorThatNamesThePackage) {
  ChildOptions command = DaemonCommand(LibvirtOptions({libvirtd().uri()}));
  const std::string library = "/usr/lib/x86_64-linux-gnu/libvirt.so.0";
  std::vector<std::string> wrapper = {
      "unshare",
      "--mount",
      "sh",
      "-c",
      absl::StrCat("mount --bind /dev/null ", library, R"( && exec env -u LD_LIBRARY_PATH "$@")"),
      "sh"};
  command.arguments.insert(command.arguments.begin(), wrapper.begin(), wrapper.end());
  command.error_file.clear();
  const CommandResult result = RunCommand(command);
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.output + result.error, HasSubstr("install the Debian package libvirt0"));
}

}  // namespace
}  // namespace vmeventd::e2e
