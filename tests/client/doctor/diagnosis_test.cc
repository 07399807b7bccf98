#include "client/doctor/diagnosis.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/proto_text.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kListener = 100;
constexpr uint32_t kAccepted = 101;
constexpr uint32_t kClient = 102;

NodeProcess Process(int64_t pid, std::string program, std::vector<std::string> arguments) {
  return {.pid = pid,
          .program = std::move(program),
          .arguments = std::move(arguments),
          .state = 'S',
          .user = "root",
          .sees_descriptors = true};
}

// A node with one QEMU, web1, whose monitor is free, and a daemon that watches its directory.
NodeFacts HealthyNode() {
  NodeFacts facts;
  facts.examined = true;
  facts.is_root = true;
  facts.watches = {{{"/run/qemu", "*.qmp"}, true}};
  auto qemu = Process(7, "qemu-system-x86",
                      {"qemu-system-x86_64", "-name", "web1", "-qmp",
                       "unix:/run/qemu/web1.qmp,server=on,wait=off"});
  qemu.sockets = {{9, kListener}};
  facts.processes.push_back(std::move(qemu));
  facts.sockets.push_back({kListener, "/run/qemu/web1.qmp", true});
  return facts;
}

void Connect(NodeFacts* facts, NodeProcess client) {
  facts->sockets.push_back({kAccepted, "/run/qemu/web1.qmp", false, false, kClient});
  facts->sockets.push_back({kClient, "", false, false, kAccepted});
  facts->processes[0].sockets[10] = kAccepted;
  client.sockets = {{3, kClient}};
  facts->processes.push_back(std::move(client));
}

// The only finding, which must be of that kind.
Finding Only(const NodeFacts& facts, const std::string& kind) {
  const Diagnosis diagnosis = Diagnose(facts);
  EXPECT_EQ(diagnosis.findings.size(), 1);
  if (diagnosis.findings.empty()) return {};
  EXPECT_EQ(diagnosis.findings[0].kind, kind) << diagnosis.findings[0].what;
  return diagnosis.findings[0];
}

class DiagnosisTest : public testing::Test {
 protected:
  NodeFacts facts_ = HealthyNode();
};

TEST_F(DiagnosisTest, AHealthyNodeHasNoFindings) {
  const Diagnosis diagnosis = Diagnose(facts_);
  EXPECT_TRUE(diagnosis.findings.empty());
  EXPECT_EQ(diagnosis.qemus, 1);
  EXPECT_EQ(diagnosis.usable, 1);
}

// web1 as vmeventd has it, with a problem.
v1::Vm WithAProblem() {
  return FromText<v1::Vm>(
      "ref { name: 'web1' pid: 7 } monitor_path: '/run/qemu/web1.qmp' problems { text: 'P' }");
}

