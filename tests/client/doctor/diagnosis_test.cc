#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "client/doctor/doctor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

constexpr uint32_t kListener = 100;
constexpr uint32_t kAccepted = 101;
constexpr uint32_t kClient = 102;

NodeProcess Process(int64_t pid, std::string program, std::vector<std::string> arguments) {
  NodeProcess process;
  process.pid = pid;
  process.program = std::move(program);
  process.arguments = std::move(arguments);
  process.state = 'S';
  process.user = "root";
  process.sees_descriptors = true;
  return process;
}

// A node with one QEMU, web1, whose monitor is free, and a daemon that watches its directory.
NodeFacts HealthyNode() {
  NodeFacts facts;
  facts.is_root = true;
  facts.watches = {{{"/run/qemu", "", ".qmp"}, true}};
  auto qemu = Process(7, "qemu-system-x86",
                      {"qemu-system-x86_64", "-name", "web1", "-qmp",
                       "unix:/run/qemu/web1.qmp,server=on,wait=off"});
  qemu.sockets = {{9, kListener}};
  facts.processes.push_back(std::move(qemu));
  facts.sockets.push_back({kListener, "/run/qemu/web1.qmp", true, 0, 0});
  return facts;
}

void Connect(NodeFacts* facts, NodeProcess client) {
  facts->sockets.push_back({kAccepted, "/run/qemu/web1.qmp", false, 0, kClient});
  facts->sockets.push_back({kClient, "", false, 0, kAccepted});
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

TEST(DiagnosisTest, AHealthyNodeHasNoFindings) {
  const Diagnosis diagnosis = Diagnose(HealthyNode());
  EXPECT_TRUE(diagnosis.findings.empty());
  EXPECT_EQ(diagnosis.qemus, 1);
  EXPECT_EQ(diagnosis.usable, 1);
}

TEST(DiagnosisTest, AMonitorThatVmeventdHoldsIsHealthy) {
  NodeFacts facts = HealthyNode();
  Connect(&facts, Process(8, "vmeventd", {"vmeventd"}));
  EXPECT_TRUE(Diagnose(facts).findings.empty());
}

TEST(DiagnosisTest, AHeldMonitorNamesItsHolder) {
  NodeFacts facts = HealthyNode();
  Connect(&facts, Process(8, "socat", {"socat"}));
  const Finding finding = Only(facts, "held-monitor");
  EXPECT_THAT(finding.subjects, testing::ElementsAre("web1 (pid 7)"));
  EXPECT_TRUE(absl::StrContains(finding.what, "/run/qemu/web1.qmp is held by socat (pid 8)"));
  EXPECT_EQ(finding.line, "kill 8");
  EXPECT_EQ(Diagnose(facts).usable, 0);
}

TEST(DiagnosisTest, AHolderThatCannotBeSeenIsNotInvented) {
  NodeFacts facts = HealthyNode();
  Connect(&facts, Process(8, "socat", {"socat"}));
  facts.processes.pop_back();
  EXPECT_EQ(Only(facts, "held-monitor").line, "ss -xp | grep -F /run/qemu/web1.qmp");
}

TEST(DiagnosisTest, KvmdOnTheSameMonitorIsDisabled) {
  NodeFacts facts = HealthyNode();
  Connect(&facts, Process(8, "ganeti-kvmd", {"ganeti-kvmd"}));
  EXPECT_EQ(Only(facts, "held-monitor").line, "systemctl disable --now ganeti-kvmd");
}

TEST(DiagnosisTest, AQemuThatAcceptsNobodyHangs) {
  NodeFacts facts = HealthyNode();
  facts.sockets[0].pending = 1;
  EXPECT_TRUE(Diagnose(facts).findings.empty()) << "it may accept in this moment";
  facts.waited_at = {kListener};
  EXPECT_TRUE(absl::StrContains(Only(facts, "hung-monitor").what, "1 client waits"));
}

TEST(DiagnosisTest, AQemuStoppedByASignalIsContinued) {
  NodeFacts facts = HealthyNode();
  facts.processes[0].state = 'T';
  EXPECT_EQ(Only(facts, "hung-monitor").line, "kill -CONT 7");
}

TEST(DiagnosisTest, AQemuWithoutAMonitorGetsItsArguments) {
  NodeFacts facts = HealthyNode();
  facts.processes[0].arguments = {"kvm", "-name", "web1"};
  const Finding finding = Only(facts, "no-monitor");
  EXPECT_EQ(finding.place, Place::kQemu);
  EXPECT_EQ(finding.line,
            "-chardev socket,id=events,path=/run/qemu/web1.qmp,server=on,wait=off -mon "
            "chardev=events,mode=control");
}

TEST(DiagnosisTest, AFreeMonitorElsewhereGetsAWatch) {
  NodeFacts facts = HealthyNode();
  facts.watches[0].spec.directory = "/srv/vms";
  EXPECT_EQ(Only(facts, "unwatched").line, "watch = [\"/run/qemu:*.qmp\"]");
}

TEST(DiagnosisTest, AMonitorOfLibvirtIsFollowedThroughLibvirt) {
  NodeFacts facts = HealthyNode();
  facts.processes[0].arguments = {"kvm", "-chardev", "socket,id=m,fd=9,server=on", "-mon",
                                  "chardev=m,mode=control"};
  facts.sockets[0].path = "/var/lib/libvirt/qemu/domain-1-web1/monitor.sock";
  EXPECT_EQ(Only(facts, "unwatched").line, "libvirt = [\"qemu:///system\"]");
}

TEST(DiagnosisTest, ANodeWithoutGanetiNeedsNoDirectoryOfGanetis) {
  NodeFacts facts;
  facts.is_root = true;
  facts.watches = {{*ParseWatchSpec(kGanetiControlDirectory), false}};
  EXPECT_EQ(Only(facts, "directory").line, "watch = [\"/run/qemu:*.qmp\"]");
  facts.has_ganeti = true;
  EXPECT_THAT(Only(facts, "directory").line, testing::HasSubstr("install -d"));
}

TEST(DiagnosisTest, ADaemonThatMayNotBeAskedIsNotStarted) {
  NodeFacts facts = HealthyNode();
  facts.daemon.failure = "permission denied on the socket /run/vmeventd/vmeventd.sock";
  facts.daemon.forbidden = true;
  EXPECT_EQ(Only(facts, "daemon").line, "sudo vmevents doctor");
  facts.daemon.group = "vmeventd";
  EXPECT_EQ(Only(facts, "daemon").line, "sudo usermod -aG vmeventd \"$USER\"");
  EXPECT_EQ(Only(facts, "daemon").what,
            "You may not ask vmeventd: permission denied on the socket "
            "/run/vmeventd/vmeventd.sock. Members of the group vmeventd may, from their next "
            "login on.");
  facts.daemon.forbidden = false;
  facts.daemon.failure = "nobody listens: is vmeventd running there?";
  EXPECT_THAT(Only(facts, "daemon").what, testing::EndsWith("running there?"));
  facts.daemon.failure.clear();
  v1::LibvirtConnection* const libvirt = facts.daemon.info.add_libvirt_connections();
  libvirt->set_problem("no such file; is libvirtd running there?");
  EXPECT_THAT(Only(facts, "libvirt").what, testing::EndsWith("running there?"));
}

TEST(DiagnosisTest, ANodeWhereSendersOfSignalsAreNotSeenOrNotAll) {
  NodeFacts facts = HealthyNode();
  v1::SignalSenderWatch* const senders = facts.daemon.info.mutable_signal_senders();
  senders->set_problem("--signal-senders is off");
  EXPECT_TRUE(Diagnose(facts).findings.empty()) << "nobody misses it";
  senders->set_problem("no tracefs");
  EXPECT_EQ(Only(facts, "senders").what,
            "Who kills a VM is not seen, so a kill is a CRASH, by whom is not known: no tracefs.");
  senders->set_active(true);
  senders->set_problem("processor 9 is new");
  EXPECT_EQ(Only(facts, "senders").what,
            "Who kills a VM is not seen on every processor, so a kill may be a CRASH, by whom is "
            "not known: processor 9 is new.");
}

TEST(DiagnosisTest, AHostOfSystemdsWhoseShutdownNobodySays) {
  NodeFacts facts = HealthyNode();
  facts.daemon.info.mutable_host_shutdown()->set_problem(
      "no system bus: No such file or directory");
  EXPECT_TRUE(Diagnose(facts).findings.empty());
  facts.has_systemd = true;
  EXPECT_THAT(Only(facts, "host").what,
              testing::EndsWith("no system bus: No such file or directory."));
}

TEST(DiagnosisTest, ANodeThatCannotPublish) {
  NodeFacts facts = HealthyNode();
  v1::Publishing* publishing = facts.daemon.info.mutable_publishing();
  publishing->set_connected(true);
  EXPECT_TRUE(Diagnose(facts).findings.empty());
  publishing->set_problem("cannot write the VMs' last states: no right");
  facts.daemon.info.set_newest_sequence(7);
  publishing->set_sequence(7);
  EXPECT_EQ(Only(facts, "publishing").what,
            "Publishing to the fleet has a problem: cannot write the VMs' last states: no right.");
  publishing->set_sequence(5);
  publishing->set_connected(false);
  publishing->set_problem("there is no stream VMEVENTS");
  EXPECT_EQ(
      Only(facts, "publishing").what,
      "Nothing is published to the fleet now: there is no stream VMEVENTS. Events wait in the "
      "journal.");
}

TEST(DiagnosisTest, OneCauseOfManyIsOneFinding) {
  NodeFacts facts = HealthyNode();
  facts.processes.clear();
  facts.sockets.clear();
  for (int64_t pid = 1; pid <= 39; ++pid) {
    facts.processes.push_back(Process(
        pid, "qemu-system-x86",
        {"kvm", "-name", absl::StrCat("web", pid), "-qmp",
         absl::StrCat("unix:/var/lib/libvirt/qemu/domain-", pid, "/monitor.sock,server=on")}));
  }
  const Finding libvirt = Only(facts, "unwatched");
  EXPECT_THAT(libvirt.subjects, testing::SizeIs(39));
  EXPECT_EQ(libvirt.subjects.back(), "web39 (pid 39)");
  EXPECT_EQ(libvirt.line, "libvirt = [\"qemu:///system\"]");
  const std::string text = DiagnosisText(Diagnose(facts), 80, false);
  EXPECT_THAT(text, testing::StartsWith("39: web1 (pid 1), web2 (pid 2), "));
  EXPECT_THAT(text, testing::HasSubstr("web39 (pid 39)  unwatched\n"));
  for (NodeProcess& process : facts.processes) process.arguments.resize(3);
  const Finding none = Only(facts, "no-monitor");
  EXPECT_THAT(none.subjects, testing::SizeIs(39));
  EXPECT_THAT(none.line, testing::HasSubstr("path=/run/qemu/NAME.qmp,"));
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
    facts.sockets.push_back({1000 + pid, path, true, 0, 0});
    facts.processes.push_back(std::move(qemu));
  }
  return facts;
}

