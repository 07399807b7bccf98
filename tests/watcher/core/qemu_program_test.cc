#include "watcher/core/qemu_program.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "watcher/core/given_container.h"

namespace vmeventd {
namespace {

using Arguments = std::vector<std::string>;

TEST(QemuProgramTest, OnlyProgramsThatRunVmsAreQemus) {
  EXPECT_TRUE(IsQemu({"/usr/bin/qemu-system-aarch64"}));
  EXPECT_TRUE(IsQemu({"/usr/libexec/qemu-kvm"}));
  EXPECT_TRUE(IsQemu({"kvm"}));
  EXPECT_TRUE(IsQemu({"/nix/store/x-qemu-9.2.3/bin/.qemu-system-x86_64-wrapped"}));
  EXPECT_TRUE(IsQemu({".qemu-kvm-wrapped"}));
  EXPECT_FALSE(IsQemu({".qemu-img-wrapped"}));
  EXPECT_FALSE(IsQemu({"qemu-img"}));
  EXPECT_FALSE(IsQemu({}));
  EXPECT_TRUE(IsQemu({"/usr/bin/kvm-spice"}));
  EXPECT_TRUE(IsQemu({"qemu"}));
  EXPECT_FALSE(IsQemu({"qemu-storage-daemon"}));
}

TEST(QemuProgramTest, AQemuThatWasStartedByAnotherNameIsRecognized) {
  const auto first = [](const Arguments& arguments, absl::string_view file,
                        absl::string_view name) {
    return absl::StrJoin(WithProgram(arguments, file, name), " ");
  };
  const std::string qemu = "/usr/bin/qemu-system-x86_64";
  EXPECT_EQ(first({"microvm@a", "-S"}, qemu, "qemu-system-x86"), qemu + " -S");
  EXPECT_EQ(first({"a", "-S"}, qemu + " (deleted)", "a"), qemu + " -S");
  EXPECT_EQ(first({"a", "-S"}, "", "qemu-system-x86"), "qemu-system-x86 -S") << "as another user";
  EXPECT_EQ(first({"kvm", "-S"}, qemu, "kvm"), "kvm -S");
  EXPECT_EQ(first({"/l/ld-linux-x86-64.so.2", "--library-path", "/l", qemu, "-S"},
                  "/l/ld-linux-x86-64.so.2", "ld-linux-x86-64"),
            qemu + " -S");
  EXPECT_EQ(first({"vim", qemu}, "/usr/bin/vim", "vim"), "vim " + qemu);
}

TEST(GivenContainerTest, OnlyLibvirtLxcNamesAContainer) {
  EXPECT_EQ(GivenContainer({"/usr/lib/libvirt/libvirt_lxc", "--name", "web 1", "--console", "26"}),
            "web 1");
  EXPECT_EQ(GivenContainer({"/usr/lib/libvirt/libvirt_lxc", "--console", "26"}), "");
  EXPECT_EQ(GivenContainer({"libvirt_lxc", "--name"}), "");
  EXPECT_EQ(GivenContainer({"qemu-system-x86_64", "--name", "web1"}), "");
  EXPECT_EQ(GivenContainer({}), "");
}

}  // namespace
}  // namespace vmeventd