TEST_F(DiagnosisTest, AMonitorThatWasBoundToAnotherPathIsTheOneThatVmeventdHas) {
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

TEST_F(DiagnosisTest, NoVmThatVmeventdHasIsToBeRestarted) {
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

TEST_F(DiagnosisTest, AMonitorThatVmeventdHoldsIsHealthyWhateverItsWatchesAre) {
  Connect(&facts_, Process(8, "vmeventd", {"vmeventd"}));
  facts_.watches.clear();
  const Diagnosis diagnosis = Diagnose(facts_);
  EXPECT_THAT(diagnosis.findings, testing::IsEmpty());
  EXPECT_THAT(DiagnosisText(diagnosis, 200, false),
              testing::HasSubstr("1 QEMU here: 0 followed, 1 followed by another vmeventd. No"));
}

TEST_F(DiagnosisTest, AMonitorWhoseFileNameLacksTheVmsNameNeedsAnother) {
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

TEST_F(DiagnosisTest, AQemuThatAcceptsNobodyHangsOnceVmeventdReportsAProblem) {
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

TEST_F(DiagnosisTest, AWatchOnlyAdds) {
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

TEST_F(DiagnosisTest, AMonitorOfLibvirtIsFollowedThroughLibvirt) {
  facts_.processes[0].arguments = {"kvm", "-chardev", "socket,id=m,fd=9,server=on", "-mon",
                                   "chardev=m,mode=control"};
  facts_.sockets[0].path = "/var/lib/libvirt/qemu/domain-1-web1/monitor.sock";
  EXPECT_EQ(Only(facts_, "unwatched").line(),
            "watch = [\"/run/qemu:*.qmp\"]\nlibvirt = [\"qemu:///system\"]");
  facts_.info.add_libvirt_connections()->set_connected(true);
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty());
  EXPECT_EQ(Diagnose(facts_).usable, 1);
}

// The only QEMU, of this command line, without a socket that is for followers.
void Become(NodeFacts* facts, const char* arguments, uint32_t uid = 0) {
  facts->processes[0].arguments = absl::StrSplit(arguments, ' ');
  facts->processes[0].uid = uid;
  facts->processes[0].user = uid == 0 ? "root" : "alice";
  facts->processes[0].sockets.clear();
  facts->sockets.clear();
}

TEST_F(DiagnosisTest, IncusTakesTheSettingsOfAStoppedVmAndKeepsWhatItHas) {
  Become(&facts_, "qemu-system-x86_64 -S -name web1 -readconfig /run/incus/web1/qemu.conf");
  EXPECT_EQ(
      Only(facts_, "no-monitor").line(),
      "incus --project default stop web1\n"
      "incus --project default config set web1 raw.qemu=\"$(incus --project default config get "
      "-e web1 raw.qemu) -chardev "
      "socket,id=vmev,path=/run/qemu/web1.qmp,server=on,wait=off -mon "
      "chardev=vmev,mode=control\"\n"
      "incus --project default config set web1 raw.apparmor=\"$(incus --project default config "
      "get -e web1 raw.apparmor; echo "
      "'/run/qemu/web1.qmp rw,')\"\n"
      "incus --project default start web1");
  facts_.watches.clear();
  facts_.has_systemd = true;
  EXPECT_THAT(Only(facts_, "no-monitor").line(),
              AllOf(testing::StartsWith("echo 'd /run/qemu 0755 nobody root -' "
                                        ">/etc/tmpfiles.d/qemu-events.conf && "
                                        "systemd-tmpfiles --create /etc/tmpfiles.d/qemu-events.conf"
                                        "\nincus --project default stop web1\n"),
                    testing::EndsWith("\nwatch = [\"/run/qemu:*.qmp\"]")));
  Become(&facts_, "qemu -S -name web1 -readconfig /run/incus/dev_web1/qemu.conf");
  facts_.processes[0].arguments[0] = "qemu-system-x86_64";
  EXPECT_THAT(Only(facts_, "no-monitor").line(), AllOf(HasSubstr("incus --project dev stop web1\n"),
                                                       HasSubstr("path=/run/qemu/dev_web1.qmp,")));
}

TEST_F(DiagnosisTest, SeveralVmsOfAManagerAreOneLine) {
  Become(&facts_, "kvm -name a -pidfile /var/run/qemu-server/100.pid");
  facts_.processes.push_back(facts_.processes[0]);
  facts_.processes[1].pid = 8;
  facts_.processes[1].arguments.back() = "/var/run/qemu-server/101.pid";
  EXPECT_EQ(Only(facts_, "no-monitor").line(),
            "for vm in 100 101; do qm set $vm --args \"$(qm config $vm | sed -n 's/^args: //p') "
            "-chardev socket,id=vmev,path=/run/qemu/$vm.qmp,server=on,wait=off -mon "
            "chardev=vmev,mode=control\"; done");
}

TEST_F(DiagnosisTest, TheVariableOfALoopIsReadInEachPlaceOfItsLine) {
  Become(&facts_, "qemu-system-x86_64 -S -name web1 -readconfig /run/incus/web1/qemu.conf");
  facts_.processes.push_back(facts_.processes[0]);
  facts_.processes[1].pid = 8;
  facts_.processes[1].arguments = {"qemu-system-x86_64",       "-S", "-name", "web2", "-readconfig",
                                   "/run/incus/web2/qemu.conf"};
  EXPECT_THAT(
      Only(facts_, "no-monitor").line(),
      AllOf(testing::StartsWith("for vm in web1 web2; do incus --project default stop $vm && "),
            HasSubstr("socket,id=vmev,path=/run/qemu/$vm.qmp,"),
            HasSubstr("; echo '/run/qemu/'\"$vm\"'.qmp rw,')\"")));
}

TEST_F(DiagnosisTest, NoNameOfAVmAddsToALineForTheShell) {
  Become(&facts_, "qemu-system-x86_64 -S -readconfig /run/incus/web1/qemu.conf -name x");
  facts_.processes[0].arguments.back() = "x;echo $(id)\n'|\"";
  const std::string word = R"($'x;echo $(id)\n\'|"')";
  EXPECT_EQ(Only(facts_, "no-monitor").line(),
            absl::StrCat("incus stop ", word, "\nincus config set ", word,
                         " raw.qemu=\"$(incus config get -e ", word,
                         " raw.qemu) -chardev "
                         "socket,id=vmev,path=/run/qemu/x-echo---id-----.qmp,server=on,wait=off "
                         "-mon chardev=vmev,mode=control\"\nincus config set ",
                         word, " raw.apparmor=\"$(incus config get -e ", word,
                         " raw.apparmor; echo '/run/qemu/x-echo---id-----.qmp rw,')\"\n"
                         "incus start ",
                         word));
  Become(&facts_, "kvm -name a -pidfile /var/run/qemu-server/100.pid");
  facts_.processes[0].arguments.back() = "/var/run/qemu-server/1;id.pid";
  EXPECT_THAT(Only(facts_, "no-monitor").line(),
              AllOf(testing::StartsWith("qm set '1;id' --args \"$(qm config '1;id' | sed "),
                    HasSubstr("path=/run/qemu/1-id.qmp,")));
}

TEST_F(DiagnosisTest, EachManagerHasItsOwnWay) {
  const struct {
    const char* arguments;
    const char* line;  // "": there is none
  } kCases[] = {
      {"qemu-system-x86_64 -name lima-a -qmp unix:/d/a/qmp.sock,server=on",
       "LIMA_HOME=/d limactl stop a\nLIMA_HOME=/d QEMU_SYSTEM_X86_64='qemu-system-x86_64 -chardev "
       "socket,id=vmev,path=/run/qemu/a.qmp,server=on,wait=off -mon chardev=vmev,mode=control' "
       "limactl start a"},
      {"qemu-system-x86_64 -name sandbox-0a -kernel /kata/vmlinux -qmp "
       "unix:/run/vc/vm/0a/qmp.sock,server=on",
       "extra_monitor_socket = \"qmp\"\n"
       "watch = [\"/run/qemu:*.qmp\", \"/run/vc/vm/*:extra-monitor.sock\"]"},
      {"qemu-system-x86_64 -name a -qmp unix:/var/lib/microvms/a/a.sock,server=on",
       "microvm.qemu.extraArgs = [ \"-chardev\" "
       "\"socket,id=vmev,path=/run/qemu/a.qmp,server=on,wait=off\" \"-mon\" "
       "\"chardev=vmev,mode=control\" ];"},
      {"qemu-system-x86_64 -qmp unix:/run/user/1/podman/qmp_a.sock,server=on", ""},
      {"qemu-system-i386 -xen-domid 5 -qmp unix:/run/xen/qmp-libxl-5,server=on", ""},
  };
  for (const auto& expected : kCases) {
    Become(&facts_, expected.arguments);
    const Finding finding = Only(facts_, "unwatched");
    EXPECT_EQ(finding.line(), expected.line) << finding.what;
    EXPECT_THAT(finding.what, HasSubstr("which needs it "));
  }
}

TEST_F(DiagnosisTest, ADomainOfAnotherUsersLibvirtIsReachedByThatUsersSocket) {
  Become(&facts_, "qemu-system-x86_64 -name guest=a -chardev socket,id=charmonitor,fd=9", 1000);
  facts_.watches.clear();
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.daemon_pid = 8;
  const char* const uri =
      "libvirt = [\"qemu+unix:///session?socket=/run/user/1000/libvirt/libvirt-sock\"]";
  EXPECT_EQ(Only(facts_, "unwatched").line(), uri);
  facts_.processes[1].uid = 990;
  facts_.processes[1].cgroups = "0::/system.slice/vmeventd.service";
  EXPECT_EQ(Only(facts_, "unwatched").line(),
            absl::StrCat(uri,
                         "\ninstall -d /etc/systemd/system/vmeventd.service.d && printf "
                         "'[Service]\\nProtectHome=read-only\\n' "
                         ">/etc/systemd/system/vmeventd.service.d/home.conf && systemctl "
                         "daemon-reload && systemctl restart vmeventd.service"))
      << "its unit hides /run/user";
  facts_.processes[1].uid = 1000;
  facts_.processes[1].cgroups = "0::/user.slice/user-1000.slice/vmeventd.service";
  EXPECT_EQ(Only(facts_, "unwatched").line(), "libvirt = [\"qemu:///session\"]");
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

TEST_F(DiagnosisTest, AUsersOwnDaemonNeedsNoUnitOfTheSystem) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  NodeProcess* const daemon = &facts_.processes.back();
  daemon->reads_journal = daemon->reads_logs = false;
  facts_.info.add_libvirt_connections()->set_connected(true);
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty()) << "another one was asked";
  facts_.daemon_pid = 8;
  EXPECT_THAT(Diagnose(facts_).findings, testing::SizeIs(2));
  daemon->uid = 1000;
  daemon->cgroups = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vmeventd.service";
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty());
}

TEST_F(DiagnosisTest, ADirectoryThatTheUnitHidesIsShownByTheLine) {
  facts_.watches.clear();
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes[1].cgroups = "0::/system.slice/vmeventd.service";
  facts_.daemon_pid = 8;
  const struct {
    const char* path;
    const char* setting;
  } kCases[] = {{"/tmp/a/web1.qmp", "PrivateTmp=no"},
                {"/run/user/1000/qemu/web1.qmp", "ProtectHome=read-only"}};
  for (const auto& expected : kCases) {
    facts_.processes[0].arguments.back() = absl::StrCat("unix:", expected.path, ",server=on");
    facts_.sockets[0].path = expected.path;
    facts_.processes[0].paths = {{expected.path, std::nullopt}};
    EXPECT_THAT(Only(facts_, "unwatched").line(),
                AllOf(testing::StartsWith("watch = ["), HasSubstr(expected.setting)));
  }
  facts_.processes[1].cgroups = "0::/docker/0a";
  const Finding contained = Only(facts_, "unwatched");
  EXPECT_EQ(contained.steps.back(),
            (Step{Place::kContainer, "-v /run/user/1000/qemu:/run/user/1000/qemu"}));
}

TEST_F(DiagnosisTest, AMonitorInThePrivateTmpOfItsUnitIsNotWatched) {
  facts_.watches.clear();
  const std::string path = "/tmp/web1.qmp";
  facts_.processes[0].arguments.back() = absl::StrCat("unix:", path, ",server=on");
  facts_.processes[0].own_tmp = true;
  facts_.sockets[0].path = path;
  for (const std::optional<std::string>& seen :
       {std::optional<std::string>("/tmp/systemd-private-1-web1.service-a/tmp/web1.qmp"),
        std::optional<std::string>()}) {
    facts_.processes[0].paths = {{path, seen}};
    const Finding finding = Only(facts_, "unwatched");
    EXPECT_THAT(finding.what, HasSubstr("new at each start"));
    EXPECT_THAT(finding.line(), testing::Not(HasSubstr("/tmp")));
  }
}

TEST_F(DiagnosisTest, AQemuInAContainerSharesItsDirectory) {
  facts_.processes[0].arguments.back() = "unix:/sock/web1.qmp,server=on";
  facts_.sockets[0].path = "/sock/web1.qmp";
  facts_.processes[0].paths = {{"/sock/web1.qmp", std::nullopt}};
  facts_.processes[0].own_root = true;
  EXPECT_EQ(Only(facts_, "unwatched").line(), "-v /run/qemu:/sock");
  facts_.processes[0].paths = {{"/sock/web1.qmp", "/srv/vms/web1.qmp"}};
  EXPECT_EQ(Only(facts_, "unwatched").line(), "watch = [\"/run/qemu:*.qmp\", \"/srv/vms:*.qmp\"]");
  facts_.processes[0].sees_network = false;
  facts_.client = "vmevents --server unix:/s";
  EXPECT_EQ(Only(facts_, "namespace").line(), "vmevents --server unix:/s doctor");
}

TEST_F(DiagnosisTest, AFrozenQemuIsThawedAsItWasFrozen) {
  const struct {
    const char* cgroup;
    const char* line;
  } kCases[] = {
      {"/sys/fs/cgroup/freezer/x", "echo THAWED >/sys/fs/cgroup/freezer/x/freezer.state"},
      {"/sys/fs/cgroup/x", "echo 0 >/sys/fs/cgroup/x/cgroup.freeze"},
      {"/sys/fs/cgroup/vm.slice/vm@a.service", "systemctl thaw vm@a.service"},
      {"/sys/fs/cgroup/system.slice/docker-0a1b.scope", "docker unpause 0a1b"},
      {"/sys/fs/cgroup/freezer/docker/0a1b", "docker unpause 0a1b"},
      {"/sys/fs/cgroup/machine.slice/libpod-0a1b.scope/container", "podman unpause 0a1b"},
      {"/sys/fs/cgroup/system.slice/vm.service/libpod-payload-0a1b", "podman unpause 0a1b"},
  };
  for (const auto& expected : kCases) {
    facts_.processes[0].frozen_by = expected.cgroup;
    EXPECT_EQ(Only(facts_, "hung-monitor").line(), expected.line);
  }
  facts_.processes[0].frozen_by = "";
  facts_.processes[0].dumps_core = true;
  EXPECT_THAT(Only(facts_, "hung-monitor").what, HasSubstr("writes its core"));
}

TEST_F(DiagnosisTest, APathThatWasTakenIsNotDeleted) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/run/qemu/web1.qmp' "
      "problem { code: PROBLEM_CODE_REFUSED text: 'nobody listens' } }");
  const Finding finding = Only(facts_, "problem");
  EXPECT_THAT(finding.what, HasSubstr("out of reach until the VM's next start"));
  EXPECT_EQ(finding.line(), "ps -o pid,user,lstart,args -p 7");
}