TEST(DiagnosisTest, OneThatHoldsManyMonitorsIsOneFinding) {
  NodeFacts facts = ManyQemus();
  EXPECT_TRUE(Diagnose(facts).findings.empty());
  auto holder = Process(99, "socat", {"socat"});
  for (uint32_t pid = 1; pid <= 39; ++pid) {
    facts.sockets.push_back(
        {2000 + pid, absl::StrCat("/run/qemu/", pid, ".qmp"), false, 0, 3000 + pid});
    facts.sockets.push_back({3000 + pid, "", false, 0, 2000 + pid});
    facts.processes[pid - 1].sockets[10] = 2000 + pid;
    holder.sockets[static_cast<int>(pid)] = 3000 + pid;
  }
  facts.processes.push_back(std::move(holder));
  const Finding finding = Only(facts, "held-monitor");
  EXPECT_THAT(finding.subjects, testing::SizeIs(39));
  EXPECT_THAT(finding.what, testing::StartsWith("Their monitors are held by socat (pid 99). "));
  EXPECT_EQ(finding.line, "kill 99");
}

TEST(DiagnosisTest, QemusThatASignalStoppedAreContinuedByOneLine) {
  NodeFacts facts = ManyQemus();
  facts.processes.resize(3);
  for (NodeProcess& process : facts.processes) process.state = 'T';
  EXPECT_EQ(Only(facts, "hung-monitor").line, "kill -CONT 1 2 3");
}

