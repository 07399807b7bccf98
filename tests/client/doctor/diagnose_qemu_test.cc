#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/diagnosis_text.h"
#include "client/doctor/finding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/doctor/diagnosis_fixture.h"
#include "tests/support/proto_text.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(DiagnosisTest, AMonitorBoundToARelativePathIsRecognizedAsTheFollowedOne) {
  Connect(&facts_, Process(8, "socat", {"socat"}));
  for (UnixSocket& socket : facts_.sockets) {
    if (!socket.path.empty()) socket.path = "web1.qmp";
  }
  facts_.processes[0].arguments.back() = "unix:web1.qmp,server=on,wait=off";
  facts_.vms = {WithAProblem()};
  EXPECT_THAT(Only(facts_, "held-monitor").subjects,
              testing::ElementsAre("web1 (pid 7) /run/qemu/web1.qmp"));
  facts_.vms.clear();
  Only(facts_, "unwatched");
}

TEST_F(DiagnosisTest, AFollowedVmNeedsNoRestart) {
  facts_.vms = {WithAProblem()};
  for (const char* monitor : {"unix:/elsewhere/other.qmp", "unix:other.qmp", "vsock:1:2",
                              "unix:/var/lib/libvirt/qemu/domain-1-web1/monitor.sock"}) {
    facts_.processes[0].arguments.back() = absl::StrCat(monitor, ",server=on");
    EXPECT_EQ(Only(facts_, "problem").line(), "vmevents vms") << monitor;
    EXPECT_EQ(Diagnose(facts_).followed, 1);
  }
}

