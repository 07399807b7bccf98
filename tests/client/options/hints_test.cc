#include "absl/strings/str_split.h"
#include "client/options/options.h"
#include "client/sinks/follow_command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/options/options_fixture.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Lines that people who know kubectl, journalctl, virsh, docker or systemctl try first, half of
// them from the manuals of those programs.
TEST(ParseCommandLine, UnderstandsWhatUsersOfSimilarToolsType) {
  const absl::string_view understood =
      "events|events -f|events -n 20|events -f -n 100|events -r|events web1|events web1 -f|"
      "events --since today|events --since yesterday --until today|events --since -1h|"
      "events --since 10min|events --since 2026-06-30|events --since 09:00 --until 12:00|"
      "events --since @1782900000|events -o json|events --output=json|events --utc --no-pager|vms|"
      "vms web1|vms --all|vms -o wide|vms -o json --vm web1,db1|vms -a|vms -l app=web|"
      "watch web1 -n 1|help events|version|completion zsh|"
      "intent declare web1 --reason moved --actor me|vms -owide|vms --no-headers|events -n20|"
      "events -fn 20|events --since yesterday --until 09:00|--version|ls|ps -a|describe web1|"
      "logs web1 -f|history --since midnight|help ls|"
      "crashes|crashes --since yesterday -n 5|--utc crashes web1|help crashes|tail|tail -f|"
      "tail web1 -n 5|tail -fn 20|help tail|events -w|events --watch|events --since 1h 100|"
      "vms --no-color|--no-color vms|vms -A|watch web1 --timeout 5m|top --once|"
      "health --all|status|status web1|status -o json|get vms|get vm web1|"
      "get vms -A -o wide|get info|get events -w|events --vm web1|-h|help why|why -h|"
      "-o json events|--server unix:/x crashes -o json|intent ls|"
      "intent create web1 --actor a --reason r|intent delete 6a6f|events -f --timeout 5m|"
      "logs -f web1 --timeout 1m|describe vm/web1|logs vm/web1|--server /run/x.sock vms";
  for (const absl::string_view line : absl::StrSplit(understood, '|')) {
    const auto parsed = ParseCommandLine(absl::StrSplit(line, ' '), TestContext());
    const auto* answered = std::get_if<Answered>(&parsed);
    EXPECT_EQ(answered == nullptr ? "" : answered->err, "") << line;
  }
}

TEST(ParseCommandLine, AnAliasIsExpandedAsACommandButNotAsAValue) {
  const auto crashes = As<EventsCommand>({"--server", "tail", "crashes", "--vm", "crashes"});
  EXPECT_THAT(crashes.request.filter().types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_THAT(crashes.request.filter().classes(), ElementsAre(v1::SHUTDOWN_CLASS_CRASH));
  EXPECT_THAT(crashes.request.filter().vm_names(), ElementsAre("crashes"));
  EXPECT_TRUE(crashes.request.newest_first());
  EXPECT_EQ(As<EventsCommand>({"tail"}).last, 10U);
  EXPECT_EQ(As<EventsCommand>({"tail", "-n5"}).last, 5U) << "the last one counts";
  EXPECT_EQ(As<EventsCommand>({"tail", "-20"}).last, 20U);
  EXPECT_EQ(As<EventsCommand>({"events", "-20"}).last, 20U);
  EXPECT_THAT(As<VmsCommand>({"ls", "-la"}).filter.labels(), IsEmpty());
  EXPECT_TRUE(As<VmsCommand>({"ls", "-la"}).include_stopped);
  EXPECT_EQ(As<EventsCommand>({"events", "-r", "-20"}).last, 20U);
  EXPECT_EQ(
      As<DeclareIntentCommand>({"intent", "declare", "vm/a", "--reason", "-3", "--actor", "me"})
          .name,
      "a");
  EXPECT_EQ(As<DeclareIntentCommand>({"intent", "declare", "a", "--actor", "me", "--reason", "-3"})
                .reason,
            "-3");
  EXPECT_THAT(As<VmsCommand>({"vms", "--vm", "-3"}).filter.vm_names(), ElementsAre("-3"));
  EXPECT_THAT(As<VmsCommand>({"vms", "--vm", "-la"}).filter.vm_names(), ElementsAre("-la"));
  EXPECT_THAT(As<WhyCommand>({"why", "--", "-20", "-la"}).filter.vm_names(),
              ElementsAre("-20", "-la"));
  EXPECT_EQ(As<VmsCommand>({"vms", "--sort-by", "AGE"}).order, VmOrder::kAge);
  EXPECT_EQ(Parsed({"vms", "-o=json"}).format, OutputFormat::kJson);
  EXPECT_THAT(Complaint({"-o=", "vms"}), HasSubstr("--output: \"\" is not one of its values"));
  EXPECT_EQ(As<FollowCommand>({"tail", "-f"}).last, 10U);
  EXPECT_THAT(As<EventsCommand>({"events", "tail"}).request.filter().vm_names(),
              ElementsAre("tail"));
  EXPECT_EQ(Parsed({"vms", "--no-color"}).color, ColorMode::kNever);
  EXPECT_EQ(Parsed({"-ojson", "ls"}).format, OutputFormat::kJson);
}

}  // namespace
}  // namespace vmeventd::client