TEST(DiagnosisTest, MonitorsThatAreGoneTogetherAreOneFinding) {
  NodeFacts facts = ManyQemus();
  facts.sockets.clear();
  const Finding finding = Only(facts, "no-monitor");
  EXPECT_THAT(finding.subjects, testing::SizeIs(39));
  EXPECT_EQ(finding.line, "ls -l /run/qemu");
}

TEST(DiagnosisTest, MoreThanPeopleReadIsCounted) {
  Diagnosis diagnosis;
  diagnosis.findings.push_back({"problem", std::vector<std::string>(9000, "a"), "b", {}, "c"});
  const std::string text = DiagnosisText(diagnosis, 80, false);
  EXPECT_LT(text.size(), 1000);
  EXPECT_THAT(text, testing::StartsWith("9000: a, a, "));
  EXPECT_THAT(text, testing::HasSubstr("and 8960 more"));
}

TEST(DiagnosisTest, AWatchOfAManagersMonitorsIsReported) {
  NodeFacts facts;
  facts.is_root = true;
  facts.watches = {{{"/run/qemu-server", "", ".qmp"}, true}};
  EXPECT_TRUE(absl::StrContains(Only(facts, "manager").what, "Proxmox VE"));
}

TEST(DiagnosisTest, ADirectoryThatOnlyTheDaemonMissesIsAMatterOfRights) {
  NodeFacts facts = HealthyNode();
  auto* directory = facts.daemon.info.add_directories();
  directory->set_path("/run/qemu");
  directory->set_present(false);
  EXPECT_EQ(Only(facts, "rights").line, "setfacl -m u:vmeventd:rx /run/qemu");
}

