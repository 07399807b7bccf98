#include "watcher/libvirt/domain_xml.h"

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

// As libvirt 9.0 writes it.
constexpr char kHead[] = R"(<domain type='qemu' id='1'>
  <name>t1</name>
  <metadata>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
    </channel>
  </metadata>
  <devices>
    <serial type='unix'>
      <target type='isa-serial' port='0'/>
      <alias name='serial0'/>
    </serial>
    <channel type='spicevmc'>
      <target type='virtio' name='com.redhat.spice.0' state='disconnected'/>
      <alias name='channel1'/>
    </channel>
)";
constexpr char kAgent[] = R"(    <channel type='unix'>
      <source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-1-t1/org.qemu.guest_agent.0'/>
      <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
      <alias name='channel0'/>
      <address type='virtio-serial' controller='0' bus='0' port='1'/>
    </channel>
)";
constexpr char kTail[] = "  </devices>\n</domain>\n";

TEST(DomainXmlTest, AnAgentsChannelAndTheOthers) {
  const GuestAgentInfo info = GuestAgentOf(absl::StrCat(kHead, kAgent, kTail));
  EXPECT_TRUE(info.present);
  EXPECT_TRUE(info.open);
  EXPECT_TRUE(info.reported);
  EXPECT_EQ(info.port, "channel0");
  EXPECT_THAT(info.other_ports, ElementsAre("channel1"));
}

TEST(DomainXmlTest, TextOutsideTheDevicesIsNoChannel) {
  const GuestAgentInfo info = GuestAgentOf(absl::StrCat(kHead, kTail));
  EXPECT_FALSE(info.present);
  EXPECT_FALSE(info.open);
  EXPECT_THAT(info.other_ports, ElementsAre("channel1"));
}

TEST(DomainXmlTest, TextThatIsNoDomainHasNothing) {
  for (const char* text : {"", "<domain>", "\n  <devices>\n", "\n  <devices>\n    <channel "}) {
    EXPECT_FALSE(GuestAgentOf(text).present);
  }
}

}  // namespace
}  // namespace vmeventd