TEST_F(DiagnosisTest, QemusWithoutAPanicDeviceAreOneHint) {
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

TEST_F(DiagnosisTest, AQemuHasNoHintWithAPanicDeviceOrWithoutAPlaceForOne) {
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

TEST_F(DiagnosisTest, ThePanicDeviceOfADomainIsInItsXmlAndNovaHasNone) {
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
  EXPECT_THAT(Diagnose(facts_).hints[0].what, HasSubstr("there is none to give"));
  EXPECT_TRUE(Diagnose(facts_).hints[0].steps.empty());
}

TEST_F(DiagnosisTest, AContainerWithoutBpfIsToldTheOption) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes[1].cgroups = "0::/docker/0a1b";
  facts_.daemon_pid = 8;
  v1::Problem* const problem = facts_.info.mutable_signal_senders()->mutable_problem();
  problem->set_code(v1::PROBLEM_CODE_NO_CAPABILITY);
  EXPECT_EQ(Only(facts_, "senders").line(), "--cap-add BPF --cap-add PERFMON");
  problem->set_code(v1::PROBLEM_CODE_SECCOMP);
  EXPECT_THAT(Only(facts_, "senders").line(), HasSubstr("--security-opt seccomp="));
  problem->set_code(v1::PROBLEM_CODE_NO_KERNEL_TYPES);
  EXPECT_EQ(Only(facts_, "senders").line(), "-v /sys/kernel/btf:/sys/kernel/btf:ro");
}

TEST_F(DiagnosisTest, AUnitWithoutBpfIsGivenIt) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes[1].cgroups = "0::/system.slice/vmeventd.service";
  facts_.daemon_pid = 8;
  v1::Problem* const problem = facts_.info.mutable_signal_senders()->mutable_problem();
  problem->set_code(v1::PROBLEM_CODE_NO_CAPABILITY);
  EXPECT_EQ(Only(facts_, "senders").line(),
            "install -d /etc/systemd/system/vmeventd.service.d && printf "
            "'[Service]\\nAmbientCapabilities=CAP_BPF CAP_PERFMON\\nCapabilityBoundingSet=CAP_BPF "
            "CAP_PERFMON\\n' >/etc/systemd/system/vmeventd.service.d/senders-capabilities.conf && "
            "systemctl daemon-reload && systemctl restart vmeventd.service");
  problem->set_code(v1::PROBLEM_CODE_SECCOMP);
  EXPECT_THAT(Only(facts_, "senders").line(), HasSubstr("'[Service]\\nSystemCallFilter=bpf\\n'"));
}

