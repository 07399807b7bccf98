// Compares with ganeti-kvmd: the real one (Debian's ganeti-haskell-3.0) and vmeventd follow the
// same QEMU, each with its own monitor, and must leave the same shutdown file whenever kvmd is
// right.

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "tests/support/child_process.h"
#include "tests/support/ganeti_kvmd.h"
#include "tests/support/guest.h"
#include "tests/system/e2e_test.h"
#include "tests/system/test_names.h"

namespace vmeventd::e2e {
namespace {

struct KvmdEnding {
  std::string name;
  std::function<void(Guest& guest, EventStream& stream)> steps;
  bool file;  // what kvmd leaves, rightly
};

void PrintTo(const KvmdEnding& ending, std::ostream* out) { *out << ending.name; }

class KvmdTest : public E2eTest, public testing::WithParamInterface<KvmdEnding> {
 protected:
  void SetUp() override {
    if (const std::string lacks = WhatKvmdLacks(); !lacks.empty())
      GTEST_SKIP() << "needs " << lacks;
  }

  std::string kvmd_dir() const { return dir() / "kvmd"; }

  std::unique_ptr<ChildProcess> StartReadyKvmd() const {
    auto kvmd = StartKvmd({.directory = kvmd_dir(), .root = dir() / "root", .debug = true});
    kvmd->ReadUntil("Closed {isDirectory = True");  // it has read the directory
    return kvmd;
  }
};

TEST_P(KvmdTest, VmeventdAndKvmdWriteTheSameShutdownFile) {
  const auto kvmd = StartReadyKvmd();
  if (HasFailure()) return;
  StartDaemonAndStream();
  const std::string monitor = dir() / "kvmd.monitor";
  const auto guest = StartGuest({.arguments = {"-qmp", "unix:" + monitor + ",server=on,wait=off"}});
  // kvmd gives up a VM whose socket it finds between QEMU's bind and its listen.
  ASSERT_EQ(link(monitor.c_str(), (kvmd_dir() + "/vm1.kvmd").c_str()), 0);
  kvmd->ReadUntil("Receive QMP message: {\"return\"");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  GetParam().steps(*guest, stream());
  guest->WaitExit();
  kvmd->ReadUntil("Stop monitor");
  WaitStopped();
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
        KvmdEnding{"Poweroff", [](Guest& guest, EventStream&) { guest.PowerOff(); }, true},
        KvmdEnding{"RebootThenPoweroff",
                   [](Guest& guest, EventStream& stream) {
                     guest.Reboot();
                     stream.Wait("vm1", v1::EVENT_TYPE_RESET);
                     guest.WaitReady();
                     guest.PowerOff();
                   },
                   true},
        KvmdEnding{"Powerdown",
                   [](Guest& guest, EventStream&) { guest.manager().Execute("system_powerdown"); },
                   false},
        KvmdEnding{"Killed", [](Guest& guest, EventStream&) { guest.Signal(SIGKILL); }, false}),
    kByName);

}  // namespace
}  // namespace vmeventd::e2e
