#include "watcher/core/proc_texts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/string_view.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ProcTextsTest, ACommandLineIsSplitAtZeroBytes) {
  EXPECT_THAT(SplitCommandLine(absl::string_view("kvm\0\0-S\0", 8)), ElementsAre("kvm", "", "-S"));
  EXPECT_THAT(SplitCommandLine(""), IsEmpty());
  EXPECT_THAT(SplitCommandLine("a title"), ElementsAre("a title"));
}

TEST(ProcTextsTest, TheUnitIsTheInnermostOne) {
  EXPECT_EQ(UnitOf("0::/system.slice/vm@web1.service\n"), "vm@web1.service");
  EXPECT_EQ(UnitOf("0::/machine.slice/machine-qemu\\x2d1\\x2dweb1.scope/libvirt/emulator\n"),
            "machine-qemu\\x2d1\\x2dweb1.scope");
  EXPECT_EQ(UnitOf("0::/user.slice/user-7.slice/user@7.service/app.slice/vm.service\n"),
            "vm.service");
  EXPECT_EQ(UnitOf("5:memory:/x\n1:name=systemd:/qemu.slice/100.scope\n0::/\n"), "100.scope");
  EXPECT_EQ(UnitOf("0::/kubepods/pod7/c\n"), "/kubepods/pod7/c");
  EXPECT_EQ(UnitOf("0::/\n"), "");
  EXPECT_EQ(UnitOf("0::/../a.service\n"), "");
  EXPECT_EQ(UnitOf("0::/a\x1b.service\n"), "");
}

TEST(ProcTextsTest, ACoreIsFoundByTheKernelsPattern) {
  EXPECT_EQ(CoreOf("|/usr/lib/systemd/systemd-coredump %P %u\n", 7), "coredumpctl info 7");
  EXPECT_EQ(CoreOf("/var/crash/core.%e.%p\n", 7), "/var/crash/core.%e.7");
  EXPECT_EQ(CoreOf("core\n", 7), "core in QEMU's working directory");
  EXPECT_EQ(CoreOf("|/usr/share/apport/apport -p%p", 7),
            "with the program /usr/share/apport/apport -p%p");
}

}  // namespace
}  // namespace vmeventd
