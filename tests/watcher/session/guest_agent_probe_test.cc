#include "watcher/session/guest_agent_probe.h"

#include <map>
#include <string>
#include <vector>

#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

std::string NextCommand(const GuestAgentProbe& probe) {
  return std::string(absl::StripSuffix(probe.NextCommand(), "\n"));
}

// The answers of QEMU 7.2, measured; `answers` is by command.
struct Asked {
  GuestAgentInfo info;
  std::vector<std::string> commands;
};
Asked Ask(const std::map<std::string, std::string>& answers) {
  GuestAgentProbe probe;
  Asked asked;
  while (!probe.done()) {
    asked.commands.push_back(NextCommand(probe));
    const auto answer = answers.find(asked.commands.back());
    if (answer == answers.end()) {
      probe.OnReply(nullptr);
    } else {
      const QmpObject value = QmpObject::parse(answer->second);
      probe.OnReply(value);
    }
  }
  EXPECT_THAT(NextCommand(probe), IsEmpty());
  asked.info = probe.Take();
  return asked;
}

constexpr char kListNamed[] =
    R"({"execute":"qom-list","arguments":{"path":"/machine/peripheral"}})";
constexpr char kListUnnamed[] =
    R"({"execute":"qom-list","arguments":{"path":"/machine/peripheral-anon"}})";
constexpr char kChardevs[] = R"({"execute":"query-chardev"})";
constexpr char kChardevsOpen[] =
    R"([{"frontend-open": true, "filename": "unix:/run/q.sock,server=on", "label": "mon"},
        {"frontend-open": true, "filename": "disconnected:unix:/run/qga.sock,server=on",
         "label": "qga0"}])";

std::string Get(const std::string& path, const std::string& property) {
  return R"({"execute":"qom-get","arguments":{"path":")" + path + R"(","property":")" + property +
         R"("}})";
}

std::map<std::string, std::string> Libvirt() {
  return {{kListNamed, R"([{"name": "type", "type": "string"},
                           {"name": "channel1", "type": "child<virtserialport>"},
                           {"name": "channel0", "type": "child<virtserialport>"},
                           {"name": "net0", "type": "child<virtio-net-pci>"}])"},
          {kListUnnamed, R"([{"name": "type", "type": "string"},
                             {"name": "device[0]", "type": "child<virtio-serial-pci>"}])"},
          {Get("/machine/peripheral/channel1", "name"), R"("com.redhat.spice.0")"},
          {Get("/machine/peripheral/channel0", "name"), R"("org.qemu.guest_agent.0")"},
          {Get("/machine/peripheral/channel0", "chardev"), R"("qga0")"},
          {kChardevs, kChardevsOpen}};
}

TEST(GuestAgentProbeTest, FindsTheAgentsPortAndWhetherTheGuestHasItOpen) {
  const Asked asked = Ask(Libvirt());
  EXPECT_TRUE(asked.info.present);
  EXPECT_TRUE(asked.info.open);
  EXPECT_TRUE(asked.info.reported);
  EXPECT_EQ(asked.info.port, "channel0");
  EXPECT_THAT(asked.info.other_ports, ElementsAre("channel1"));
}

TEST(GuestAgentProbeTest, APortWithoutAnIdIsNotReported) {
  const Asked asked =
      Ask({{kListNamed, "[]"},
           {kListUnnamed, R"([{"name": "device[1]", "type": "child<virtserialport>"}])"},
           {Get("/machine/peripheral-anon/device[1]", "name"), R"("org.qemu.guest_agent.0")"},
           {Get("/machine/peripheral-anon/device[1]", "chardev"), R"("qga0")"},
           {kChardevs, kChardevsOpen}});
  EXPECT_TRUE(asked.info.present);
  EXPECT_TRUE(asked.info.open);
  EXPECT_FALSE(asked.info.reported);
  EXPECT_EQ(asked.info.port, "");
}

TEST(GuestAgentProbeTest, AVmWithoutPortsGetsOnlyTwoQueries) {
  const Asked asked = Ask({{kListNamed, "[]"}, {kListUnnamed, "[]"}});
  EXPECT_FALSE(asked.info.present);
  EXPECT_THAT(asked.commands, ElementsAre(kListNamed, kListUnnamed));
}

TEST(GuestAgentProbeTest, ErrorsAndOddAnswersAreNoAgent) {
  EXPECT_FALSE(Ask({}).info.present);
  for (const char* odd : {"null", "7", "\"text\"", "{}", "[7, null, [], {\"type\": 3}]",
                          R"([{"type": "child<virtserialport>"}])",
                          R"([{"type": "child<virtserialport>", "name": "x"}])"}) {
    EXPECT_FALSE(Ask({{kListNamed, odd}, {kListUnnamed, odd}}).info.present) << odd;
  }
  auto answers = Libvirt();
  for (
      const char* closed :
      {"null", "{}", "[3]", R"([{"label": "qga0", "frontend-open": 1}])",
       R"([{"label": "qga0", "frontend-open": false}, {"label": "mon", "frontend-open": true}])"}) {
    answers[kChardevs] = closed;
    const Asked asked = Ask(answers);
    EXPECT_TRUE(asked.info.present) << closed;
    EXPECT_FALSE(asked.info.open) << closed;
  }
}

TEST(GuestAgentProbeTest, AsksAboutABoundedNumberOfPortsAndOnlyReads) {
  QmpObject ports = QmpObject::array();
  for (int i = 0; i < 1000; ++i) {
    ports.push_back({{"name", "p\" \xff" + std::to_string(i)}, {"type", "child<virtserialport>"}});
  }
  GuestAgentProbe probe;
  std::vector<std::string> commands;
  while (!probe.done()) {
    commands.push_back(NextCommand(probe));
    EXPECT_FALSE(QmpObject::parse(commands.back(), nullptr, false).is_discarded())
        << commands.back();
    probe.OnReply(ports);
  }
  EXPECT_THAT(commands, SizeIs(2 + GuestAgentProbe::kMaxPorts));
  EXPECT_THAT(commands, Each(testing::AnyOf(StartsWith(R"({"execute":"qom-list")"),
                                            StartsWith(R"({"execute":"qom-get")"))));
}

}  // namespace
}  // namespace vmeventd
