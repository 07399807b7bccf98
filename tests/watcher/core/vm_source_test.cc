#include "watcher/core/vm_source.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(VmSourceTest, TheKeyEndsAtTheFirstColon) {
  const VmSource source = ParseVmSource("libvirt:qemu:///system");
  EXPECT_EQ(source.key, kLibvirtKey);
  EXPECT_EQ(source.where, "qemu:///system");
  EXPECT_EQ(source.text(), "libvirt:qemu:///system");
}

TEST(VmSourceTest, TheTextAfterTheColonMayBeEmpty) {
  EXPECT_EQ(ParseVmSource("third:").key, "third");
  EXPECT_EQ(ParseVmSource("third:").where, "");
  EXPECT_EQ((VmSource{kQmpKey, ""}).text(), "qmp:");
}

TEST(VmSourceTest, AnEmptyTextHasEmptyParts) {
  EXPECT_EQ(ParseVmSource("").key, "");
  EXPECT_EQ(ParseVmSource("").where, "");
}

}  // namespace
}  // namespace vmeventd
