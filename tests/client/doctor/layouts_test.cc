#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/file_text.h"
#include "client/doctor/finding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// A node with QEMUs in unusual layouts, and a daemon that watches /run/qemu.
class DoctorLayoutsTest : public testing::Test {
 protected:
  DoctorLayoutsTest() {
    facts_.examined = true;
    facts_.is_root = true;
    facts_.watches = {{{"/run/qemu", "*.qmp"}, true}};
  }

  // Adds a QEMU with this command line, which listens at these paths. Valid until the next one.
  NodeProcess& AddQemu(absl::string_view arguments, const std::vector<std::string>& paths = {}) {
    NodeProcess qemu = {.pid = static_cast<int64_t>(facts_.processes.size()) + 7,
                        .program = "qemu-system-x86",
                        .arguments = absl::StrSplit(arguments, ' '),
                        .state = 'S',
                        .user = "root",
                        .sees_descriptors = true,
                        .qemu = QemuFacts()};
    for (const std::string& path : paths) {
      const auto inode = static_cast<uint32_t>(facts_.sockets.size()) + 100;
      qemu.sockets[static_cast<int>(inode)] = inode;
      facts_.sockets.push_back({inode, path, true});
    }
    facts_.processes.push_back(std::move(qemu));
    return facts_.processes.back();
  }

  std::vector<Finding> Findings() const { return Diagnose(facts_).findings; }

  // The only finding.
  Finding Found() const {
    const std::vector<Finding> findings = Findings();
    EXPECT_EQ(findings.size(), 1);
    return findings.empty() ? Finding() : findings[0];
  }

  NodeFacts facts_;
};

TEST_F(DoctorLayoutsTest, TheExtraMonitorOfOneKataVmIsWatchedWithoutKatasOwn) {
  const std::string own = "/run/vc/vm/0a/qmp.sock";
  const std::string extra = "/run/vc/vm/0a/extra-monitor.sock";
  AddQemu(absl::StrCat("qemu-system-x86_64 -name sandbox-0a -qmp unix:", own,
                       ",server=on -qmp unix:", extra, ",server=on"),
          {own, extra});
  EXPECT_EQ(Found().line(), "watch = [\"/run/qemu:*.qmp\", \"/run/vc/vm/*:extra-monitor.sock\"]");
}

TEST_F(DoctorLayoutsTest, AWatchThatVmeventdRefusesIsNotProposed) {
  for (const char* const path :
       {"/srv/vm#1/web1.qmp", "/srv/../a/web1.qmp", "/srv/a'\\b/web1.qmp"}) {
    facts_.processes.clear();
    facts_.sockets.clear();
    AddQemu(absl::StrCat("qemu-system-x86_64 -name web1 -qmp unix:", path, ",server=on"), {path});
    EXPECT_THAT(Found().line(),
                AllOf(HasSubstr("path=/run/qemu/web1.qmp"), Not(HasSubstr("watch"))));
  }
}

TEST_F(DoctorLayoutsTest, AMonitorInTheRootDirectoryGetsAWatch) {
  AddQemu("qemu-system-x86_64 -name web1 -qmp unix:/web1.qmp,server=on", {"/web1.qmp"});
  EXPECT_EQ(Found().line(), "watch = [\"/run/qemu:*.qmp\", \"/:*.qmp\"]");
}

TEST_F(DoctorLayoutsTest, AProposedPathIsNotInUse) {
  AddQemu("qemu-system-x86_64 -name web1");
  facts_.files = {"/run/qemu/web1.qmp"};
  EXPECT_THAT(Found().line(), HasSubstr("path=/run/qemu/web1-events.qmp,"));
  facts_.files.insert("/run/qemu/web1-events.qmp");
  EXPECT_THAT(Found().line(), HasSubstr("path=/run/qemu/web1-7.qmp,"));
  facts_.files.insert("/run/qemu/web1-7.qmp");
  EXPECT_THAT(Found().line(), HasSubstr("path=/run/qemu/web1-7-3.qmp,"));
}

