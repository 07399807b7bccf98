#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/options/options.h"
#include "client/sinks/follow_command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/options/options_fixture.h"
#include "tests/support/proto_text.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using testing::UnorderedElementsAre;

TEST(ParseCommandLine, VmNamesAreArgumentsOrAListWithCommas) {
  const auto watch = As<FollowCommand>({"watch", "web1", "-n", "3", "db*"});
  EXPECT_THAT(watch.watch.filter.vm_names(), ElementsAre("web1", "db*"));
  EXPECT_EQ(watch.count, 3U);
  EXPECT_THAT(As<EventsCommand>({"events", "watch"}).request.filter().vm_names(),
              ElementsAre("watch"));
  const auto vms = As<VmsCommand>({"vms", "--vm", "web1,db1", "--class", "crash", "a"});
  EXPECT_THAT(vms.filter.vm_names(), ElementsAre("web1,db1", "web1", "db1", "a"));
  EXPECT_THAT(vms.filter.classes(), ElementsAre(v1::SHUTDOWN_CLASS_CRASH));
  EXPECT_TRUE(vms.include_stopped) << "only those have a class";
  const auto ends = As<VmsCommand>({"vms", "--cause", "host-kill,watchdog", "--run", "r"});
  EXPECT_THAT(ends.filter.causes(),
              ElementsAre(v1::SHUTDOWN_CAUSE_HOST_KILL, v1::SHUTDOWN_CAUSE_WATCHDOG));
  EXPECT_THAT(ends.filter.run_ids(), ElementsAre("r"));
  EXPECT_TRUE(ends.include_stopped);
  EXPECT_TRUE(As<VmsCommand>({"vms", "--run", "r"}).include_stopped);
  EXPECT_THAT(Complaint({"vms", "--vm", ""}), HasSubstr("--vm: the text is empty"));
}

TEST(ParseCommandLine, ANameMayHaveCommas) {
  const auto names = [](const std::vector<std::string>& line) {
    return As<VmsCommand>(line).filter.vm_names();
  };
  EXPECT_THAT(names({"vms", "a,b"}), ElementsAre("a,b")) << "the shell separates names";
  EXPECT_THAT(names({"vms", "--vm", "a,b"}), ElementsAre("a,b", "a", "b"));
  EXPECT_THAT(names({"vms", "--vm", "a,,"}), ElementsAre("a,,", "a"));
  EXPECT_THAT(As<FollowCommand>({"watch", "--vm", "a,b"}).watch.filter.vm_names(),
              ElementsAre("a,b", "a", "b"));
  std::string list = "web1";
  while (list.size() < 256) list += ",web1";
  EXPECT_THAT(names({"vms", "--vm", list}), testing::Each("web1")) << "no name is as long";
}

TEST(ParseCommandLine, AFilterTakesShortAndFullNamesInAnyCase) {
  const std::string options =
      "watch --vm web* db[12] --type stopped --type EVENT_TYPE_Gap,mon-lost,PANICKED --class User "
      "--class SHUTDOWN_CLASS_CRASH --cause host-kill,GUEST_PANIC --source libvirt:* "
      "--source qmp:/run --run r1,r2 --label app=web,!canary "
      "--uuid 550e8400-e29b-41d4-a716-446655440000";
  const auto expected = FromText<v1::EventFilter>(R"(
      vm_names: ['web*', 'db[12]'] sources: ['libvirt:*', 'qmp:/run'] run_ids: ['r1', 'r2']
      types: [EVENT_TYPE_STOPPED, EVENT_TYPE_GAP, EVENT_TYPE_MONITOR_LOST]
      types: EVENT_TYPE_GUEST_PANICKED
      classes: [SHUTDOWN_CLASS_USER, SHUTDOWN_CLASS_CRASH] labels: 'app=web,!canary'
      causes: [SHUTDOWN_CAUSE_HOST_KILL, SHUTDOWN_CAUSE_GUEST_PANIC]
      uuids: '550e8400-e29b-41d4-a716-446655440000')");
  EXPECT_EQ(As<FollowCommand>(absl::StrSplit(options, ' ')).watch.filter.DebugString(),
            expected.DebugString());
  const auto vms = As<VmsCommand>({"vms", "--state", "running,guest-down"});
  EXPECT_THAT(vms.states, ElementsAre(v1::VM_STATE_RUNNING, v1::VM_STATE_GUEST_DOWN));
}

TEST(ParseCommandLine, AWrongFilterNamesTheOptionAndTheChoices) {
  EXPECT_THAT(Complaint({"watch", "--vm", "\xff"}),
              HasSubstr("is not UTF-8; write a name as `vmevents vms -o json` shows it"));
  EXPECT_THAT(Complaint({"vms", "--state", "dead"}),
              StartsWith("--state: \"dead\" is not a known state"));
}

TEST(ParseCommandLine, AVmMayBeNamedLikeACommandOrAnOption) {
  EXPECT_THAT(As<WhyCommand>({"vm", "watch"}).filter.vm_names(), ElementsAre("watch"));
  EXPECT_THAT(As<WhyCommand>({"why", "--", "-x"}).filter.vm_names(), ElementsAre("-x"));
  EXPECT_THAT(As<WhyCommand>({"why", "[a-z]", "web1"}).filter.vm_names(),
              ElementsAre("[a-z]", "web1"));
  EXPECT_THAT(As<EventsCommand>({"events", "[a-z]", "--vm", "[0-9]"}).request.filter().vm_names(),
              UnorderedElementsAre("[a-z]", "[0-9]"));
}

}  // namespace
}  // namespace vmeventd::client
