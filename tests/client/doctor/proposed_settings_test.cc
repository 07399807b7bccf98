#include "client/doctor/proposed_settings.h"

#include "gtest/gtest.h"
#include "tests/support/third_setting.h"

namespace vmeventd::client {
namespace {

constexpr const SourceSetting* kSettings[] = {&kThirdSetting, &kLibvirtSetting, &kWatchSetting};

class ProposedSettingsTest : public testing::Test {
 protected:
  ProposedSettings settings_;
};

TEST_F(ProposedSettingsTest, WithoutValuesThereAreNoLines) { EXPECT_EQ(settings_.Lines(), ""); }

TEST_F(ProposedSettingsTest, ASettingIsOneLineInTheOrderOfTheSources) {
  settings_.Need(kLibvirtSetting, "qemu:///system");
  settings_.Need(kWatchSetting, "/run/qemu:*.qmp");
  EXPECT_EQ(settings_.Lines(), "watch = [\"/run/qemu:*.qmp\"]\nlibvirt = [\"qemu:///system\"]");
}

TEST_F(ProposedSettingsTest, KeptValuesComeFirstThenSortedNewOnesEachOnce) {
  settings_.Need(kWatchSetting, "/c:*.qmp");
  settings_.Need(kWatchSetting, "/b:*.qmp");
  settings_.Keep(kWatchSetting, "/z:*.qmp");
  settings_.Keep(kWatchSetting, "/c:*.qmp");
  settings_.Keep(kWatchSetting, "/z:*.qmp");
  EXPECT_EQ(settings_.Lines(), "watch = [\"/z:*.qmp\", \"/c:*.qmp\", \"/b:*.qmp\"]");
}

TEST_F(ProposedSettingsTest, AKeptValueIsNeitherNeededNorInAnotherSetting) {
  settings_.Keep(kWatchSetting, "/a:*.qmp");
  settings_.Need(kWatchSetting, "/b:*.qmp");
  EXPECT_TRUE(settings_.Has(kWatchSetting, "/a:*.qmp"));
  EXPECT_FALSE(settings_.Needs(kWatchSetting, "/a:*.qmp"));
  EXPECT_FALSE(settings_.Has(kLibvirtSetting, "/a:*.qmp"));
  EXPECT_FALSE(settings_.Needs(kLibvirtSetting, "/b:*.qmp"));
  EXPECT_TRUE(settings_.Needs(kWatchSetting, "/b:*.qmp"));
  EXPECT_FALSE(settings_.Has(kWatchSetting, "/b:*.qmp"));
}

TEST_F(ProposedSettingsTest, LinesFollowTheOrderOfTheGivenTable) {
  ProposedSettings settings{kSettings};
  settings.Keep(kLibvirtSetting, "lxc:///system");
  settings.Need(kThirdSetting, "x");
  EXPECT_EQ(settings.Lines(), "third = [\"x\"]\nlibvirt = [\"lxc:///system\"]");
}

TEST_F(ProposedSettingsTest, ValuesAreQuotedForTheFile) {
  settings_.Keep(kWatchSetting, "/a\"b:*.qmp");
  EXPECT_EQ(settings_.Lines(), "watch = ['/a\"b:*.qmp']");
}

}  // namespace
}  // namespace vmeventd::client