TEST_F(DoctorLayoutsTest, QemusGetDifferentPaths) {
  for (const char* const name : {" -name web1", " -name web1", "", ""}) {
    AddQemu(absl::StrCat("qemu-system-x86_64", name));
  }
  std::vector<std::string> lines;
  for (const Finding& finding : Findings()) lines.push_back(finding.line());
  EXPECT_THAT(lines, ElementsAre(HasSubstr("/web1.qmp,"), HasSubstr("/web1-events.qmp,"),
                                 HasSubstr("/vm-9.qmp,"), HasSubstr("/vm-10.qmp,")));
}

TEST_F(DoctorLayoutsTest, AProposedPathFitsIntoAnAddress) {
  AddQemu("qemu-system-x86_64 -name shop/web1");
  EXPECT_THAT(Found().line(), HasSubstr("path=/run/qemu/shop-web1.qmp,"));
  const std::string name(200, 'x');
  facts_.processes[0].arguments.back() = name;
  const std::string path = absl::StrCat("/run/qemu/", name.substr(0, 107 - 14), ".qmp");
  EXPECT_EQ(path.size(), 107);
  EXPECT_THAT(Found().line(), HasSubstr(absl::StrCat("path=", path, ",")));
  AddQemu(absl::StrCat("qemu-system-x86_64 -name ", name));
  EXPECT_THAT(Findings()[1].line(),
              HasSubstr(absl::StrCat("path=/run/qemu/", name.substr(0, 107 - 21), "-events.qmp,")));
}

TEST_F(DoctorLayoutsTest, ADirectoryThatIsTooLongForQemuIsNotProposed) {
  AddQemu("qemu-system-x86_64 -name web1");
  facts_.watches[0].spec.directory = absl::StrCat("/srv/", std::string(90, 'd'));
  EXPECT_THAT(Found().line(), HasSubstr("path=/run/qemu/web1.qmp,"));
}

TEST_F(DoctorLayoutsTest, TheProposedLineMakesTheMissingTargetOfALinkedDirectory) {
  facts_.watches[0].exists = false;
  facts_.watches[0].target = "/srv/my vms";
  EXPECT_THAT(Found().what, HasSubstr("a symbolic link to /srv/my vms, which does not exist"));
  EXPECT_EQ(Found().line(), "install -d -m 0755 '/srv/my vms'");
}

TEST_F(DoctorLayoutsTest, AContainersDirectoryIsNotSharedOverAnotherVmsMonitor) {
  for (const char* const name : {"web1", "web2"}) {
    const std::string path = absl::StrCat("/sock/", name, "/events.qmp");
    NodeProcess& qemu = AddQemu(
        absl::StrCat("qemu-system-x86_64 -name ", name, " -qmp unix:", path, ",server=on"), {path});
    qemu.qemu->own_root = true;
    qemu.qemu->paths = {{path, std::nullopt}};
  }
  const std::vector<Finding> findings = Findings();
  ASSERT_EQ(findings.size(), 2);
  EXPECT_EQ(findings[0].line(), "-v /run/qemu:/sock/web1");
  EXPECT_THAT(findings[1].line(),
              AllOf(HasSubstr("path=/run/qemu/web2.qmp,"), HasSubstr("-v /run/qemu:/run/qemu")));
}

TEST_F(DoctorLayoutsTest, AQemuWhoseMonitorIsInAnUnknownDirectoryNeedsAnotherMonitor) {
  AddQemu("qemu-system-x86_64 -name web1 -daemonize -qmp unix:web1.qmp,server=on", {"web1.qmp"})
      .qemu->lost_paths = {"web1.qmp"};
  const Finding finding = Found();
  EXPECT_THAT(finding.what, HasSubstr("web1.qmp, is relative, and its directory is not known"));
  EXPECT_THAT(finding.line(), HasSubstr("path=/run/qemu/web1.qmp,"));
}

TEST_F(DoctorLayoutsTest, AHumanMonitorIsLeftAlone) {
  const std::string path = "/srv/vms/web1.qmp";
  const std::string chardev = absl::StrCat(" -chardev socket,id=m,path=", path, ",server=on");
  for (const std::string& arguments :
       {absl::StrCat(" -monitor unix:", path, ",server=on"), chardev + " -mon chardev=m",
        chardev + " -mon chardev=m,mode=readline", chardev + ",telnet=on -mon m,mode=control",
        absl::StrCat(" -readconfig /etc/vm.conf -monitor unix:", path, ",server=on")}) {
    facts_.processes.clear();
    facts_.sockets.clear();
    AddQemu(absl::StrCat("qemu-system-x86_64 -name web1", arguments), {path});
    EXPECT_THAT(Found().line(), HasSubstr("path=/run/qemu/web1.qmp,")) << arguments;
  }
  facts_.processes[0].arguments = {"qemu-system-x86_64", "-readconfig", "/etc/vm.conf"};
  EXPECT_THAT(Found().line(), HasSubstr("\"/srv/vms:*.qmp\"")) << "the file may name it";
}

