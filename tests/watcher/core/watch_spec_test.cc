#include "watcher/core/watch_spec.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

TEST(WatchSpecTest, TakesADirectoryAndAPattern) {
  const auto spec = ParseWatchSpec("/run/qemu:vm-*.qmp");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->directory, "/run/qemu");
  EXPECT_EQ(spec->pattern(), "vm-*.qmp");
  EXPECT_EQ(spec->VmName("vm-web1.qmp"), "web1");
}

TEST(WatchSpecTest, DefaultsToGanetisPattern) {
  const auto spec = ParseWatchSpec("/run/ctrl/");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->directory, "/run/ctrl");
  EXPECT_EQ(spec->VmName("web1.example.org.kvmd"), "web1.example.org");
  EXPECT_EQ(spec->VmName("web1.qmp"), std::nullopt);
  EXPECT_EQ(spec->VmName(".kvmd"), std::nullopt);
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

TEST_P(BadWatchSpecTest, SaysWhatIsWrong) {
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
                                           BadSpec{"/run/*/qmp:*.qmp", "once for each directory"},
                                           BadSpec{"/run/*:x.qmp", "once for each directory"},
                                           BadSpec{"/var/lib/libvirt/qemu/domain-*:monitor.sock",
                                                   "libvirt's: follow libvirt instead: --libvirt"},
                                           BadSpec{"/run:", "exactly one '*'"},
                                           BadSpec{"/run:*a*", "exactly one '*'"},
                                           BadSpec{"/run:*?.kvmd", "'*' alone"},
                                           BadSpec{"/run:*[a].kvmd", "'*' alone"}));

}  // namespace
}  // namespace vmeventd
