#include "watcher/core/libvirt_spec.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::HasSubstr;

TEST(LibvirtSpecTest, UrisOfThisNodeAreAccepted) {
  for (const char* uri :
       {"qemu:///system", "qemu:///session",
        "qemu+unix:///system?socket=/run/libvirt/virtqemud-sock",
        "qemu+unix:///session?socket=/run/user/1000/libvirt/libvirt-sock", "lxc:///system",
        "lxc+unix:///system?socket=/run/libvirt/virtlxcd-sock"}) {
    const absl::StatusOr<LibvirtSpec> spec = ParseLibvirtUri(uri);
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->Uri(), uri);
    EXPECT_EQ(spec->ToFlag(), uri);
    EXPECT_FALSE(spec->has_glob());
    EXPECT_EQ(spec->containers, uri[0] == 'l');
    EXPECT_EQ(IsContainerUri(spec->Uri()), spec->containers);
  }
  EXPECT_EQ(ParseLibvirtUri("qemu+unix:///system")->Uri(), "qemu:///system");
}

TEST(LibvirtSpecTest, AGlobIsResolvedByAPath) {
  const LibvirtSpec spec =
      ParseLibvirtUri("qemu+unix:///system?socket=/var/lib/kubelet/pods/*/run/virtqemud-sock")
          .value();
  EXPECT_TRUE(spec.has_glob());
  EXPECT_EQ(spec.socket, "/var/lib/kubelet/pods/*/run/virtqemud-sock");
  EXPECT_EQ(spec.UriAt("/var/lib/kubelet/pods/a b&c/run/virtqemud-sock"),
            "qemu+unix:///system?socket=/var/lib/kubelet/pods/a%20b%26c/run/virtqemud-sock");
}

TEST(LibvirtSpecTest, APathMayHaveAnyLengthIfItsFileNameFitsAnAddress) {
  const std::string directory = "qemu:///system?socket=/" + std::string(100, 'd') + "/";
  const std::string uri = "qemu+unix" + directory.substr(4) + std::string(82, 'n');
  EXPECT_EQ(ParseLibvirtUri(uri)->Uri(), uri);
  EXPECT_THAT(std::string(ParseLibvirtUri(uri + "n").status().message()),
              HasSubstr("83 bytes; in a path of more than 107"));
  EXPECT_TRUE(ParseLibvirtUri(uri + "*").ok());
}

TEST(LibvirtSpecTest, OtherUrisAreRefusedWithAnErrorThatNamesTheCorrectForms) {
  for (const char* uri :
       {"", "system", "xen:///system", "qemu:///", "qemu:///embed", "qemu://host/system",
        "qemu+ssh://host/system", "qemu+tcp:///system", "qemu+unix:///system?socket=run/sock",
        "qemu+unix:///system?socket=/run/../sock", "qemu+unix:///system?socket=/run//sock",
        "qemu:///system?socket=/run/sock", "qemu+unix:///system?mode=legacy",
        "qemu+unix:///system?socket=/run/sock&mode=direct", "lxc:///session", "lxc:///", "lxcs",
        "lxc+ssh:///system", "lxc:///system?socket=/run/sock"}) {
    const absl::StatusOr<LibvirtSpec> spec = ParseLibvirtUri(uri);
    ASSERT_FALSE(spec.ok()) << uri;
    EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr(uri));
  }
}

}  // namespace
}  // namespace vmeventd
