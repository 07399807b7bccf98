// Compares with ganeti-kvmd: the real one (Debian's ganeti-haskell-3.0) and vmeventd follow the
// same QEMU, each with its own monitor, and must leave the same shutdown file whenever kvmd is
// right.

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "tests/support/child_process.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

constexpr char kKvmd[] = "/usr/lib/ganeti/3.0/usr/sbin/ganeti-kvmd";

// kvmd watches one fixed path: it runs in a mount namespace that has `directory` there. It reads
// the two facts it needs of its cluster from files below $GANETI_ROOTDIR.
constexpr char kRunKvmd[] = R"sh(
mount -t tmpfs none /run &&
mkdir -p /run/ganeti/kvm-hypervisor/ctrl &&
mount --bind "$1" /run/ganeti/kvm-hypervisor/ctrl &&
exec "$2" -f -d --no-user-checks)sh";

struct KvmdEnding {
  std::string name;
  std::function<void(Guest& guest, EventStream& stream)> steps;
  bool file;  // what kvmd leaves, rightly
};

void PrintTo(const KvmdEnding& ending, std::ostream* out) { *out << ending.name; }

class KvmdTest : public E2eTest, public testing::WithParamInterface<KvmdEnding> {
 protected:
  void SetUp() override {
    if (access(kKvmd, X_OK) != 0) GTEST_SKIP() << "needs Debian's package ganeti-haskell-3.0";
    ChildOptions mount;
    mount.arguments = {"unshare", "-m", "sh", "-c", "mount -t tmpfs none /run"};
    if (RunCommand(mount).exit_code != 0) {
      GTEST_SKIP() << "needs the right to mount: kvmd gets a mount namespace";
    }
  }

  std::string kvmd_dir() const { return dir() / "kvmd"; }

  std::unique_ptr<ChildProcess> StartKvmd() const {
    const std::string root = dir() / "root";
    const std::string config = root + "/var/lib/ganeti";
    for (const std::string& made : {kvmd_dir(), config, root + "/var/log/ganeti",
                                    root + "/var/run/ganeti", root + "/var/lock"}) {
      std::filesystem::create_directories(made);
    }
    std::ofstream(config + "/ssconf_hypervisor_list") << "kvm\n";
    std::ofstream(config + "/ssconf_enabled_user_shutdown") << "True\n";
    std::ofstream(config + "/ssconf_node_vm_capable") << "localhost=True\n";
    ChildOptions options;
    options.arguments = {"unshare", "-m", "--propagation", "private", "sh", "-c",
                         kRunKvmd,  "sh", kvmd_dir(),      kKvmd};
    options.environment = {"GANETI_ROOTDIR=" + root, "GANETI_HOSTNAME=localhost"};
    auto kvmd = std::make_unique<ChildProcess>(options);
    kvmd->ReadUntil("Closed {isDirectory = True");  // it has read the directory
    return kvmd;
  }
};

TEST_P(KvmdTest, BothLeaveTheSameFile) {
  const auto kvmd = StartKvmd();
  if (HasFailure()) return;
  StartDaemonAndStream();
  GuestOptions options;
  const std::string monitor = dir() / "kvmd.monitor";
  options.arguments = {"-qmp", "unix:" + monitor + ",server=on,wait=off"};
  const auto guest = StartGuest(options);
  // kvmd gives up a VM whose socket it finds between QEMU's bind and its listen.
  ASSERT_EQ(link(monitor.c_str(), (kvmd_dir() + "/vm1.kvmd").c_str()), 0);
  kvmd->ReadUntil("Receive QMP message: {\"return\"");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  GetParam().steps(*guest, stream());
  guest->WaitExit();
  kvmd->ReadUntil("Stop monitor");
  stream().Wait("vm1", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(Exists(kvmd_dir() + "/vm1.shutdown"), GetParam().file) << "what kvmd says";
  EXPECT_EQ(FileAtStop("vm1"), GetParam().file) << "what vmeventd says";
  if (GetParam().file) {
    struct stat of_kvmd {};
    struct stat ours {};
    ASSERT_EQ(stat((kvmd_dir() + "/vm1.shutdown").c_str(), &of_kvmd), 0);
    ASSERT_EQ(stat(guest->shutdown_file().c_str(), &ours), 0);
    EXPECT_EQ(ours.st_size, of_kvmd.st_size);
    EXPECT_EQ(ours.st_mode, of_kvmd.st_mode);
  }
}

INSTANTIATE_TEST_SUITE_P(
    As, KvmdTest,
    testing::Values(
        KvmdEnding{"Poweroff", [](Guest& guest, EventStream&) { guest.Type("poweroff -f"); }, true},
        KvmdEnding{"RebootThenPoweroff",
                   [](Guest& guest, EventStream& stream) {
                     guest.Type("reboot -f");
                     stream.Wait("vm1", v1::EVENT_TYPE_RESET);
                     guest.WaitReady();
                     guest.Type("poweroff -f");
                   },
                   true},
        KvmdEnding{"Powerdown",
                   [](Guest& guest, EventStream&) { guest.manager().Execute("system_powerdown"); },
                   false},
        KvmdEnding{"Killed", [](Guest& guest, EventStream&) { guest.Signal(SIGKILL); }, false}),
    [](const testing::TestParamInfo<KvmdEnding>& ending) { return ending.param.name; });

}  // namespace
}  // namespace vmeventd::e2e
