#include "client/options/option_values.h"

#include <string>

#include "client/output/enum_names.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1782907200);

absl::StatusOr<WatchStart> Start(const std::string& from, const std::string& journal = "") {
  return ParseWatchStart(from, journal, kNow, absl::UTCTimeZone());
}

TEST(ParseWatchStart, ParsesEachStart) {
  EXPECT_TRUE(std::holds_alternative<FromNow>(*Start("")));
  EXPECT_TRUE(std::holds_alternative<FromOldest>(*Start("oldest")));
  EXPECT_TRUE(std::holds_alternative<FromSnapshot>(*Start("snapshot")));
  EXPECT_EQ(std::get<FromTime>(*Start("10m")).time, kNow - absl::Minutes(10));
  EXPECT_EQ(std::get<FromTime>(*Start("2026-07-01T12:00:00Z")).time, kNow);
  EXPECT_EQ(std::get<FromSequence>(*Start("4711")).sequence, 4711U);
  EXPECT_EQ(std::get<FromSequence>(*Start("18446744073709551615")).sequence, UINT64_MAX);
  EXPECT_EQ(std::get<FromSequence>(*Start("7", "journal-a")).journal_id, "journal-a");
}

TEST(ParseWatchStart, RefusesTheRest) {
  EXPECT_THAT(std::string(Start("18446744073709551616").status().message()),
              HasSubstr("larger than any sequence"));
  EXPECT_THAT(std::string(Start("-1").status().message()), HasSubstr("--from: \"-1\""));
  EXPECT_THAT(std::string(Start("oldest", "journal-a").status().message()),
              HasSubstr("--from SEQUENCE"));
}

TEST(ParseCount, TakesWholeNumbersFromOne) {
  EXPECT_EQ(*ParseCount("--count", false, ""), std::nullopt);
  EXPECT_EQ(*ParseCount("--count", true, "12"), 12U);
  for (const char* text : {"", "0", "-1", "1.5", "x", "99999999999999999999"}) {
    EXPECT_FALSE(ParseCount("--count", true, text).ok()) << text;
  }
}

constexpr char kUuid[] = "550e8400-e29b-41d4-a716-446655440000";

TEST(ParseFilter, TakesShortAndFullNamesInAnyCase) {
  const auto filter = ParseFilter({.vms = {"web*", "db[12]"},
                                   .types = {"stopped", "EVENT_TYPE_Gap,monitor-lost"},
                                   .classes = {"User", "SHUTDOWN_CLASS_CRASH"},
                                   .causes = {"host-kill,GUEST_PANIC"},
                                   .sources = {"libvirt:*", "qmp:/run"},
                                   .uuids = {kUuid},
                                   .runs = {"r1,r2"},
                                   .labels = {"app=web,!canary"}});
  ASSERT_TRUE(filter.ok());
  EXPECT_THAT(filter->vm_names(), ElementsAre("web*", "db[12]"));
  EXPECT_THAT(filter->sources(), ElementsAre("libvirt:*", "qmp:/run"));
  EXPECT_THAT(filter->types(),
              ElementsAre(v1::EVENT_TYPE_STOPPED, v1::EVENT_TYPE_GAP, v1::EVENT_TYPE_MONITOR_LOST));
  EXPECT_THAT(filter->classes(), ElementsAre(v1::SHUTDOWN_CLASS_USER, v1::SHUTDOWN_CLASS_CRASH));
  EXPECT_THAT(filter->causes(),
              ElementsAre(v1::SHUTDOWN_CAUSE_HOST_KILL, v1::SHUTDOWN_CAUSE_GUEST_PANIC));
  EXPECT_THAT(filter->uuids(), ElementsAre(kUuid));
  EXPECT_THAT(filter->run_ids(), ElementsAre("r1", "r2"));
  EXPECT_THAT(filter->labels(), ElementsAre("app=web,!canary"));
}

TEST(ParseFilter, NamesTheOptionAndTheChoices) {
  EXPECT_EQ(
      ParseFilter({.classes = {"root"}}).status().message(),
      "--class: \"root\" is not a known shutdown class; use one of USER, ADMIN, CRASH, UNKNOWN");
  EXPECT_EQ(ParseFilter({.types = {"died"}}).status().message(),
            "--type: \"died\" is not a known event type; did you mean stopped?");
  EXPECT_EQ(ParseFilter({.classes = {"watchdog"}}).status().message(),
            "--class: \"watchdog\" is not a known shutdown class; it is a value of --cause");
  EXPECT_FALSE(ParseFilter({.types = {""}}).ok());
  EXPECT_FALSE(ParseFilter({.types = {"unspecified"}}).ok());
  EXPECT_FALSE(ParseFilter({.vms = {""}}).ok());
  EXPECT_FALSE(ParseFilter({.vms = {"\xff"}}).ok());
  EXPECT_EQ(ParseFilter({.sources = {""}}).status().message(),
            "--source: the text is empty; give one");
  EXPECT_EQ(ParseFilter({.uuids = {"web1"}}).status().message(),
            "--uuid: \"web1\" is no UUID; write it as 550e8400-e29b-41d4-a716-446655440000");
  EXPECT_FALSE(ParseFilter({.causes = {"bad-luck"}}).ok());
  EXPECT_EQ(ParseFilter({.labels = {"app=web,"}}).status().message(),
            "--label: \"app=web,\" has an empty condition; write conditions as app=web, app!=web, "
            "app or !app, separated by commas");
}

TEST(ParseStates, TakesNames) {
  EXPECT_THAT(*ParseStates({"running,guest-down"}),
              ElementsAre(v1::VM_STATE_RUNNING, v1::VM_STATE_GUEST_DOWN));
  EXPECT_FALSE(ParseStates({"dead"}).ok());
}

TEST(ShortName, OmitsThePrefix) {
  EXPECT_EQ(ShortName(v1::EVENT_TYPE_STOPPED), "STOPPED");
  EXPECT_EQ(ShortName(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF), "GUEST_POWEROFF");
  EXPECT_EQ(ShortName(static_cast<v1::VmState>(77)), "77");
}

}  // namespace
}  // namespace vmeventd::client
