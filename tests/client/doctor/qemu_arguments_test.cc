#include "client/doctor/qemu_arguments.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using Arguments = std::vector<std::string>;

TEST(QemuArgumentsTest, AMonitorIsACharacterDeviceInControlMode) {
  const QemuArguments found = ParseQemuArguments(
      {"qemu-system-x86_64", "-name", "web1,process=x", "-chardev",
       "socket,id=ev,path=/run/a,,b.qmp,server=on,wait=off", "-mon", "chardev=ev,mode=control"});
  EXPECT_EQ(found.name, "web1");
  ASSERT_EQ(found.monitors.size(), 1);
  EXPECT_EQ(found.monitors[0].path, "/run/a,b.qmp");
}

TEST(QemuArgumentsTest, EachFormOfAMonitorIsFound) {
  const Arguments chardev = {"kvm", "--chardev", "socket,path=/p,server,id=c"};
  for (const Arguments& form : std::vector<Arguments>{{"-qmp", "chardev:c"},
                                                      {"-mon", "c,mode=control"},
                                                      {"-object", "monitor-qmp,id=m,chardev=c"}}) {
    Arguments all = chardev;
    all.insert(all.end(), form.begin(), form.end());
    EXPECT_EQ(ParseQemuArguments(all).monitors.size(), 1) << form[0];
  }
  EXPECT_EQ(ParseQemuArguments({"kvm", "-qmp", "unix:/p,server=on,wait=off"}).monitors.size(), 1);
}

TEST(QemuArgumentsTest, WhatDoesNotListenOrIsNoQmpIsNoMonitor) {
  for (const Arguments& form : std::vector<Arguments>{
           {"-qmp", "unix:/p"},
           {"-qmp", "tcp:localhost:4444,server=on"},
           {"-monitor", "unix:/p,server=on"},
           {"-chardev", "socket,id=c,path=/p,server=on", "-mon", "chardev=c,mode=readline"},
           {"-chardev", "socket,id=c,path=/p,reconnect=1", "-mon", "chardev=c,mode=control"},
           {"-qmp"}}) {
    Arguments all = {"kvm"};
    all.insert(all.end(), form.begin(), form.end());
    EXPECT_TRUE(ParseQemuArguments(all).monitors.empty()) << form[0] << " " << form.back();
  }
}

TEST(QemuArgumentsTest, LibvirtHandsASocketOver) {
  const QemuArguments found =
      ParseQemuArguments({"/usr/bin/qemu-system-x86_64", "-name", "guest=vm1,debug-threads=on",
                          "-chardev", "socket,id=charmonitor,fd=31,server=on,wait=off", "-mon",
                          "chardev=charmonitor,id=monitor,mode=control"});
  EXPECT_EQ(found.name, "vm1");
  ASSERT_EQ(found.monitors.size(), 1);
  EXPECT_EQ(found.monitors[0].descriptor, 31);
}

TEST(QemuArgumentsTest, OnlyProgramsThatRunVmsAreQemus) {
  EXPECT_TRUE(IsQemu({"/usr/bin/qemu-system-aarch64"}));
  EXPECT_TRUE(IsQemu({"/usr/libexec/qemu-kvm"}));
  EXPECT_TRUE(IsQemu({"kvm"}));
  EXPECT_FALSE(IsQemu({"qemu-img"}));
  EXPECT_FALSE(IsQemu({}));
}

}  // namespace
}  // namespace vmeventd::client