TEST_F(DoctorLayoutsTest, AnAbstractSocketIsNotWatched) {
  AddQemu(
      "qemu-system-x86_64 -name web1 -chardev "
      "socket,id=m,path=/srv/vms/web1.qmp,abstract=on,server=on -mon m,mode=control",
      {""});
  facts_.sockets[0].abstract_name = "/srv/vms/web1.qmp";
  EXPECT_THAT(Found().line(),
              AllOf(HasSubstr("path=/run/qemu/web1.qmp,"), Not(HasSubstr("watch"))));
}

TEST_F(DoctorLayoutsTest, LimasCommandsRunAsTheVmsUserWithItsQemu) {
  NodeProcess& qemu = AddQemu(
      "/usr/bin/qemu-system-aarch64 -name lima-a -qmp unix:/home/u/.lima/a/qmp.sock,server=on");
  qemu.uid = 1000;
  qemu.user = "u";
  qemu.qemu->home = "/home/u";
  const auto line = [this] { return Findings().back().line(); };
  EXPECT_THAT(line(), AllOf(HasSubstr("\nsudo -u u limactl stop a\n"),
                            HasSubstr("\nsudo -u u env QEMU_SYSTEM_AARCH64='/usr/bin/"
                                      "qemu-system-aarch64 -chardev "),
                            HasSubstr("' limactl start a\n")));
  qemu.qemu->home = "/srv/u";
  EXPECT_THAT(line(), AllOf(HasSubstr("\nsudo -u u env LIMA_HOME=/home/u/.lima limactl stop a\n"),
                            HasSubstr(" env LIMA_HOME=/home/u/.lima QEMU_SYSTEM_AARCH64=")));
  facts_.is_root = false;
  EXPECT_THAT(line(), AllOf(HasSubstr("\nLIMA_HOME=/home/u/.lima limactl stop a\n"),
                            Not(HasSubstr("sudo"))));
}

TEST_F(DoctorLayoutsTest, AUsersLibvirtIsReachedByTheSocketThatExists) {
  AddQemu("qemu-system-x86_64 -name guest=a -chardev socket,id=charmonitor,fd=9").uid = 1000;
  facts_.sockets = {{1, "/run/user/1000/libvirt/virtqemud-sock", true}};
  const std::string line =
      "watch = [\"/run/qemu:*.qmp\"]\nlibvirt = "
      "[\"qemu+unix:///session?socket=/run/user/1000/libvirt/";
  EXPECT_EQ(Found().line(), line + "virtqemud-sock\"]");
  facts_.sockets.push_back({2, "/run/user/1000/libvirt/libvirt-sock", true});
  EXPECT_EQ(Found().line(), line + "libvirt-sock\"]");
}

TEST(SettingsTest, TextsAreQuotedAsVmeventdReadsThem) {
  EXPECT_EQ(QuoteForFile("/run/my vms:*.qmp"), "\"/run/my vms:*.qmp\"");
  EXPECT_EQ(QuoteForFile("/run/a\\x2db:*.qmp"), "'/run/a\\x2db:*.qmp'");
  EXPECT_EQ(QuoteForFile("/run/a \"b\":*.qmp"), "'/run/a \"b\":*.qmp'");
  EXPECT_EQ(QuoteForFile("/run/it's \"b\":*.qmp"), "\"/run/it's \\\"b\\\":*.qmp\"");
  for (const char* const text : {"a#b", "a\nb", "a\xff", "it's\\a", "it's a\"]", "it's, \"a\""}) {
    EXPECT_FALSE(FileHolds(text)) << text;
  }
  for (const char* const text : {"a b", "a\\b", "a\"]", "it's a,b \"c\""}) {
    EXPECT_TRUE(FileHolds(text)) << text;
  }
}

}  // namespace
}  // namespace vmeventd::client
