#include "watcher/core/qemu_arguments.h"

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/labels.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

using Arguments = std::vector<std::string>;

TEST(QemuArgumentsTest, LabelsAreReadFromFwCfg) {
  const auto labels = [](const std::string& value) {
    return ParseQemuArguments({"qemu-system-x86_64", "-fw_cfg", value}).traits.labels;
  };
  EXPECT_EQ(labels("name=opt/vmeventd/labels,string=tier=db,,project=p"),
            (Labels{{"project", "p"}, {"tier", "db"}}));
  EXPECT_EQ(labels("opt/vmeventd/labels,string=project=p=q"), (Labels{{"project", "p=q"}}));
  EXPECT_EQ(labels("name=opt/vmeventd/labels,string=bad key=x,,=y,,a=1,,a=2"),
            (Labels{{"a", "1"}}));
  EXPECT_EQ(labels("name=opt/other,string=a=1"), Labels());
  std::string many = "name=opt/vmeventd/labels,string=";
  for (int i = 0; i < 100; ++i) absl::StrAppend(&many, i == 0 ? "" : ",,", "k", i, "=v");
  EXPECT_EQ(labels(many).size(), kMaxLabels);
}

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

TEST(QemuArgumentsTest, TheFirstValueMayHaveItsKeyAndMonitorsKeepTheirOrder) {
  const QemuArguments qemu = ParseQemuArguments(
      {"kvm", "-mon", "mode=control,chardev=late", "-qmp", "unix:path=/kata,server=on,wait=off",
       "-qmp-pretty", "unix:server=on,wait=off,path=/last", "-chardev",
       "id=late,backend=socket,path=/first,server=on,wait=off"});
  std::vector<std::string> paths;
  for (const QmpMonitor& monitor : qemu.monitors) paths.push_back(monitor.path);
  EXPECT_THAT(paths, ElementsAre("/first", "/kata", "/last"));
}

TEST(QemuArgumentsTest, AMonitorThatDoesNotListenOrIsNotQmpIsIgnored) {
  for (const Arguments& form : std::vector<Arguments>{
           {"-qmp", "unix:/p"},
           {"-qmp", "tcp:localhost:4444,server=on"},
           {"-qmp", "unix:/p,server=on,wait=off,telnet=on"},
           {"-chardev", "socket,id=c,path=/p,server=on,websocket=on", "-qmp", "chardev:c"},
           {"-monitor", "unix:/p,server=on"},
           {"-chardev", "socket,id=c,path=/p,server=on", "-mon", "chardev=c,mode=readline"},
           {"-chardev", "socket,id=c,path=/p,reconnect=1", "-mon", "chardev=c,mode=control"},
           {"-qmp"}}) {
    Arguments all = {"kvm"};
    all.insert(all.end(), form.begin(), form.end());
    EXPECT_TRUE(ParseQemuArguments(all).monitors.empty()) << form[0] << " " << form.back();
  }
}

TEST(QemuArgumentsTest, AMonitorThatLibvirtPassesAsADescriptorIsRecognized) {
  const QemuArguments found =
      ParseQemuArguments({"/usr/bin/qemu-system-x86_64", "-name", "guest=vm1,debug-threads=on",
                          "-chardev", "socket,id=charmonitor,fd=31,server=on,wait=off", "-mon",
                          "chardev=charmonitor,id=monitor,mode=control"});
  EXPECT_EQ(found.name, "vm1");
  ASSERT_EQ(found.monitors.size(), 1);
  EXPECT_EQ(found.monitors[0].descriptor, 31);
}

TEST(QemuArgumentsTest, AMonitorOnADescriptorHasNoPath) {
  EXPECT_TRUE(ParseQemuArguments({"qemu-system-x86_64", "-qmp", "unix:fd=3,server=on,wait=off"})
                  .monitors.empty());
}

const Arguments kMonitor = {"qemu-system-x86_64", "-qmp", "unix:/p,server=on,wait=off"};
constexpr char kUuid[] = "0b5f3b4e-6f1d-4d0a-9c8e-2f6a1b3c4d5e";

QemuArguments ParseWithMonitor(const Arguments& more) {
  Arguments all = kMonitor;
  all.insert(all.end(), more.begin(), more.end());
  return ParseQemuArguments(all);
}

