#include "watcher/core/managers.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd {
namespace {

TEST(ManagersTest, AWatchOfADirectoryForEachVmMayMatchAManagersMonitors) {
  const auto takes = [](const char* text) {
    return FindManagerMonitors(ParseWatchSpec(text).value()).has_value();
  };
  EXPECT_TRUE(takes("/run/incus/*/qemu.monitor"));
  EXPECT_TRUE(takes("/var/lib/libvirt/qemu/*/monitor.sock"));
  EXPECT_TRUE(takes("/var/lib/libvirt/qemu/domain-1-*/*.sock"));
  EXPECT_TRUE(takes("/var/lib/libvirt/qemu/*-web1/monitor.sock"));
  EXPECT_TRUE(takes("/run/user/1000/libvirt/qemu/run/*/monitor.sock"));
  EXPECT_TRUE(takes("/home/*/.config/libvirt/qemu/lib/domain-1-web1:monitor.sock"));
  EXPECT_TRUE(takes("/var/run/*:*.qmp")) << "qemu-server";
  EXPECT_TRUE(takes("/home/*/.lima/default:qmp.sock"));
  EXPECT_TRUE(takes("/home/u/.lima/def*:*.sock"));
  EXPECT_TRUE(takes("/run/user/1000/run/vc/vm/*/qmp.sock")) << "Kata of a user";
  EXPECT_FALSE(takes("/run/vc/vm/*/extra-monitor.sock"));
  EXPECT_FALSE(takes("/var/lib/microvms/*/*.qmp"));
  EXPECT_FALSE(takes("/srv/*/qmp.sock"));
  EXPECT_FALSE(takes("/srv/vms/*/*.sock")) << "one may be called podman";
  EXPECT_FALSE(takes("/srv/vms/*/*.monitor"));
  EXPECT_FALSE(takes("/run/incus/*/vmeventd.qmp"));
  EXPECT_FALSE(takes("/run/vms/*/monitor.sock"));
}

struct StartedQemu {
  const char* arguments;  // between spaces
  const char* cgroups;
  const char* manager;             // null: none
  std::vector<const char*> owned;  // the monitors that the manager needs
};

class StartedQemuTest : public testing::TestWithParam<StartedQemu> {};

TEST_P(StartedQemuTest, ItsManagerIsRecognizedAndKeepsItsOwnMonitor) {
  const StartedQemu& expected = GetParam();
  const std::vector<std::string> arguments = absl::StrSplit(expected.arguments, ' ');
  const Manager* const manager = ManagerOf(arguments, expected.cgroups);
  EXPECT_EQ(manager == nullptr ? "" : manager->name,
            expected.manager == nullptr ? "" : expected.manager);
  const std::vector<QmpMonitor> monitors = ParseQemuArguments(arguments).monitors;
  std::vector<std::string> owned;
  for (size_t i = 0; i < monitors.size(); ++i) {
    const Manager* const owner = OwnerOf(manager, monitors, i);
    if (owner == nullptr) continue;
    EXPECT_EQ(owner, manager);
    owned.push_back(monitors[i].path);
  }
  EXPECT_THAT(owned, testing::ElementsAreArray(expected.owned));
}

// The managers' own arguments, shortened, with one monitor more for a follower.
INSTANTIATE_TEST_SUITE_P(
    Table, StartedQemuTest,
    testing::Values(
        StartedQemu{"microvm@web1 -name web1 -M microvm -qmp unix:web1.sock,server,nowait "
                    "-qmp unix:/run/x/web1.sock,server=on,wait=off",
                    "",
                    "microvm.nix",
                    {"web1.sock"}},
        StartedQemu{"qemu-system-x86_64 -name web1 -qmp unix:/srv/vm/web1.sock,server,nowait",
                    "0::/system.slice/system-microvm.slice/microvm@web1.service",
                    "microvm.nix",
                    {"/srv/vm/web1.sock"}},
        StartedQemu{
            "qemu-system-x86_64 -chardev socket,id=m,path=/run/qemu/a.qmp,server=on,wait=off "
            "-mon chardev=m,mode=control -chardev "
            "socket,id=char-qmp,path=/data/lima/a/qmp.sock,server=on,wait=off -qmp "
            "chardev:char-qmp -name lima-a -pidfile /data/lima/a/qemu.pid",
            "",
            "lima",
            {"/data/lima/a/qmp.sock"}},
        StartedQemu{"qemu-system-x86_64 -boot d -cdrom /m/machines/a/boot2docker.iso -qmp "
                    "unix:/m/machines/a/monitor,server,nowait -pidfile /m/machines/a/qemu.pid",
                    "",
                    "minikube",
                    {"/m/machines/a/monitor"}},
        StartedQemu{"qemu-system-x86_64 -qmp unix:/tmp/x/qmp_default.sock,server=on,wait=off "
                    "-chardev socket,path=/tmp/x/d_ready.sock,server=on,wait=off,id=ad_ready",
                    "",
                    "podman machine",
                    {"/tmp/x/qmp_default.sock"}},
        StartedQemu{"/opt/kata/bin/qemu-system-x86_64 -name sandbox-0a1b -qmp "
                    "unix:/srv/vc/vm/0a1b/qmp.sock,server=on,wait=off -qmp "
                    "unix:/srv/vc/vm/0a1b/extra-monitor.sock,server=on,wait=off",
                    "",
                    "Kata Containers",
                    {"/srv/vc/vm/0a1b/qmp.sock"}},
        StartedQemu{"qemu-system-i386 -xen-domid 5 -no-shutdown -chardev "
                    "socket,id=libxl-cmd,path=/srv/qmp-libxl-5,server=on,wait=off -mon "
                    "chardev=libxl-cmd,mode=control -chardev "
                    "socket,id=libxenstat-cmd,path=/srv/qmp-libxenstat-5,server=on,wait=off -mon "
                    "chardev=libxenstat-cmd,mode=control",
                    "",
                    "Xen's libxl",
                    {"/srv/qmp-libxl-5", "/srv/qmp-libxenstat-5"}},
        StartedQemu{"qemu-system-x86_64 -name web -qmp unix:build/web.monitor,server,nowait -drive "
                    "file=build/web,if=virtio,format=qcow2",
                    "",
                    "packer",
                    {"build/web.monitor"}},
        StartedQemu{"/usr/bin/kvm -id 100 -name web,debug-threads=on -chardev "
                    "socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off -mon "
                    "chardev=qmp,mode=control -pidfile /var/run/qemu-server/100.pid",
                    "",
                    "Proxmox VE",
                    {"/var/run/qemu-server/100.qmp"}},
        StartedQemu{"kvm -name web -qmp unix:/srv/100.qmp,server=on",
                    "0::/qemu.slice/100.scope",
                    "Proxmox VE",
                    {"/srv/100.qmp"}},
        StartedQemu{"kvm -name web -pidfile /var/run/ganeti/kvm-hypervisor/pid/web -qmp "
                    "unix:/var/run/ganeti/kvm-hypervisor/ctrl/web.qmp,server=on,wait=off -qmp "
                    "unix:/var/run/ganeti/kvm-hypervisor/ctrl/web.kvmd,server=on,wait=off",
                    "",
                    "Ganeti",
                    {"/var/run/ganeti/kvm-hypervisor/ctrl/web.qmp"}},
        StartedQemu{"qemu-system-x86_64 -S -name web1 -readconfig /run/incus/web1/qemu.conf "
                    "-pidfile /run/incus/web1/qemu.pid -qmp unix:/run/qemu/web1.qmp,server=on",
                    "",
                    "Incus",
                    {}},
        StartedQemu{"qemu-system-x86_64 -S -name web1 -readconfig /var/log/lxd/web1/qemu.conf",
                    "",
                    "LXD",
                    {}},
        StartedQemu{"kvm -name guest=web1 -object "
                    "secret,id=masterKey0,file=/var/lib/libvirt/qemu/domain-1-web1/master-key.aes "
                    "-chardev socket,id=charmonitor,fd=33,server=on,wait=off -mon "
                    "chardev=charmonitor,id=monitor,mode=control",
                    "",
                    "libvirt",
                    {}},
        StartedQemu{"qemu-system-x86_64 -name web1 -qmp unix:/run/vms/web1/qmp.sock,server=on",
                    "",
                    nullptr,
                    {}},
        StartedQemu{"qemu-system-x86_64 -name a.1.1 -readconfig /run/hypervisor/kvm/a.1.1/cfg -qmp "
                    "unix:/run/hypervisor/kvm/a.1.1/listener.qmp,server,nowait",
                    "",
                    "EVE-OS",
                    {"/run/hypervisor/kvm/a.1.1/listener.qmp"}},
        StartedQemu{"qemu-system-x86_64 -name web1 -qmp unix:/run/nasty/vm/7.qmp,server,nowait",
                    "",
                    "NASty",
                    {"/run/nasty/vm/7.qmp"}},
        // Cuttlefish
        StartedQemu{"qemu-system-x86_64 -name guest=cvd-1 -chardev "
                    "socket,id=charmonitor,path=/home/u/cvd/qemu_monitor.sock,server=on,wait=off "
                    "-mon chardev=charmonitor,id=monitor,mode=control",
                    "",
                    nullptr,
                    {}},
        StartedQemu{
            "qemu-system-x86_64 -name lima-bean -qmp unix:/run/qemu/lima-bean.qmp,server=on",
            "",
            nullptr,
            {}}));

TEST(ManagersTest, AManagersMonitorIsRecognizedByItsPathAlone) {
  EXPECT_EQ(OwnerOfPath("/home/u/.lima/a/qmp.sock")->name, "lima");
  EXPECT_EQ(OwnerOfPath("/run/qemu/web1.qmp"), nullptr);
  EXPECT_EQ(OwnerOfPath("web1.sock"), nullptr);
  EXPECT_EQ(OwnerOfPath("/host/run/qemu-server/100.qmp")->id, ManagerId::kProxmox);
  EXPECT_EQ(OwnerOfPath("/var/run/xen/qmp-event-3")->id, ManagerId::kXen);
  const std::vector<QmpMonitor> monitors = {{.path = "/run/vc/vm/0a/qmp.sock"}};
  EXPECT_EQ(OwnerOf(nullptr, monitors, 0)->id, ManagerId::kKata);
}

}  // namespace
}  // namespace vmeventd