TEST(DiagnosisTest, AMissingDirectoryIsMade) {
  NodeFacts facts = HealthyNode();
  facts.watches.push_back({{"/run/it's", "", ".qmp"}, false});
  EXPECT_EQ(Only(facts, "directory").line, "install -d -m 0755 '/run/it'\\''s'");
}

TEST(DiagnosisTest, TheDaemonsDescriptorsAreCompared) {
  NodeFacts facts = HealthyNode();
  auto daemon = Process(8, "vmeventd", {"vmeventd"});
  daemon.descriptor_limit = 1;
  facts.processes.push_back(std::move(daemon));
  EXPECT_TRUE(absl::StrContains(Only(facts, "descriptors").line, "LimitNOFILE="));
}

TEST(DiagnosisTest, WhatTheDaemonSaysOfAFreeMonitorIsAFinding) {
  NodeFacts facts = HealthyNode();
  v1::Vm vm;
  vm.mutable_ref()->set_name("web1");
  vm.mutable_ref()->set_pid(7);
  vm.add_problems("no file descriptor is left");
  facts.daemon.vms = {vm};
  EXPECT_EQ(Only(facts, "problem").line, "vmevents vm web1");
}

TEST(DiagnosisTest, AnUnreachableDaemonIsAFinding) {
  NodeFacts facts = HealthyNode();
  facts.daemon.address = "unix:/run/vmeventd/vmeventd.sock";
  facts.daemon.failure = "nobody listens";
  EXPECT_TRUE(absl::StrContains(Only(facts, "daemon").what, "nobody listens"));
}

TEST(DiagnosisTest, ForeignBytesHarmNoOutput) {
  Diagnosis diagnosis;
  diagnosis.findings.push_back({"problem", {"a\x1b[2J\xff"}, "b\nc", Place::kShell, "d\x07"});
  const std::string text = DiagnosisText(diagnosis, 80, false);
  EXPECT_FALSE(absl::StrContains(text, "\x1b"));
  EXPECT_FALSE(absl::StrContains(text, "\x07"));
  EXPECT_TRUE(absl::StrContains(text, "0 QEMU processes, 0 with a usable monitor; 1 finding\n"));
  EXPECT_EQ(DiagnosisJson(diagnosis).size(), 1);
}

TEST(DoctorTest, TheConfigurationNamesTheWatches) {
  const auto watches = WatchesOfConfiguration(
      "# a comment\nwatch = [\"/run/vms:*.qmp\", \"/srv/vms\"]\nlog-level = \"info\"\n");
  ASSERT_TRUE(watches.ok()) << watches.status();
  ASSERT_EQ(watches->size(), 2);
  EXPECT_EQ((*watches)[0].suffix, ".qmp");
  EXPECT_EQ(WatchesOfConfiguration("")->front().directory, kGanetiControlDirectory);
  EXPECT_TRUE(WatchesOfConfiguration("libvirt = [\"qemu:///system\"]\n")->empty());
}

}  // namespace
}  // namespace vmeventd::client
