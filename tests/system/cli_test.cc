// vmevents against a running daemon, as scripts use it.

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/support/guest.h"
#include "tests/support/qemu_command.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class CliTest : public E2eTest {
 protected:
  // A daemon that has seen vm1 start and quit, and vm2 start.
  void SetUp() override {
    StartDaemonAndStream();
    const auto guest = StartEmptyGuest("vm1");
    uuid_ = guest->uuid();
    WaitFollowed("vm1");
    guest->manager().Execute("quit");
    WaitStopped("vm1");
    running_ = StartEmptyGuest("vm2");
    stream().Wait("vm2", v1::EVENT_TYPE_STARTED);
  }

  CommandResult Vmevents(const std::vector<std::string>& arguments) {
    return RunCommand({.arguments = VmeventsCommand("unix:" + Options().socket, arguments)});
  }
  // Runs it with -o json; each line of its output must be one object.
  std::vector<nlohmann::json> VmeventsJson(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"-o", "json"});
    const CommandResult result = Vmevents(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.error;
    std::vector<nlohmann::json> objects;
    for (const auto line : absl::StrSplit(result.output, '\n', absl::SkipEmpty())) {
      objects.push_back(nlohmann::json::parse(std::string(line)));
    }
    return objects;
  }
  static std::vector<std::string> Types(const std::vector<nlohmann::json>& events) {
    std::vector<std::string> types;
    types.reserve(events.size());
    for (const nlohmann::json& event : events) types.push_back(event["type"]);
    return types;
  }

  std::string uuid_;  // the UUID of vm1

 private:
  std::unique_ptr<Guest> running_;
};

TEST_F(CliTest, ShowsVmsWithTheirVerdicts) {
  const auto running = VmeventsJson({"vms"});
  ASSERT_THAT(running, SizeIs(1));
  EXPECT_EQ(running[0]["ref"]["name"], "vm2");
  EXPECT_EQ(running[0]["state"], "VM_STATE_RUNNING");
  EXPECT_THAT(VmeventsJson({"vms", "--all"}), SizeIs(2));
  const CommandResult table = Vmevents({"vms", "--all"});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_THAT(table.output, HasSubstr("vm1"));
  EXPECT_THAT(table.output, HasSubstr("ADMIN"));
  const CommandResult result = Vmevents({"vm", "vm1"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_THAT(result.output, HasSubstr("host-qmp-quit")) << "the evidence";
}

TEST_F(CliTest, WhyShowsTheLastEndOfAVmThatRunsAgain) {
  const auto guest = StartGuest({.name = "vm1", .uuid = uuid_, .boot = Boot::kNothing});
  WaitFollowed("vm1");
  const CommandResult result = Vmevents({"why", "vm1"});
  EXPECT_EQ(result.exit_code, 0) << result.error;
  EXPECT_THAT(result.output, testing::StartsWith("vm1 ENDED BY AN ADMIN   "));
  EXPECT_THAT(result.output, HasSubstr("\n  The host sent QEMU a quit command.\n"));
  EXPECT_THAT(result.output, HasSubstr("\n  rule host-quit (class ADMIN, cause host quit)\n"));
  EXPECT_THAT(result.output, HasSubstr("\nNow    RUNNING since "));
  EXPECT_THAT(result.output, HasSubstr("\nEnds   1 in the last 24 h: ADMIN 1\n"));
  const auto both = VmeventsJson({"why", "vm*"});
  ASSERT_THAT(both, SizeIs(2));
  EXPECT_EQ(both[0]["last_end"]["shutdown"]["rule"], "host-quit");
  EXPECT_FALSE(both[1].contains("last_end"));
  EXPECT_THAT(Vmevents({"why", "vm2"}).output, HasSubstr("vm2 has not ended since "));
  const CommandResult unknown = Vmevents({"why", "vm3"});
  EXPECT_EQ(unknown.exit_code, 3);
  EXPECT_THAT(unknown.error, HasSubstr("no VM \"vm3\" is known to vmeventd at unix:"));
}

TEST_F(CliTest, DeclaresAndWithdrawsIntents) {
  const auto declared = VmeventsJson({"intent", "declare", "vm2", "--actor", "alice", "--reason",
                                      "the node is emptied", "--ttl", "1h"});
  ASSERT_THAT(declared, SizeIs(1));
  EXPECT_EQ(declared[0]["reason"], "the node is emptied");
  const std::string intent_id = declared[0]["intent_id"];
  EXPECT_EQ(VmeventsJson({"vm", "vm2"}).at(0)["vm"]["intent"]["actor"], "alice");
  EXPECT_THAT(Vmevents({"vm", "vm2"}).output, HasSubstr("the node is emptied"));
  const CommandResult second =
      Vmevents({"intent", "declare", "vm2", "--actor", "bob", "--reason", "me too"});
  EXPECT_EQ(second.exit_code, 1);
  EXPECT_THAT(second.error,
              AllOf(HasSubstr("vmevents --server "), HasSubstr(" intent withdraw " + intent_id)));
  EXPECT_THAT(Vmevents({"intent", "list"}).output, HasSubstr(intent_id));
  EXPECT_EQ(Vmevents({"intent", "declare", "vm1", "--actor", "a", "--reason", "r"}).exit_code, 3);
  EXPECT_EQ(Vmevents({"intent", "withdraw", intent_id}).exit_code, 0);
  EXPECT_EQ(Vmevents({"intent", "withdraw", intent_id}).exit_code, 3);
  EXPECT_THAT(Vmevents({"intent", "rm", "vm2"}).error,
              HasSubstr("\"vm2\" is not the ID of an open intent"));
  EXPECT_THAT(
      Types(VmeventsJson({"events", "--vm", "vm2"})),
      ElementsAre("EVENT_TYPE_STARTED", "EVENT_TYPE_INTENT_DECLARED", "EVENT_TYPE_INTENT_ENDED"));
}

TEST_F(CliTest, EventsFollowsAfterTheNewest) {
  ChildProcess events({.arguments = VmeventsCommand(daemon().server_address(),
                                                    {"-o", "json", "events", "-n", "1", "-f"})});
  EXPECT_THAT(events.ReadUntil("\"vm2\""), testing::Not(HasSubstr("\"vm1\"")));
  const auto guest = StartEmptyGuest("vm3");
  events.ReadUntil("\"vm3\"");
}

}  // namespace
}  // namespace vmeventd::e2e