TEST(QemuArgumentsTest, ANameOrUuidThatIsGivenOnceIsCertain) {
  for (const Arguments& form : std::vector<Arguments>{
           {"-name", "web1"},
           {"-S", "--name", "web1,process=x"},
           {"-name", "debug-threads=on,guest=web1"},
       }) {
    EXPECT_EQ(ParseWithMonitor(form).certain_name, "web1") << form.back();
  }
  EXPECT_EQ(ParseWithMonitor({"-uuid", kUuid}).certain_uuid, kUuid);
  EXPECT_EQ(ParseWithMonitor({"--uuid", "0B5F3B4E-6F1D-4D0A-9C8E-2F6A1B3C4D5E"}).certain_uuid,
            kUuid);
  EXPECT_EQ(ParseWithMonitor({"-smbios", "type=1,serial=x"}).certain_uuid, "") << "it has none";
  EXPECT_EQ(ParseWithMonitor({"-uuid", "00000000-0000-0000-0000-000000000000"}).certain_uuid, "");
}

TEST(QemuArgumentsTest, AnAmbiguousNameOrUuidIsNotCertain) {
  const Arguments sound = {"-name", "web1", "-uuid", kUuid};
  for (const Arguments& form : std::vector<Arguments>{
           {"-readconfig", "/etc/vm"},
           {"-name", "web2", "-uuid", kUuid},
           {"-append", "-name", "-append", "-uuid"},
           {"-name"},
       }) {
    Arguments all = sound;
    all.insert(all.end(), form.begin(), form.end());
    const QemuArguments found = ParseWithMonitor(all);
    EXPECT_EQ(found.certain_name, std::nullopt) << form[0];
    EXPECT_EQ(found.certain_uuid.has_value(), form.size() == 1) << form[0];
  }
  EXPECT_EQ(ParseWithMonitor({}).certain_name, std::nullopt) << "its configuration may have one";
  EXPECT_EQ(ParseWithMonitor({"-name", "debug-threads=on"}).certain_name, std::nullopt);
  EXPECT_EQ(ParseWithMonitor({"-uuid", "0b5f3b4e"}).certain_uuid, std::nullopt);
  EXPECT_EQ(ParseWithMonitor({"-smbios", "type=1,uuid=x"}).certain_uuid, std::nullopt);
}

TEST(QemuArgumentsTest, TheNameIsNotCertainWithoutAMonitorOrOutsideQemu) {
  EXPECT_EQ(ParseQemuArguments({"kvm", "-name", "web1"}).certain_name, std::nullopt);
  EXPECT_EQ(ParseQemuArguments({"/usr/sbin/libvirtd", "-qmp", "unix:/p,server=on", "-name", "web1"})
                .certain_name,
            std::nullopt);
}

TEST(QemuArgumentsTest, AnIncomingVmIsRecognized) {
  EXPECT_TRUE(ParseWithMonitor({"-incoming", "defer"}).incoming);
  EXPECT_TRUE(ParseWithMonitor({"-incoming"}).incoming);
  EXPECT_FALSE(ParseWithMonitor({"-append", "incoming"}).incoming);
}

TEST(QemuArgumentsTest, AGuestCanEndQemuByADeviceOrSemihosting) {
  const std::vector<std::vector<std::string>> kCan = {
      {"-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"},
      {"-device", "{\"driver\":\"isa-debug-exit\"}"},
      {"--device", "driver=isa-debug-exit"},
      {"-semihosting"},
      {"-semihosting-config", "enable=on,target=native"}};
  for (const auto& arguments : kCan) {
    EXPECT_TRUE(ParseWithMonitor(arguments).traits.guest_can_exit) << arguments[0];
  }
  EXPECT_FALSE(ParseWithMonitor({"-append", "isa-debug-exit"}).traits.guest_can_exit);
}

TEST(QemuArgumentsTest, AQemuMayStayWhenItsGuestIsDown) {
  const std::vector<std::vector<std::string>> kMay = {{"-no-shutdown"},
                                                      {"--no-shutdown"},
                                                      {"-action", "shutdown=pause"},
                                                      {"-action", "panic=pause,reboot=shutdown"},
                                                      {"-watchdog-action", "pause"}};
  for (const auto& arguments : kMay) {
    EXPECT_TRUE(ParseWithMonitor(arguments).traits.stays_down) << arguments[0];
  }
  EXPECT_FALSE(ParseWithMonitor({"-action", "shutdown=poweroff,panic=none"}).traits.stays_down);
  EXPECT_FALSE(ParseWithMonitor({"-append", "no-shutdown"}).traits.stays_down);
}

TEST(QemuArgumentsTest, TheLackOfAPanicDeviceIsKnownIfTheCommandLineIsComplete) {
  EXPECT_TRUE(ParseWithMonitor({"-device", "virtio-net"}).traits.no_panic_device);
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"-device", "pvpanic"},
                                             {"-device", "{\"driver\":\"pvpanic-pci\"}"},
                                             {"-cpu", "host,hv-crash=on"},
                                             {"-readconfig", "file"}}) {
    EXPECT_FALSE(ParseWithMonitor(arguments).traits.no_panic_device) << arguments[1];
  }
}

}  // namespace
}  // namespace vmeventd
