#include "watcher/core/watch_spec.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "watcher/core/ganeti_directory.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

TEST(WatchSpecTest, TakesADirectoryAndAPattern) {
  const auto spec = ParseWatchSpec("/run/qemu:vm-*.qmp");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->directory, "/run/qemu");
  EXPECT_EQ(spec->pattern, "vm-*.qmp");
  EXPECT_EQ(spec->VmName("/run/qemu/vm-web1.qmp"), "web1");
  EXPECT_EQ(spec->VmName("/run/qemu/vm-.qmp"), std::nullopt);
  EXPECT_EQ(spec->VmName("/run/vm-web1.qmp"), std::nullopt);
  EXPECT_EQ(spec->VmName("/run/qemu/old/vm-web1.qmp"), std::nullopt);
}

TEST(WatchSpecTest, ADirectoryAloneTakesMonitorsByTheirUsualName) {
  const auto spec = ParseWatchSpec("/run/ctrl/");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->directory, "/run/ctrl");
  EXPECT_EQ(spec->VmName("/run/ctrl/web1.example.org.qmp"), "web1.example.org");
  EXPECT_EQ(spec->VmName("/run/ctrl/web1.kvmd"), std::nullopt);
  EXPECT_EQ(spec->VmName("/run/ctrl/.qmp"), std::nullopt);
}

TEST(WatchSpecTest, GanetisDirectoryAloneMatchesItsKvmdSockets) {
  for (const char* text : {kGanetiControlDirectory, "/run/ganeti/kvm-hypervisor/ctrl/",
                           "/var/run/./ganeti/kvm-hypervisor/ctrl"}) {
    EXPECT_EQ(ParseWatchSpec(text)->pattern, "*.kvmd") << text;
  }
  EXPECT_TRUE(OptionalGanetiWatch().optional);
  EXPECT_EQ(OptionalGanetiWatch().pattern, "*.kvmd");
}

struct DirectoriesSpec {
  const char* text;
  const char* canonical;
  const char* root;
  const char* socket;  // the socket of the VM "web1"
  const char* other;   // a path that is none
};

class DirectoriesSpecTest : public ::testing::TestWithParam<DirectoriesSpec> {};

TEST_P(DirectoriesSpecTest, NamesAVmByItsDirectory) {
  const DirectoriesSpec& expected = GetParam();
  const auto spec = ParseWatchSpec(expected.text);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->text(), expected.canonical);
  EXPECT_EQ(ParseWatchSpec(expected.canonical)->text(), expected.canonical);
  EXPECT_EQ(spec->root(), expected.root);
  EXPECT_EQ(spec->VmName(expected.socket), "web1");
  EXPECT_EQ(spec->VmName(expected.other), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(
    Table, DirectoriesSpecTest,
    ::testing::Values(DirectoriesSpec{"/run/vms/*/qmp.sock", "/run/vms/*:qmp.sock", "/run/vms",
                                      "/run/vms/web1/qmp.sock", "/run/vms/web1/qmp.sock.1"},
                      DirectoriesSpec{"/run/vms/*/:qmp.sock", "/run/vms/*:qmp.sock", "/run/vms",
                                      "/run/vms/web1/qmp.sock", "/run/vms//qmp.sock"},
                      DirectoriesSpec{"/var/lib/microvms/*/*.sock", "/var/lib/microvms/*:*.sock",
                                      "/var/lib/microvms", "/var/lib/microvms/web1/api.sock",
                                      "/var/lib/microvms/web1/a/b.sock"},
                      DirectoriesSpec{"/opt/alloc/*/qemu/run/qmp", "/opt/alloc/*/qemu/run:qmp",
                                      "/opt/alloc", "/opt/alloc/web1/qemu/run/qmp",
                                      "/opt/alloc/web1/a/qemu/run/qmp"},
                      DirectoriesSpec{"/run/vm-*.d:*.qmp", "/run/vm-*.d:*.qmp", "/run",
                                      "/run/vm-web1.d/m.qmp", "/run/web1.d/m.qmp"},
                      DirectoriesSpec{"/*/qmp", "/*:qmp", "/", "/web1/qmp", "/qmp"}));

TEST(WatchSpecTest, KnowsTheDirectoryOfAVm) {
  const WatchSpec spec = ParseWatchSpec("/opt/vm-*/run/qmp").value();
  EXPECT_EQ(spec.DirectoryOf("vm-a"), "/opt/vm-a/run");
  EXPECT_EQ(spec.DirectoryOf("vm-"), std::nullopt);
  EXPECT_EQ(ParseWatchSpec("/run/vms/*/qmp")->DirectoryOf("a"), "/run/vms/a");
}

TEST(WatchSpecTest, NormalizesTheDirectory) {
  EXPECT_EQ(ParseWatchSpec("//run/./qemu//:*")->directory, "/run/qemu");
  EXPECT_EQ(ParseWatchSpec("/:*.kvmd")->directory, "/");
}

TEST(WatchSpecTest, AColonInAParentDirectoryIsPartOfItsName) {
  EXPECT_EQ(ParseWatchSpec("/run/a:b/ctrl")->directory, "/run/a:b/ctrl");
  EXPECT_EQ(ParseWatchSpec("/run/a:b/:*.kvmd")->directory, "/run/a:b");
}

struct BadSpec {
  const char* text;
  const char* rule;
};

class BadWatchSpecTest : public ::testing::TestWithParam<BadSpec> {};

TEST_P(BadWatchSpecTest, IsRefusedWithTheReason) {
  const auto spec = ParseWatchSpec(GetParam().text);
  ASSERT_TRUE(absl::IsInvalidArgument(spec.status()));
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr(GetParam().rule));
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr(GetParam().text));
}

INSTANTIATE_TEST_SUITE_P(Table, BadWatchSpecTest,
                         ::testing::Values(BadSpec{"", "absolute"}, BadSpec{"run/qemu", "absolute"},
                                           BadSpec{"/run/../etc", "\"..\""},
                                           BadSpec{"/run:kvmd", "exactly one '*'"},
                                           BadSpec{"/run/vms/*.qmp", "write \"/run/vms:*.qmp\""},
                                           BadSpec{"/*.qmp", "write \"/:*.qmp\""},
                                           BadSpec{"/run/*/*/qmp", "takes one '*'"},
                                           BadSpec{"/run/*/", "as in /run/vms/*/qmp.sock"},
                                           BadSpec{"/run/*:", "as in /run/vms/*/qmp.sock"},
                                           BadSpec{"/run/*:*a*", "as in /run/vms/*/qmp.sock"},
                                           BadSpec{"/run/*:a?", "only wildcard"},
                                           BadSpec{"/run:", "exactly one '*'"},
                                           BadSpec{"/run:*a*", "exactly one '*'"},
                                           BadSpec{"/run:*?.kvmd", "only wildcard"},
                                           BadSpec{"/run:*[a].kvmd", "only wildcard"}));

}  // namespace
}  // namespace vmeventd