TEST_F(DiagnosisTest, TheNameOfAUnitAddsToNoLine) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.processes[1].cgroups = "0::/system.slice/events@a\\x2db;c.service";
  facts_.daemon_pid = 8;
  facts_.info.mutable_signal_senders()->mutable_problem()->set_code(v1::PROBLEM_CODE_SECCOMP);
  EXPECT_EQ(Only(facts_, "senders").line(),
            "install -d '/etc/systemd/system/events@a\\x2db;c.service.d' && printf "
            "'[Service]\\nSystemCallFilter=bpf\\n' "
            ">'/etc/systemd/system/events@a\\x2db;c.service.d/senders-seccomp.conf' && systemctl "
            "daemon-reload && systemctl restart 'events@a\\x2db;c.service'");
}

TEST_F(DiagnosisTest, ACopyInAnotherProjectGetsTheLinesOfThatProject) {
  Become(&facts_,
         "qemu-system-x86_64 -S -name web1 -readconfig /run/incus/web1/qemu.conf -chardev "
         "socket,id=vmev,path=/run/qemu/web1.qmp,server=on,wait=off -mon "
         "chardev=vmev,mode=control");
  facts_.processes.push_back(facts_.processes[0]);
  facts_.processes[1].pid = 8;
  facts_.processes[1].arguments[5] = "/run/incus/dev_web1/qemu.conf";
  for (const int64_t pid : {7, 8}) {
    v1::Vm vm = WithAProblem();
    vm.mutable_ref()->set_pid(pid);
    vm.mutable_problems(0)->set_code(v1::PROBLEM_CODE_SHARED_PATH);
    facts_.vms.push_back(vm);
  }
  std::vector<Finding> findings = Diagnose(facts_).findings;
  ASSERT_EQ(findings.size(), 2);
  EXPECT_THAT(findings[0].what, HasSubstr("Change the other VM"));
  EXPECT_EQ(findings[0].line(), "ps -o pid,user,lstart,args -p 7");
  EXPECT_THAT(findings[1].line(), AllOf(testing::StartsWith("incus --project dev stop web1\n"),
                                        HasSubstr("|/run/qemu/dev_web1.qmp|g')"),
                                        testing::EndsWith("\nincus --project dev start web1")));
  // The copy has been changed, and the original has lost its path.
  facts_.vms[1].clear_problems();
  facts_.vms[1].set_monitor_path("/run/qemu/dev_web1.qmp");
  findings = Diagnose(facts_).findings;
  ASSERT_EQ(findings.size(), 1);
  EXPECT_THAT(findings[0].what, AllOf(testing::Not(HasSubstr("Change the other VM")),
                                      HasSubstr("once this one has been restarted")));
}

