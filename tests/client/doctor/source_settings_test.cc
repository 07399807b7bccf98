#include "client/doctor/source_settings.h"

#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

class SourceSettingsTest : public testing::Test {
 protected:
  SourceSettings settings_ = {"watch", "libvirt"};
};

TEST_F(SourceSettingsTest, WithoutValuesThereAreNoLines) { EXPECT_EQ(settings_.Lines(), ""); }

TEST_F(SourceSettingsTest, ASettingIsOneLineInTheOrderOfTheNames) {
  settings_.Need("libvirt", "qemu:///system");
  settings_.Need("watch", "/run/qemu:*.qmp");
  EXPECT_EQ(settings_.Lines(), "watch = [\"/run/qemu:*.qmp\"]\nlibvirt = [\"qemu:///system\"]");
}

TEST_F(SourceSettingsTest, KeptValuesPrecedeSortedNewOnesAndEachIsThereOnce) {
  settings_.Need("watch", "/c:*.qmp");
  settings_.Need("watch", "/b:*.qmp");
  settings_.Keep("watch", "/z:*.qmp");
  settings_.Keep("watch", "/c:*.qmp");
  settings_.Keep("watch", "/z:*.qmp");
  EXPECT_EQ(settings_.Lines(), "watch = [\"/z:*.qmp\", \"/c:*.qmp\", \"/b:*.qmp\"]");
}

TEST_F(SourceSettingsTest, AKeptValueIsNotANeededOneNorAnotherSettings) {
  settings_.Keep("watch", "/a:*.qmp");
  settings_.Need("watch", "/b:*.qmp");
  EXPECT_TRUE(settings_.Has("watch", "/a:*.qmp"));
  EXPECT_FALSE(settings_.Needs("watch", "/a:*.qmp"));
  EXPECT_FALSE(settings_.Has("libvirt", "/a:*.qmp"));
  EXPECT_TRUE(settings_.Needs("watch", "/b:*.qmp"));
  EXPECT_FALSE(settings_.Has("watch", "/b:*.qmp"));
}

TEST_F(SourceSettingsTest, ASettingOfAnotherSourceFollows) {
  EXPECT_FALSE(settings_.Has("third", "x"));
  EXPECT_FALSE(settings_.Needs("third", "x"));
  settings_.Need("third", "x");
  settings_.Keep("libvirt", "lxc:///system");
  EXPECT_EQ(settings_.Lines(), "libvirt = [\"lxc:///system\"]\nthird = [\"x\"]");
}

TEST_F(SourceSettingsTest, ValuesAreQuotedForTheFile) {
  settings_.Keep("watch", "/a\"b:*.qmp");
  EXPECT_EQ(settings_.Lines(), "watch = ['/a\"b:*.qmp']");
}

}  // namespace
}  // namespace vmeventd::client
