#include "watcher/libvirt/domain_xml.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/labels.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

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

GuestAgentInfo AgentIn(absl::string_view xml) { return DetailsIn(xml).value().agent; }
Labels LabelsIn(absl::string_view xml) { return DetailsIn(xml).value().labels; }

TEST(DomainXmlTest, FindsTheAgentsChannelAndTheOtherChannels) {
  const GuestAgentInfo info = AgentIn(absl::StrCat(kHead, kAgent, kTail));
  EXPECT_TRUE(info.present);
  EXPECT_TRUE(info.open);
  EXPECT_TRUE(info.reported);
  EXPECT_EQ(info.port, "channel0");
  EXPECT_THAT(info.other_ports, ElementsAre("channel1"));
}

TEST(DomainXmlTest, TextOutsideTheDevicesIsNoChannel) {
  const GuestAgentInfo info = AgentIn(absl::StrCat(kHead, kTail));
  EXPECT_FALSE(info.present);
  EXPECT_FALSE(info.open);
  EXPECT_THAT(info.other_ports, ElementsAre("channel1"));
}

TEST(DomainXmlTest, TextThatIsNoXmlIsAnError) {
  for (const char* text : {"", "<", "no XML", "</a>", "<domain>", "<domain><devices><channel ",
                           "<domain><metadata><x:a/></metadata>"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(DetailsIn(text).status())) << text;
  }
}

// As libvirt takes and writes it: an undeclared prefix within an element that has one.
TEST(DomainXmlTest, MetadataThatIsMalformedDoesNotHideTheAgent) {
  for (const char* const inner : {"<x:inner>text</x:inner>", "<x:a><metadata></metadata></x:a>"}) {
    const GuestAgentInfo info =
        AgentIn(absl::StrCat("<domain><metadata><my:app xmlns:my='urn:my'>", inner,
                             "</my:app></metadata><devices>", kAgent, kTail));
    EXPECT_TRUE(info.present) << inner;
    EXPECT_TRUE(info.open) << inner;
  }
}

std::string Domain(const std::string& name, const std::string& metadata) {
  return absl::StrCat("<domain type='kvm' id='1'>\n  <name>", name, "</name>\n  <metadata>\n",
                      metadata,
                      "  </metadata>\n  <devices>\n    <name>device</name>\n  </devices>\n"
                      "</domain>\n");
}

TEST(DomainLabelsTest, NovasMetadataHasProjectUserFlavorAndName) {
  // As nova 26 writes it.
  const std::string xml = Domain("instance-0000002a", R"(
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:package version="26.1.0"/>
      <nova:name>mail &amp; web</nova:name>
      <nova:creationTime>2026-11-22 10:00:00</nova:creationTime>
      <nova:flavor name="m1.small">
        <nova:memory>2048</nova:memory>
        <nova:name>no label</nova:name>
      </nova:flavor>
      <nova:owner>
        <nova:user uuid="11111111">alice</nova:user>
        <nova:project uuid="22222222">demo</nova:project>
      </nova:owner>
      <nova:root type="image" uuid="33333333"/>
    </nova:instance>
)");
  EXPECT_THAT(LabelsIn(xml),
              ElementsAre(Pair("nova.flavor", "m1.small"), Pair("nova.name", "mail & web"),
                          Pair("nova.project", "demo"), Pair("nova.project_id", "22222222"),
                          Pair("nova.user", "alice"), Pair("nova.user_id", "11111111")));
}

TEST(DomainLabelsTest, KubeVirtsMetadataHasNamespaceAndInstance) {
  const std::string xml = Domain("prod_web-1", R"(
    <kubevirt xmlns="http://kubevirt.io">
      <uid>550e8400-e29b-41d4-a716-446655440000</uid>
      <graceperiod><deletionGracePeriodSeconds>30</deletionGracePeriodSeconds></graceperiod>
    </kubevirt>
)");
  EXPECT_THAT(LabelsIn(xml),
              ElementsAre(Pair("kubevirt.namespace", "prod"),
                          Pair("kubevirt.uid", "550e8400-e29b-41d4-a716-446655440000"),
                          Pair("kubevirt.vmi", "web-1")));
}

TEST(DomainLabelsTest, LabelsSetByHandAreRead) {
  // As `virsh metadata` stores it; another program's element has the same names.
  const std::string xml = Domain("a_b", R"(
    <mine:labels xmlns:mine="urn:vmeventd:labels">
      <mine:label key="app" value="web"/>
      <mine:label key="app" value="second"/>
      <mine:label key="empty" value=""/>
      <mine:label key="no key" value="x"/>
      <mine:label value="x"/>
      <mine:other key="other" value="x"/>
    </mine:labels>
    <x:labels xmlns:x="urn:x"><x:label key="x" value="x"/></x:labels>
)");
  EXPECT_THAT(LabelsIn(xml), ElementsAre(Pair("app", "web"), Pair("empty", "")));
}

TEST(DomainLabelsTest, LabelsInTheMetadataAreBounded) {
  std::string labels = R"(<labels xmlns="urn:vmeventd:labels">)";
  for (int i = 0; i < 1000; ++i) {
    absl::StrAppend(&labels, "<label key='k", 1000 + i, "' value='", std::string(1000, 'x'), "'/>");
  }
  const Labels bounded = LabelsIn(Domain("a", labels + "</labels>"));
  EXPECT_EQ(bounded.size(), kMaxLabels);
  EXPECT_EQ(bounded.front().second, std::string(kMaxLabelValueBytes, 'x'));
  const Labels line = LabelsIn(Domain(
      "a", "<labels xmlns=\"urn:vmeventd:labels\"><label key='a' value='x&#10;\\'/></labels>"));
  EXPECT_THAT(line, ElementsAre(Pair("a", "x\\x0a\\x5c")));
}

TEST(DomainLabelsTest, LabelsOutsideOfTheMetadataAreIgnored) {
  EXPECT_THAT(LabelsIn("<domain><labels xmlns=\"urn:vmeventd:labels\"><label key=\"a\" "
                       "value=\"b\"/></labels></domain>"),
              IsEmpty());
}

}  // namespace
}  // namespace vmeventd