TEST_F(DiagnosisTest, AMissingDirectoryIsMadeByTheLine) {
  facts_.watches.push_back({{"/run/it's", "*.qmp"}, false});
  EXPECT_EQ(Only(facts_, "directory").line(), "install -d -m 0755 '/run/it'\\''s'");
}

TEST(DiagnoseSilenceTest, ADaemonThatMayNotBeAskedIsNotStarted) {
  const ServerAddress server = {.path = "/run/vmeventd/vmeventd.sock"};
  const char* const why = "permission denied on the socket /run/vmeventd/vmeventd.sock";
  EXPECT_EQ(DiagnoseSilence(server, why, {EACCES}, "vmevents").findings[0].line(),
            "sudo vmevents doctor");
  const Diagnosis diagnosis = DiagnoseSilence(server, why, {EACCES, "", "vmeventd"}, "vmevents");
  EXPECT_EQ(diagnosis.findings[0].kind, "daemon");
  EXPECT_EQ(diagnosis.findings[0].line(), "sudo usermod -aG vmeventd \"$USER\"");
  EXPECT_EQ(diagnosis.findings[0].what,
            "No permission to query vmeventd: permission denied on the socket "
            "/run/vmeventd/vmeventd.sock. Members of the group vmeventd have it "
            "from their next login on.");
  EXPECT_THAT(DiagnosisText(diagnosis, 200, false),
              testing::EndsWith("Asked unix:/run/vmeventd/vmeventd.sock, without an answer: no "
                                "QEMU was examined. 1 finding.\n"));
}

TEST(DiagnoseSilenceTest, TheLineIsOfTheAddress) {
  const ServerAddress tcp = {.host = "node1", .port = "9555"};
  ServerAddress tls = tcp;
  tls.tls = TlsOptions{.ca_file = "/ca", .cert_file = "/own"};
  const struct {
    ServerAddress server;
    int error;
    const char* line;
  } kCases[] = {
      {{.path = kSystemSocket}, ENOENT, "systemctl enable --now vmeventd && systemctl status"},
      {{.path = "/tmp/my s"}, 0, "ss -xlp | grep -F -e '/tmp/my s' -e vmeventd"},
      {tcp, EHOSTUNREACH, "ssh node1 systemctl status vmeventd"},
      {tcp, 0, "ssh node1 ss -tlnp | grep -F :9555"},
      {{.host = "127.0.0.1", .port = "9555"}, 0, "ss -tlnp | grep -F :9555"},
      {tls, 0,
       "openssl s_client -connect node1:9555 -CAfile /ca </dev/null | openssl x509 -noout -subject "
       "-issuer -dates -ext subjectAltName,extendedKeyUsage; openssl x509 -noout -subject -issuer "
       "-dates -ext subjectAltName,extendedKeyUsage -in /own"}};
  for (const auto& [server, error, line] : kCases) {
    const Finding found = DiagnoseSilence(server, "nobody listens there", {error}, "").findings[0];
    EXPECT_THAT(found.what, testing::EndsWith("not answer: nobody listens there."));
    EXPECT_THAT(found.line(), testing::StartsWith(line));
  }
}

TEST_F(DiagnosisTest, ALibvirtThatIsNotConnectedIsAskedByTheLine) {
  v1::LibvirtConnection* const libvirt = facts_.info.add_libvirt_connections();
  libvirt->mutable_problem()->set_text("no such file");
  EXPECT_THAT(Only(facts_, "libvirt").what, testing::EndsWith(": no such file."));
  libvirt->set_uri("qemu+unix:///session?socket=/run/virtqemud-sock");
  EXPECT_EQ(Only(facts_, "libvirt").line(),
            "virsh -c 'qemu+unix:///session?socket=/run/virtqemud-sock' list");
}

TEST_F(DiagnosisTest, ANodeWhereSendersOfSignalsAreNotSeen) {
  v1::Problem* const problem = facts_.info.mutable_signal_senders()->mutable_problem();
  problem->set_code(v1::PROBLEM_CODE_SWITCHED_OFF);
  EXPECT_TRUE(Diagnose(facts_).findings.empty()) << "nobody misses it";
  problem->set_text("in the daemon's words");
  const struct {
    v1::ProblemCode code;
    const char* line;
  } kCases[] = {{v1::PROBLEM_CODE_PID_NAMESPACE, "--pid host"},
                {v1::PROBLEM_CODE_NO_CAPABILITY, "systemctl enable --now vmeventd"},
                {v1::PROBLEM_CODE_NO_KERNEL_TYPES, "CONFIG_DEBUG_INFO_BTF"},
                {v1::PROBLEM_CODE_USER_NAMESPACE, "uid_map"},
                {v1::PROBLEM_CODE_KERNEL_LOCKDOWN, "/sys/kernel/security/lockdown"},
                {v1::PROBLEM_CODE_CANNOT_TRACE, "man vmeventd"}};
  for (const auto& expected : kCases) {
    problem->set_code(expected.code);
    const Finding found = Only(facts_, "senders");
    EXPECT_THAT(found.what,
                testing::StartsWith("vmeventd cannot see who sends a signal, so a VM that is "
                                    "killed is UNKNOWN: in the daemon's words."));
    EXPECT_THAT(found.line(), testing::HasSubstr(expected.line));
  }
}