TEST_F(DiagnosisTest, WithoutRootNoAdviceIsGivenAboutAHeldMonitor) {
  Connect(&facts_, Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes.pop_back();
  facts_.is_root = false;
  for (const std::vector<WatchedPlace>& watches : {facts_.watches, {}}) {
    facts_.watches = watches;
    facts_.vms.clear();
    Only(facts_, "rights");
    facts_.vms = {WithAProblem()};
    const Diagnosis diagnosis = Diagnose(facts_);
    ASSERT_EQ(diagnosis.findings.size(), 2);
    EXPECT_EQ(diagnosis.findings[1].line(), "vmevents vms");
  }
}

TEST_F(DiagnosisTest, AMonitorThatAVmeventdHoldsIsHealthyWhateverItsWatches) {
  Connect(&facts_, Process(8, "vmeventd", {"vmeventd"}));
  facts_.watches.clear();
  const Diagnosis diagnosis = Diagnose(facts_);
  EXPECT_THAT(diagnosis.findings, testing::IsEmpty());
  EXPECT_THAT(DiagnosisText(diagnosis, 200, false),
              testing::HasSubstr("1 QEMU here: 0 followed, 1 followed by another vmeventd. No"));
}

TEST_F(DiagnosisTest, AQemuWhoseMonitorsFileNameLacksTheVmsNameNeedsAnotherMonitor) {
  facts_.processes[0].arguments.back() = "unix:/run/qemu/.qmp,server=on,wait=off";
  facts_.sockets[0].path = "/run/qemu/.qmp";
  const Finding finding = Only(facts_, "unwatched");
  EXPECT_THAT(finding.what, testing::HasSubstr("the file name of its monitor /run/qemu/.qmp has "
                                               "nothing before .qmp, where the VM's name belongs"));
  EXPECT_EQ(finding.steps.at(0).place, Place::kQemu);
  EXPECT_THAT(finding.line(), testing::HasSubstr("path=/run/qemu/web1.qmp"));
}

TEST_F(DiagnosisTest, AHeldMonitorNamesItsHolder) {
  NodeFacts of_kvmd = facts_;
  Connect(&of_kvmd, Process(8, "ganeti-kvmd", {"ganeti-kvmd"}));
  EXPECT_EQ(Only(of_kvmd, "held-monitor").line(),
            "sed -i '/^KVMD_ARGS=--version$/d' /etc/default/ganeti; "
            "echo KVMD_ARGS=--version >>/etc/default/ganeti; "
            "start-stop-daemon --stop --oknodo --retry 5 --name ganeti-kvmd");
  Connect(&facts_, Process(8, "socat", {"socat"}));
  const Finding finding = Only(facts_, "held-monitor");
  EXPECT_THAT(finding.subjects, testing::ElementsAre("web1 (pid 7) /run/qemu/web1.qmp"));
  EXPECT_THAT(finding.what, testing::StartsWith("The monitor is held by socat (pid 8). "));
  EXPECT_EQ(finding.line(), "ps -o pid,user,lstart,args -p 8") << "it ends nothing";
  EXPECT_EQ(Diagnose(facts_).usable, 0);
  facts_.processes.pop_back();
  EXPECT_EQ(Only(facts_, "held-monitor").line(), "ss -xp | grep -F /run/qemu/") << "not visible";
}

TEST_F(DiagnosisTest, AQemuThatAcceptsNoConnectionIsHungOnceVmeventdReportsAProblem) {
  facts_.sockets[0].waited_at = true;
  EXPECT_TRUE(Diagnose(facts_).findings.empty()) << "it may accept in this moment";
  facts_.vms = {WithAProblem()};
  EXPECT_EQ(Only(facts_, "hung-monitor").line(), "ps -L -o tid,stat,wchan:30,comm -p 7");
}

TEST_F(DiagnosisTest, AQemuStoppedByASignalIsContinued) {
  facts_.processes[0].state = 'T';
  EXPECT_EQ(Only(facts_, "hung-monitor").line(), "kill -CONT 7");
  EXPECT_EQ(Diagnose(facts_).followed, 0);
  facts_.vms = {WithAProblem()};
  facts_.vms[0].clear_problems();
  EXPECT_EQ(Diagnose(facts_).followed, 1);
}

TEST_F(DiagnosisTest, AQemuWithoutAMonitorGetsItsArguments) {
  facts_.processes[0].arguments = {"kvm", "-name", "web1"};
  facts_.processes[0].sockets.clear();
  facts_.sockets.clear();
  const Finding finding = Only(facts_, "no-monitor");
  EXPECT_EQ(finding.steps.at(0).place, Place::kQemu);
  EXPECT_EQ(finding.line(),
            "-chardev socket,id=events,path=/run/qemu/web1.qmp,server=on,wait=off -mon "
            "chardev=events,mode=control");
  facts_.processes[0].arguments = {"kvm", "-name", "guest=my vm"};
  EXPECT_THAT(Only(facts_, "no-monitor").line(),
              testing::HasSubstr(",path=/run/qemu/my vm.qmp,server=on,wait=off' -mon"));
  facts_.watches[0].spec.directory = "/run/{name}";
  EXPECT_THAT(Only(facts_, "no-monitor").line(),
              testing::HasSubstr("'socket,id=events,path=/run/{name}/"));
}

TEST_F(DiagnosisTest, AFreeMonitorElsewhereGetsAWatch) {
  facts_.watches.clear();
  EXPECT_EQ(Only(facts_, "unwatched").line(), "watch = [\"/run/qemu:*.qmp\"]");
}

TEST_F(DiagnosisTest, AProposedWatchKeepsTheExistingOnes) {
  facts_.processes.push_back(facts_.processes[0]);
  facts_.processes[1].pid = 8;
  facts_.processes[1].arguments.back() = "unix:/srv/vms/db1.qmp,server=on,wait=off";
  facts_.processes[1].sockets = {{9, kClient}};
  facts_.sockets.push_back({kClient, "/srv/vms/db1.qmp", true});
  facts_.watches = {{OptionalGanetiWatch(), true}};
  v1::LibvirtConnection* const libvirt = facts_.info.add_libvirt_connections();
  libvirt->set_uri("qemu:///system");
  libvirt->set_connected(true);
  const std::string watches =
      "watch = [\"/var/run/ganeti/kvm-hypervisor/ctrl:*.kvmd\", \"/run/qemu:*.qmp\", "
      "\"/srv/vms:*.qmp\"]";
  const Finding both = Only(facts_, "unwatched");
  EXPECT_EQ(both.line(), watches + "\nlibvirt = [\"qemu:///system\"]");
  EXPECT_EQ(both.subjects.size(), 2);
  EXPECT_THAT(
      DiagnosisText(Diagnose(facts_), 80, false),
      testing::HasSubstr(
          "in vmeventd's configuration, then restart it: libvirt = [\"qemu:///system\"]\n"));
}

TEST_F(DiagnosisTest, ADirectoryForEachVmGetsAWatchThatNamesTheVm) {
  const struct {
    const char* socket;
    const char* watch;
  } kCases[] = {
      {"/run/vms/web1/events.qmp", "/run/vms/*:events.qmp"},
      {"/run/vm-web1/events.qmp", "/run/vm-*:events.qmp"},
      {"/srv/vms/web1/web1.qmp", "/srv/vms/*:*.qmp"},
      {"/run/vms/x-web1.qmp", "/run/vms:x-*.qmp"},
      {"/run/vms/web10.qmp", "/run/vms:*.qmp"},
  };
  for (const auto& layout : kCases) {
    facts_.processes[0].arguments = {"kvm", "-name", "web1", "-qmp",
                                     absl::StrCat("unix:", layout.socket, ",server=on")};
    facts_.sockets[0].path = layout.socket;
    const Finding finding = Only(facts_, "unwatched");
    EXPECT_EQ(finding.line(),
              absl::StrCat("watch = [\"/run/qemu:*.qmp\", \"", layout.watch, "\"]"));
    facts_.watches[0].spec = ParseWatchSpec(layout.watch).value();
    EXPECT_TRUE(Diagnose(facts_).findings.empty()) << layout.watch;
    facts_.watches[0].spec = ParseWatchSpec("/run/qemu:*.qmp").value();
  }
}

TEST_F(DiagnosisTest, DirectoriesOfVmsWithoutANameAreRecognized) {
  NodeFacts facts = HealthyNode();
  facts.processes.clear();
  facts.sockets.clear();
  for (uint32_t pid = 1; pid <= 2; ++pid) {
    const std::string path = absl::StrCat("/run/vm/", pid, "f/events.qmp");
    facts.processes.push_back(Process(pid, "qemu-system-x86",
                                      {"qemu-system-x86_64", "-name", "sandbox", "-qmp",
                                       absl::StrCat("unix:", path, ",server=on")}));
    facts.processes.back().sockets = {{9, 1000 + pid}};
    facts.sockets.push_back({1000 + pid, path, true});
  }
  EXPECT_EQ(Only(facts, "unwatched").line(),
            "watch = [\"/run/qemu:*.qmp\", \"/run/vm/*:events.qmp\"]");
}

TEST_F(DiagnosisTest, AUsersQemuGetsADirectoryOfThatUser) {
  Become(&facts_, "kvm -name a", 1000);
  EXPECT_THAT(Only(facts_, "no-monitor").line(),
              AllOf(testing::StartsWith("install -d -m 0755 -o alice /run/qemu-alice\n-chardev "),
                    testing::EndsWith("\nwatch = [\"/run/qemu:*.qmp\", "
                                      "\"/run/qemu-alice:*.qmp\"]")));
  facts_.watches[0].owner = 1000;
  EXPECT_THAT(Only(facts_, "no-monitor").line(),
              testing::StartsWith("-chardev socket,id=events,path=/run/qemu/a.qmp,"));
}

TEST_F(DiagnosisTest, QemusWithoutAPanicDeviceShareOneHint) {
  for (int64_t pid = 8; pid < 500; ++pid) {
    facts_.processes.push_back(facts_.processes[0]);
    facts_.processes.back().pid = pid;
  }
  const Diagnosis diagnosis = Diagnose(facts_);
  ASSERT_EQ(diagnosis.hints.size(), 1);
  EXPECT_EQ(diagnosis.hints[0].kind, "panic-device");
  EXPECT_EQ(diagnosis.hints[0].subjects.size(), 493);
  EXPECT_EQ(diagnosis.hints[0].line(), "-device pvpanic");
  EXPECT_THAT(DiagnosisText(diagnosis, 80, false), HasSubstr("No findings, 1 hint."));
}

TEST_F(DiagnosisTest, NoPanicDeviceIsProposedWhereOneExistsOrIsImpossible) {
  std::vector<std::string>& arguments = facts_.processes[0].arguments;
  const std::vector<std::string> before = arguments;
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {"-device", "pvpanic"}, {"-device", "pvpanic-pci"}, {"-M", "microvm,rtc=on"}}) {
    arguments = before;
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_TRUE(Diagnose(facts_).hints.empty()) << more[1];
  }
  arguments = before;
  arguments[0] = "qemu-system-s390x";
  EXPECT_TRUE(Diagnose(facts_).hints.empty()) << "it is built in there";
}

