#include "watcher/core/source_specs.h"

#include "gtest/gtest.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/watch_spec.h"

namespace vmeventd {
namespace {

// Another source may be added to kSourceSettings.
constexpr const SourceSetting* kSettings[] = {&kWatchSetting, &kWatchManagerSocketsSetting,
                                              &kLibvirtSetting};

TEST(SourceSpecsTest, TheirTextNamesEachSource) {
  const SourceSpecs specs = {.watches = {ParseWatchSpec("/run/a").value()},
                             .watch_manager_sockets = true,
                             .libvirts = {ParseLibvirtUri("qemu:///system").value()}};
  EXPECT_FALSE(specs.is_default());
  EXPECT_EQ(specs.text(), "/run/a:*.qmp, libvirt qemu:///system");
  EXPECT_EQ(specs.Resolved().text(), specs.text());
  EXPECT_TRUE(specs.Resolved().watch_manager_sockets);
}

TEST(SourceSpecsTest, WithoutSourcesTheDefaultOnesAreFollowed) {
  const SourceSpecs nothing = {.watch_manager_sockets = true};
  EXPECT_TRUE(nothing.is_default());
  EXPECT_EQ(nothing.text(kSettings), "libvirt and Ganeti if they exist");
  const SourceSpecs resolved = nothing.Resolved();
  ASSERT_EQ(resolved.watches.size(), 1);
  EXPECT_TRUE(resolved.watches[0].optional);
  ASSERT_EQ(resolved.libvirts.size(), 1);
  EXPECT_FALSE(resolved.libvirts[0].awaited.empty());
  EXPECT_TRUE(resolved.watch_manager_sockets);
  EXPECT_EQ(
      DefaultSourcesText(kSettings),
      "neither watch nor libvirt is set: libvirt's system socket (qemu:///system) and Ganeti's "
      "directory are followed, each as soon as it exists");
  EXPECT_EQ(DefaultSourcesHelp(kSettings),
            "Without --watch and --libvirt, libvirt's system socket (qemu:///system) and Ganeti's "
            "directory are followed, each as soon as it exists");
  EXPECT_EQ(SourceNames(kSettings), "watch or libvirt");
}

}  // namespace
}  // namespace vmeventd