TEST_F(DiagnosisTest, AHostOfSystemdsWhoseShutdownNobodySays) {
  facts_.info.mutable_host_shutdown()->mutable_problem()->set_text(
      "no system bus: No such file or directory");
  EXPECT_TRUE(Diagnose(facts_).findings.empty());
  facts_.has_systemd = true;
  EXPECT_THAT(Only(facts_, "host").what,
              testing::EndsWith("no system bus: No such file or directory."));
}

TEST_F(DiagnosisTest, TheSameCauseForManyVmsIsOneFinding) {
  facts_.processes.clear();
  facts_.sockets.clear();
  for (int64_t pid = 1; pid <= 39; ++pid) {
    facts_.processes.push_back(Process(
        pid, "qemu-system-x86",
        {"kvm", "-name", absl::StrCat("web", pid), "-qmp",
         absl::StrCat("unix:/var/lib/libvirt/qemu/domain-", pid, "/monitor.sock,server=on")}));
  }
  const Finding libvirt = Only(facts_, "unwatched");
  EXPECT_THAT(libvirt.subjects, testing::SizeIs(39));
  EXPECT_EQ(libvirt.subjects.back(), "web39 (pid 39)");
  EXPECT_EQ(libvirt.line(), "watch = [\"/run/qemu:*.qmp\"]\nlibvirt = [\"qemu:///system\"]");
  const std::string text = DiagnosisText(Diagnose(facts_), 80, false);
  EXPECT_THAT(text, testing::StartsWith("39: web1 (pid 1), web2 (pid 2), "));
  EXPECT_THAT(text, testing::HasSubstr("web39 (pid 39)  unwatched\n"));
  for (NodeProcess& process : facts_.processes) process.arguments.resize(3);
  const Finding none = Only(facts_, "no-monitor");
  EXPECT_THAT(none.subjects, testing::SizeIs(39));
  EXPECT_THAT(none.line(), testing::HasSubstr("path=/run/qemu/NAME.qmp,"));
}

// QEMUs with the monitors /run/qemu/1.qmp to 39.qmp, which nobody has.
NodeFacts ManyQemus() {
  NodeFacts facts = HealthyNode();
  facts.processes.clear();
  facts.sockets.clear();
  for (uint32_t pid = 1; pid <= 39; ++pid) {
    const std::string path = absl::StrCat("/run/qemu/", pid, ".qmp");
    auto qemu = Process(pid, "qemu-system-x86",
                        {"kvm", "-name", absl::StrCat("web", pid), "-qmp",
                         absl::StrCat("unix:", path, ",server=on,wait=off")});
    qemu.sockets = {{9, 1000 + pid}};
    facts.sockets.push_back({1000 + pid, path, true});
    facts.processes.push_back(std::move(qemu));
  }
  return facts;
}

TEST_F(DiagnosisTest, AProcessThatHoldsManyMonitorsIsOneFinding) {
  NodeFacts facts = ManyQemus();
  EXPECT_TRUE(Diagnose(facts).findings.empty());
  auto holder = Process(99, "socat", {"socat"});
  for (uint32_t pid = 1; pid <= 39; ++pid) {
    facts.sockets.push_back(
        {2000 + pid, absl::StrCat("/run/qemu/", pid, ".qmp"), false, false, 3000 + pid});
    facts.sockets.push_back({3000 + pid, "", false, false, 2000 + pid});
    facts.processes[pid - 1].sockets[10] = 2000 + pid;
    holder.sockets[static_cast<int>(pid)] = 3000 + pid;
  }
  facts.processes.push_back(std::move(holder));
  const Finding finding = Only(facts, "held-monitor");
  EXPECT_THAT(finding.subjects, testing::SizeIs(39));
  EXPECT_THAT(finding.what, testing::StartsWith("The monitor is held by socat (pid 99). "));
  EXPECT_EQ(finding.line(), "ps -o pid,user,lstart,args -p 99");
}

TEST_F(DiagnosisTest, QemusThatASignalStoppedAreContinuedByOneLine) {
  NodeFacts facts = ManyQemus();
  facts.processes.resize(3);
  for (NodeProcess& process : facts.processes) process.state = 'T';
  EXPECT_EQ(Only(facts, "hung-monitor").line(), "kill -CONT 1 2 3");
}

TEST_F(DiagnosisTest, MoreThanPeopleReadIsCounted) {
  Diagnosis diagnosis;
  diagnosis.findings.push_back(
      {"problem", std::vector<std::string>(9000, "a"), "b", {{Place::kShell, "c"}}});
  const std::string text = DiagnosisText(diagnosis, 80, false);
  EXPECT_LT(text.size(), 1000);
  EXPECT_THAT(text, testing::StartsWith("9000: a, a, "));
  EXPECT_THAT(text, testing::HasSubstr("and 8960 more"));
}

TEST_F(DiagnosisTest, AWatchOfAManagersMonitorsIsReported) {
  NodeFacts facts;
  facts.watches = {{{"/run/qemu-server", "*.qmp"}, true}};
  EXPECT_TRUE(absl::StrContains(Only(facts, "manager").what, "Proxmox VE"));
  facts.watches.push_back({{"/srv/vms", "*.qmp"}, true});
  EXPECT_EQ(Only(facts, "manager").line(), "watch = [\"/srv/vms:*.qmp\", \"/run/qemu:*.qmp\"]");
}

TEST_F(DiagnosisTest, ADirectoryThatOnlyTheDaemonMissesIsAMatterOfRights) {
  facts_.info.add_directories()->set_path("/run/qemu");
  EXPECT_EQ(Only(facts_, "rights").line(), "setfacl -m u:vmeventd:rx /run/qemu");
  EXPECT_THAT(Only(facts_, "rights").what, HasSubstr("needs the package acl"));
  facts_.processes.push_back(Process(9, "vmeventd", {"vmeventd"}));
  facts_.daemon_pid = 9;
  facts_.processes.back().user = "CORP\\watch";
  EXPECT_EQ(Only(facts_, "rights").line(), "setfacl -m 'u:CORP\\watch:rx' /run/qemu");
}

