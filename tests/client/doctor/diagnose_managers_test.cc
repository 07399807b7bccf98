#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/doctor/diagnosis.h"
#include "client/doctor/finding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/doctor/diagnosis_fixture.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST_F(DiagnosisTest, IncusIsConfiguredWhileTheVmIsStoppedAndKeepsItsSettings) {
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

TEST_F(DiagnosisTest, VmsOfOneManagerShareOneProposedLine) {
  Become(&facts_, "kvm -name a -pidfile /var/run/qemu-server/100.pid");
  facts_.processes.push_back(facts_.processes[0]);
  facts_.processes[1].pid = 8;
  facts_.processes[1].arguments.back() = "/var/run/qemu-server/101.pid";
  EXPECT_EQ(Only(facts_, "no-monitor").line(),
            "for vm in 100 101; do qm set $vm --args \"$(qm config $vm | sed -n 's/^args: //p') "
            "-chardev socket,id=vmev,path=/run/qemu/$vm.qmp,server=on,wait=off -mon "
            "chardev=vmev,mode=control\"; done");
}

TEST_F(DiagnosisTest, ALoopVariableExpandsInsideSingleQuotesToo) {
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

TEST_F(DiagnosisTest, AVmNameCannotInjectCommands) {
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

TEST_F(DiagnosisTest, EachManagerGetsItsOwnCommandsForAnotherMonitor) {
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

TEST_F(DiagnosisTest, ACopyInAnotherProjectGetsCommandsForThatProject) {
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

}  // namespace
}  // namespace vmeventd::client