TEST_F(DiagnosisTest, APanicDeviceIsProposedInTheXmlOfADomainButNotForNova) {
  facts_.processes[0].arguments = {"qemu-system-x86_64",
                                   "-name",
                                   "guest=instance-1,debug-threads=on",
                                   "-chardev",
                                   "socket,id=charmonitor,fd=30,server=on,wait=off",
                                   "-mon",
                                   "chardev=charmonitor,id=monitor,mode=control"};
  facts_.processes[0].cgroups = "0::/machine.slice/machine-qemu\\x2d1.scope/libvirt/emulator";
  facts_.vms = {
      FromText<v1::Vm>("ref { name: 'instance-1' pid: 7 source: 'libvirt:qemu:///system' }")};
  ASSERT_EQ(Diagnose(facts_).hints.size(), 1);
  const Finding of_libvirt = Diagnose(facts_).hints[0];
  EXPECT_EQ(of_libvirt.line(), "<panic model='isa'/>");
  (*facts_.vms[0].mutable_ref()->mutable_labels())["nova.name"] = "shop";
  ASSERT_EQ(Diagnose(facts_).hints.size(), 1);
  EXPECT_THAT(Diagnose(facts_).hints[0].what, HasSubstr("cannot give guests of x86"));
  EXPECT_TRUE(Diagnose(facts_).hints[0].steps.empty());
}

}  // namespace
}  // namespace vmeventd::client