TEST_F(DiagnosisTest, ASocketThatTheDaemonMayNotOpenGetsItsRights) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/run/qemu/a.qmp' "
      "problem { code: PROBLEM_CODE_PERMISSION_DENIED text: 'Permission denied' } } "
      "unfollowed_sockets { path: '/run/qemu/my vm.qmp' "
      "problem { code: PROBLEM_CODE_PERMISSION_DENIED text: 'Permission denied' } }");
  const Finding finding = Only(facts_, "rights");
  EXPECT_EQ(finding.line(),
            "setfacl -m u:vmeventd:rx,d:u:vmeventd:rw /run/qemu/ && "
            "setfacl -m u:vmeventd:rw /run/qemu/a.qmp '/run/qemu/my vm.qmp'")
      << "it changes no other file of the directory";
  EXPECT_THAT(finding.what, AllOf(HasSubstr("needs the package acl"), HasSubstr("UMask=0007")));
}

TEST_F(DiagnosisTest, ForAConfinedDaemonTheLineShowsTheDenialsOfItsProfile) {
  facts_.processes.push_back(Process(9, "vmeventd", {"vmeventd"}));
  facts_.processes.back().is_confined = true;
  facts_.daemon_pid = 9;
  facts_.info.add_directories()->set_path("/run/qemu");
  const Finding directory = Only(facts_, "rights");
  EXPECT_EQ(directory.line(),
            "journalctl -k --grep 'apparmor=\"DENIED\".*vmeventd' -n 20 --no-pager");
  EXPECT_THAT(directory.what, AllOf(HasSubstr("AppArmor profile may deny"),
                                    HasSubstr("/etc/apparmor.d/local/vmeventd")));
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/srv/a.sock' "
      "problem { code: PROBLEM_CODE_PERMISSION_DENIED text: 'Permission denied' } }");
  EXPECT_EQ(Only(facts_, "rights").line(), directory.line());
}

TEST_F(DiagnosisTest, ADirectoryThatHangsIsAFinding) {
  facts_.watches[0].hangs = true;
  facts_.info.add_directories()->set_path("/run/qemu");
  EXPECT_THAT(Only(facts_, "hang").what, HasSubstr("does not answer"));
}

TEST_F(DiagnosisTest, ADaemonThatMayNotReadLastWordsIsAFinding) {
  facts_.processes.push_back(Process(8, "vmeventd", {"vmeventd"}));
  facts_.daemon_pid = 8;
  NodeProcess* const daemon = &facts_.processes.back();
  facts_.info.add_libvirt_connections()->set_connected(true);
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty());
  daemon->reads_logs = false;
  const Finding finding = Only(facts_, "words");
  EXPECT_THAT(finding.what, testing::HasSubstr("it needs CAP_DAC_OVERRIDE"));
  EXPECT_EQ(finding.line(), "grep CapEff /proc/8/status; ls -ld /proc/8/root/var/log/libvirt/qemu");
  facts_.info.clear_libvirt_connections();
  EXPECT_THAT(Diagnose(facts_).findings, testing::IsEmpty());
  daemon->reads_journal = false;
  EXPECT_THAT(Only(facts_, "words").line(),
              testing::HasSubstr("\\nSupplementaryGroups=systemd-journal"));
  daemon->cgroups = "0::/docker/0a1b";
  EXPECT_EQ(Only(facts_, "words").steps.at(0).place, Place::kContainer);
}

TEST_F(DiagnosisTest, SocketsThatWereLeftAreDeletedByOneLine) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/run/qemu/a.qmp' "
      "problem { code: PROBLEM_CODE_REFUSED text: 'nobody listens' } } "
      "unfollowed_sockets { path: '/run/qemu/my vm.qmp' "
      "problem { code: PROBLEM_CODE_REFUSED text: 'nobody listens' } }");
  EXPECT_EQ(Only(facts_, "problem").line(),
            "for socket in /run/qemu/a.qmp '/run/qemu/my vm.qmp'; do [ \"$(grep -cF \"$socket\" "
            "/proc/net/unix)\" = 0 ] && rm \"$socket\"; done");
}

TEST_F(DiagnosisTest, NoFileNameAddsALine) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "unfollowed_sockets { path: '/run/qemu/a\\necho PWNED >p\\nb.qmp' "
      "problem { code: PROBLEM_CODE_REFUSED text: 'nobody listens' } }");
  const Finding finding = Only(facts_, "problem");
  const std::string line =
      "for socket in $'/run/qemu/a\\necho PWNED >p\\nb.qmp'; do [ \"$(grep -cF \"$socket\" "
      "/proc/net/unix)\" = 0 ] && rm \"$socket\"; done";
  EXPECT_EQ(finding.line(), line);
  const Diagnosis diagnosis = Diagnose(facts_);
  EXPECT_THAT(DiagnosisText(diagnosis, 80, false), HasSubstr("    paste: " + line + "\n"));
  const auto json = nlohmann::json::parse(DiagnosisLines(diagnosis, Form::kJson));
  EXPECT_EQ(json["steps"][0]["line"], line);
}

TEST_F(DiagnosisTest, ADaemonThatDoesNotServeIsAFinding) {
  facts_.address = "unix:/run/vmeventd/vmeventd.sock";
  facts_.is_serving = false;
  const Finding finding = Only(facts_, "daemon");
  EXPECT_THAT(finding.subjects, ElementsAre(facts_.address));
  EXPECT_EQ(finding.line(), "vmevents info");
}

TEST_F(DiagnosisTest, AnAddressWithoutAListenerIsAFinding) {
  facts_.info = FromText<v1::GetServerInfoResponse>(
      "listeners { address: '127.0.0.1:7070' listening: true } listeners { address: 'unix:/srv/s' "
      "}");
  auto daemon = Process(9, "vmeventd", {"vmeventd"});
  daemon.cgroups = "0::/system.slice/vmeventd.service\n";
  facts_.processes.push_back(daemon);
  facts_.daemon_pid = 9;
  const Finding finding = Only(facts_, "listen");
  EXPECT_THAT(finding.subjects, ElementsAre("unix:/srv/s"));
  EXPECT_EQ(finding.line(), "journalctl -n 30 --no-pager -u vmeventd.service");
}

TEST_F(DiagnosisTest, AJournalThatCannotBeWrittenHasItsReason) {
  v1::GetServerInfoResponse* const info = &facts_.info;
  info->set_journal_path("/var/lib/my d/journal.db");
  info->mutable_journal_problem()->set_code(v1::PROBLEM_CODE_JOURNAL_UNAVAILABLE);
  info->mutable_journal_problem()->set_text("database or disk is full");
  const Finding full = Only(facts_, "journal");
  EXPECT_THAT(full.subjects, ElementsAre("/var/lib/my d/journal.db"));
  EXPECT_THAT(full.what, HasSubstr("not durable: database or disk is full. They wait"));
  EXPECT_EQ(full.line(), "findmnt -T '/var/lib/my d/' -o TARGET,SOURCE,OPTIONS,AVAIL,USE%");
  info->mutable_journal_problem()->set_code(v1::PROBLEM_CODE_JOURNAL_DAMAGED);
  EXPECT_EQ(Only(facts_, "journal").line(), "systemctl restart vmeventd.service");
}

TEST_F(DiagnosisTest, TheDaemonThatWasAskedIsRestartedForItsDamagedJournal) {
  facts_.info.mutable_journal_problem()->set_code(v1::PROBLEM_CODE_JOURNAL_DAMAGED);
  facts_.processes.push_back(Process(9, "vmeventd", {"vmeventd"}));
  facts_.daemon_pid = 9;
  const std::string id = "0a1b";
  const struct {
    std::string cgroup;
    bool is_root;
    std::string line;
  } kCases[] = {
      {"/system.slice/events@a\\x2db.service", true, "systemctl restart 'events@a\\x2db.service'"},
      {"/user.slice/user-1000.slice/user@1000.service/app.slice/vmeventd.service", false,
       "systemctl --user restart vmeventd.service"},
      {"/user.slice/user-1000.slice/user@1000.service/app.slice/vmeventd.service", true,
       "systemctl --user -M alice@.host restart vmeventd.service"},
      {"/user.slice/user-1000.slice/session-3.scope", true, "ps -o pid,user,lstart,args -p 9"},
      {"/system.slice/docker-0a1b.scope", true, "docker restart 0a1b"},
      {"/machine.slice/libpod-0a1b.scope/container", true, "podman restart 0a1b"},
      {"/system.slice/vmeventd.service/libpod-payload-0a1b", true,
       "systemctl restart vmeventd.service"},
      {"/kubepods.slice/kubepods-pod1.slice/cri-containerd-0a1b.scope", true,
       "ps -o pid,user,lstart,args -p 9"},
  };
  for (const auto& expected : kCases) {
    facts_.processes.back().user = "alice";
    facts_.processes.back().cgroups = absl::StrCat("0::", expected.cgroup, "\n");
    facts_.is_root = expected.is_root;
    EXPECT_EQ(Diagnose(facts_).findings[0].line(), expected.line) << expected.cgroup;
  }
}

TEST_F(DiagnosisTest, AProblemThatTheDaemonReportsOfAFreeMonitorIsAFinding) {
  facts_.vms = {FromText<v1::Vm>(
      "ref { name: 'web1' pid: 7 } problems { text: 'no file descriptor is left' }")};
  EXPECT_EQ(Only(facts_, "problem").line(), "vmevents vms");
}

TEST_F(DiagnosisTest, ForeignBytesHarmNoOutput) {
  Diagnosis diagnosis;
  diagnosis.findings.push_back({"problem", {"a\x1b[2J\xff"}, "b\nc", {{Place::kShell, "d\x07"}}});
  const std::string text = DiagnosisText(diagnosis, 80, false);
  EXPECT_FALSE(absl::StrContains(text, "\x1b"));
  EXPECT_FALSE(absl::StrContains(text, "\x07"));
  EXPECT_EQ(absl::c_count(DiagnosisLines(diagnosis, Form::kJson), '\n'), 1);
}

TEST_F(DiagnosisTest, TheSummaryNamesTheDaemonAndExplainsItsNumbers) {
  const Diagnosis here = {.asked = "Asked vmeventd 0.2.0 of node1 at unix:/s, which has 2 VMs",
                          .qemus = 4,
                          .followed = 2,
                          .usable = 1};
  EXPECT_EQ(
      DiagnosisText(here, 200, false),
      "Asked vmeventd 0.2.0 of node1 at unix:/s, which has 2 VMs. 4 QEMUs here: 2 followed, 1 "
      "that can be followed, 1 not followed. No findings.\n");
  EXPECT_EQ(DiagnosisText({.asked = "A", .qemus = 1, .followed = 1}, 200, false),
            "A. 1 QEMU here: 1 followed. No findings.\n");
  EXPECT_EQ(DiagnosisText({.asked = "A", .examined = true}, 200, false),
            "A. No QEMU runs here. No findings.\n");
}

TEST_F(DiagnosisTest, ADaemonOfAnotherNodeIsAskedAlone) {
  NodeFacts facts;
  facts.address = "node1:9555";
  facts.info.set_version("0.2.0");
  facts.info.set_node("node1");
  EXPECT_EQ(Diagnose(facts).asked,
            "Asked vmeventd 0.2.0 of node1 at node1:9555, which has 0 VMs. Its QEMUs were not "
            "examined: run `vmevents doctor` there");
  EXPECT_THAT(Diagnose(facts).findings, testing::IsEmpty());
}

}  // namespace
}  // namespace vmeventd::client
