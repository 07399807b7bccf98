#include "client/options/options.h"

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/options/option_context.h"
#include "client/output/enum_names.h"
#include "client/sinks/follow_command.h"
#include "client/sinks/sink_options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/options/options_fixture.h"
#include "tests/support/golden_file.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

// Complaints about the lines of golden/complaints.txt that begin with "$ "; '' is an empty word,
// and (CAUSES) and (TYPES) are the lists of all causes and types of events. Run it with
// VMEVENTS_WRITE_CAPTURES=1 to write the file again, and read the difference.
TEST(ParseCommandLine, ComplaintsMatchTheGoldenFile) {
  const std::string path = "tests/client/options/golden/complaints.txt";
  std::ifstream file(absl::StrCat(VMEVENTD_SOURCE_DIR "/", path));
  const std::string golden(std::istreambuf_iterator<char>(file), {});
  const std::string causes = absl::StrJoin(EnumNames(*v1::ShutdownCause_descriptor()), ", ");
  const std::string types = absl::StrJoin(EnumNames(*v1::EventType_descriptor()), ", ");
  std::string text;
  for (const absl::string_view line : absl::StrSplit(golden, '\n')) {
    absl::string_view words = line;
    if (absl::ConsumePrefix(&words, "$ vmevents ")) {
      std::vector<std::string> arguments = absl::StrSplit(words, ' ');
      absl::c_replace(arguments, std::string("''"), std::string());
      absl::StrAppend(
          &text, line, "\n",
          absl::StrReplaceAll(Complaint(arguments), {{causes, "(CAUSES)"}, {types, "(TYPES)"}}),
          "\n");
    } else if (line.empty() || line[0] == '#') {
      absl::StrAppend(&text, line, "\n");
    }
  }
  text.pop_back();  // StrSplit's last, empty line
  ExpectGolden(path, text);
}

TEST(ParseCommandLine, ComplaintsNameWhatIsWrongAndWhereToRead) {
  EXPECT_EQ(
      Complaint({"--utc"}),
      "no command is given; the commands are watch, push, web, events, vms, why, stats, status, "
      "top, fleet, intent, info, streams, health, doctor, help, version, completion (see "
      "vmevents --help)");
  EXPECT_THAT(Complaint({"frobnicate"}),
              AllOf(HasSubstr("\"frobnicate\""), HasSubstr("the commands are watch")));
  EXPECT_THAT(Complaint({"watch", "--bogus"}),
              AllOf(HasSubstr("\"--bogus\""), HasSubstr("(see vmevents watch --help)")));
  EXPECT_THAT(Complaint({"info", "\x1b[2J"}), HasSubstr("\\x1b[2J"));
}

TEST(ParseCommandLine, WatchTakesAllOfItsOptions) {
  const auto now = As<FollowCommand>({"watch"});
  EXPECT_TRUE(std::holds_alternative<FromNow>(now.watch.start));
  EXPECT_FALSE(now.watch.wait || now.count || now.timeout);
  const auto follow = As<FollowCommand>({"watch", "--from", "7", "--journal", "j", "--vm", "a*",
                                         "--count", "5", "--wait", "--timeout", "90s"});
  EXPECT_EQ(std::get<FromSequence>(follow.watch.start), (FromSequence{7, "j"}));
  EXPECT_THAT(follow.watch.filter.vm_names(), ElementsAre("a*"));
  EXPECT_EQ(follow.count, 5U);
  EXPECT_TRUE(follow.watch.wait);
  EXPECT_EQ(follow.timeout, absl::Seconds(90));
}

absl::Duration LengthOf(const v1::ListEventsRequest& request) {
  return FromTimestamp(request.end_time()) - FromTimestamp(request.start_time());
}

TEST(ParseCommandLine, ListsTakeAllOfTheirOptions) {
  const auto events =
      As<EventsCommand>({"events", "--since", "1h", "--until", "10m", "--vm", "a", "-r", "--limit",
                         "3", "--class", "crash", "--source", "qmp:*"});
  EXPECT_EQ(LengthOf(events.request), absl::Minutes(50));
  EXPECT_TRUE(events.request.newest_first());
  EXPECT_THAT(events.request.filter().sources(), ElementsAre("qmp:*"));
  EXPECT_EQ(events.limit, 3U);
  EXPECT_EQ(As<EventsCommand>({"events", "-n", "20"}).last, 20U);
  for (const char* line : {"vms", "vms --state paused"}) {
    EXPECT_FALSE(As<VmsCommand>(absl::StrSplit(line, ' ')).include_stopped) << line;
  }
  for (const char* line : {"vms --all", "vms --state stopped", "vms --runs"}) {
    EXPECT_TRUE(As<VmsCommand>(absl::StrSplit(line, ' ')).include_stopped) << line;
  }
  EXPECT_EQ(As<VmsCommand>({"vms", "--sort-by", "ends"}).order, VmOrder::kEnds);
  const auto why = As<WhyCommand>({"why", "web*", "db1", "--run", "r", "--markdown"});
  EXPECT_THAT(why.filter.vm_names(), ElementsAre("web*", "db1"));
  EXPECT_THAT(why.filter.run_ids(), ElementsAre("r"));
  EXPECT_TRUE(why.markdown);
  EXPECT_FALSE(why.is_of_ends());
  EXPECT_TRUE(As<WhyCommand>({"why", "--class", "crash"}).is_of_ends());
  EXPECT_EQ(As<WhyCommand>({"why", "--since", "1h"}).since, TestContext().now - absl::Hours(1));
  const auto top = As<TopCommand>({"top", "--interval", "5s", "--window", "1h"});
  EXPECT_EQ(top.interval, absl::Seconds(5));
  EXPECT_EQ(top.window, absl::Hours(1));
}

TEST(ParseCommandLine, OutputOptionsSelectTheForm) {
  EXPECT_EQ(Parsed({"vms"}).format, OutputFormat::kTable);
  EXPECT_EQ(Parsed({"vms", "-o", "wide"}).format, OutputFormat::kWide);
  EXPECT_EQ(Parsed({"vms", "-o", "jsonl"}).format, OutputFormat::kJsonLines);
  EXPECT_EQ(Parsed({"vms", "-o", "name"}).format, OutputFormat::kName);
  EXPECT_TRUE(Parsed({"vms"}).headings && Parsed({"vms"}).pager && Parsed({"vms"}).cut);
  const CommandLine line = Parsed({"vms", "--no-headers", "--no-pager", "--no-trunc"});
  EXPECT_FALSE(line.headings || line.pager || line.cut);
}

TEST(ParseCommandLine, AWatchTakesEachKindOfStart) {
  const auto start = [](std::vector<std::string> options) {
    options.insert(options.begin(), "watch");
    return As<FollowCommand>(options).watch.start;
  };
  const absl::Time now = TestContext().now;
  EXPECT_TRUE(std::holds_alternative<FromOldest>(start({"--from", "oldest"})));
  EXPECT_TRUE(std::holds_alternative<FromSnapshot>(start({"--from", "snapshot"})));
  EXPECT_EQ(std::get<FromTime>(start({"--from", "10m"})).time, now - absl::Minutes(10));
  EXPECT_EQ(std::get<FromTime>(start({"--since", "2026-07-01T12:00:00Z"})).time, now);
  EXPECT_EQ(std::get<FromSequence>(start({"--from", "18446744073709551615"})).sequence, UINT64_MAX);
}

TEST(ParseCommandLine, ACountIsAWholeNumberFromOne) {
  for (const char* text : {"", "0", "-1", "1.5", "x", "99999999999999999999"}) {
    EXPECT_THAT(Complaint({"watch", absl::StrCat("--count=", text)}), HasSubstr("--count")) << text;
  }
}

TEST(ParseCommandLine, StatusMeansOneFrameOfTopOrWhyForANamedVm) {
  const auto top = As<TopCommand>({"status"});
  EXPECT_TRUE(top.once);
  EXPECT_EQ(top.window, absl::Hours(24));
  EXPECT_THAT(As<WhyCommand>({"status", "web1"}).filter.vm_names(), ElementsAre("web1"));
  EXPECT_EQ(Parsed({"--server", "a,b", "status", "web1"}).servers.addresses.size(), 2);
  EXPECT_EQ(Parsed({"--server", "a,b", "status"}).servers.addresses.size(), 2);
  EXPECT_TRUE(std::holds_alternative<StatusCommand>(Parsed({"status", "-o", "json"}).command));
}

TEST(ParseCommandLine, EventsWithFollowIsAWatch) {
  const auto all = As<FollowCommand>({"events", "-f"});
  EXPECT_EQ(all.last, 10U) << "as journalctl";
  EXPECT_FALSE(As<FollowCommand>({"events", "-f", "--since", "1h"}).last);
  const auto last = As<FollowCommand>(
      {"events", "-f", "-n", "5", "--since", "1h", "--vm", "a", "--cursor-file", "c"});
  EXPECT_TRUE(std::holds_alternative<FromTime>(last.watch.start));
  EXPECT_EQ(last.last, 5U);
  EXPECT_EQ(last.cursor_file, "c");
  EXPECT_THAT(last.watch.filter.vm_names(), ElementsAre("a"));
  for (const char* option : {"--until", "--limit"}) {
    EXPECT_THAT(Complaint({"events", "-f", option, "1"}), HasSubstr(option));
  }
}

TEST(ParseCommandLine, WatchMayRunACommand) {
  const auto watch = As<FollowCommand>(
      {"watch", "--exec", "notify", "--exec-on-failure", "retry", "--cursor-file", "c"});
  EXPECT_EQ(OptionOf(watch.sink_options, "--exec"), "notify");
  EXPECT_EQ(OptionOf(watch.sink_options, "--exec-on-failure"), "retry");
  EXPECT_EQ(watch.cursor_file, "c");
}

TEST(ParseCommandLine, AFinishedListForProgramsHasOnlyRequestedGaps) {
  const auto prints = [](const std::vector<std::string>& arguments) {
    return Parsed(arguments).prints_gaps();
  };
  EXPECT_TRUE(prints({"events", "--class", "crash"})) << "for people";
  EXPECT_FALSE(prints({"-o", "json", "events", "--class", "crash", "-n", "3"}));
  EXPECT_TRUE(prints({"-o", "json", "events", "-n", "3"}));
  EXPECT_TRUE(prints({"-o", "json", "events", "--type", "gap"}));
  EXPECT_TRUE(prints({"-o", "json", "events", "-f", "--class", "crash"}));
  EXPECT_TRUE(prints({"-o", "json", "watch", "--class", "crash"}));
  EXPECT_TRUE(prints({"-o", "jsonl", "watch", "--vm", "web1"}));
}

TEST(ParseCommandLine, AGapCountsIfItWasRequested) {
  const auto counts = [](const std::vector<std::string>& arguments) {
    return As<FollowCommand>(arguments).asks_for_gaps();
  };
  EXPECT_TRUE(counts({"watch"}));
  EXPECT_TRUE(counts({"watch", "--type", "stopped,gap"}));
  EXPECT_TRUE(counts({"watch", "--exec", "x", "--type", "gap"}));
  EXPECT_TRUE(counts({"watch", "--exec", "x"}));
  EXPECT_FALSE(counts({"watch", "--exec", "x", "--class", "crash"}));
  EXPECT_FALSE(counts({"watch", "--vm", "web1"}));
  EXPECT_FALSE(counts({"watch", "--type", "stopped"}));
  EXPECT_FALSE(counts({"watch", "--class", "crash"}));
}

TEST(ParseCommandLine, APushFollowsAsItsOptionsDefine) {
  const CommandLine line = Parsed({"--server", "a,b", "push", "https://x/y", "--format", "json",
                                   "--since", "@17", "--vm", "web*", "--class", "crash", "--batch",
                                   "7", "--timeout", "1m", "--state-dir", "/s"});
  EXPECT_EQ(line.servers.addresses.size(), 2U);
  const auto& push = std::get<PushCommand>(line.command);
  EXPECT_EQ(push.url, "https://x/y");
  EXPECT_EQ(push.format, PushFormat::kJson);
  EXPECT_TRUE(std::holds_alternative<FromTime>(push.follow.watch.start));
  EXPECT_TRUE(push.follow.watch.wait && push.follow.watch.identify);
  EXPECT_THAT(push.follow.watch.filter.vm_names(), ElementsAre("web*"));
  EXPECT_EQ(OptionOf(push.follow.sink_options, "--batch"), "7");
  EXPECT_EQ(OptionOf(push.follow.sink_options, "--timeout"), "1m");
  EXPECT_EQ(push.state_dir, "/s");
  EXPECT_TRUE(Parsed({"--server", "nats://a", "push", "https://x"}).servers.fleet);
}

TEST(ParseCommandLine, APushIntoAFleetTakesTheWholeJournal) {
  const CommandLine line =
      Parsed({"--server", "a", "push", "tls://n1,n2:5", "--cluster", "prod", "--format", "json",
              "--push-credentials", "c", "--push-domain", "hub"});
  const auto& push = std::get<PushCommand>(line.command);
  EXPECT_TRUE(std::holds_alternative<FromOldest>(push.follow.watch.start));
  EXPECT_TRUE(push.follow.watch.durable_only);
  EXPECT_EQ(OptionOf(push.follow.sink_options, "--cluster"), "prod");
  EXPECT_EQ(OptionOf(push.follow.sink_options, "--push-credentials"), "c");
  EXPECT_EQ(OptionOf(push.follow.sink_options, "--push-domain"), "hub");
  EXPECT_EQ(push.format, PushFormat::kJson);
  EXPECT_TRUE(std::holds_alternative<FromNow>(
      std::get<PushCommand>(
          Parsed({"push", "nats://localhost", "--cluster", "c", "--from", "now"}).command)
          .follow.watch.start));
}

TEST(ParseCommandLine, UntilMayBeRelativeToSince) {
  const auto events = As<EventsCommand>({"events", "--until", "+10m", "--since", "2h"});
  EXPECT_EQ(LengthOf(events.request), absl::Minutes(10));
}

TEST(ParseCommandLine, TheOptionUtcAppliesToSinceAndUntil) {
  OptionContext context = TestContext();
  context.zone = absl::FixedTimeZone(7200);
  const auto since = [&context](const std::vector<std::string>& arguments) {
    return FromTimestamp(As<EventsCommand>(arguments, context).request.start_time());
  };
  EXPECT_EQ(since({"--utc", "events", "--since", "2026-07-01 12:00"}) -
                since({"events", "--since", "2026-07-01 12:00"}),
            absl::Hours(2));
  EXPECT_EQ(Parsed({"info"}, context).zone, context.zone);
}

TEST(ParseCommandLine, IntentTakesDeclareAndWithdraw) {
  const auto declare = As<DeclareIntentCommand>(
      {"intent", "declare", "web1", "--actor", "alice", "--reason", "out of order", "--ttl",
       "1h30m", "--run", "r1", "--started-before", "2026-11-27T01:02:03.5Z", "--request-id", "q"});
  EXPECT_EQ(declare.request_id, "q");
  EXPECT_EQ(declare.name, "web1");
  EXPECT_EQ(declare.run_id, "r1");
  EXPECT_EQ(declare.actor, "alice");
  EXPECT_EQ(declare.reason, "out of order");
  EXPECT_EQ(declare.ttl, absl::Minutes(90));
  EXPECT_EQ(declare.started_before, absl::FromUnixMillis(1795741323500));
  OptionContext context = TestContext();
  context.user = "alice";
  const auto own =
      As<DeclareIntentCommand>({"intent", "declare", "web1", "--reason", "r"}, context);
  EXPECT_EQ(own.actor, "alice");
  EXPECT_FALSE(own.ttl.has_value());
  EXPECT_EQ(As<WithdrawIntentCommand>({"intent", "withdraw", "i1"}).intent_id, "i1");
}

TEST(ParseCommandLine, HealthTakesAServiceAndATimeout) {
  EXPECT_EQ(As<HealthCommand>({"health"}).service, "");
  EXPECT_EQ(As<HealthCommand>({"health"}).timeout, absl::Seconds(5));
  const auto health = As<HealthCommand>({"health", "a.B", "--timeout", "1s"});
  EXPECT_EQ(health.service, "a.B");
  EXPECT_EQ(health.timeout, absl::Seconds(1));
}

TEST(ParseCommandLine, WebTakesTheAddressOfThePage) {
  const auto web = [](const std::vector<std::string>& words) {
    return std::get<WebCommand>(Parsed(words).command);
  };
  EXPECT_EQ(ToText(web({"web"}).listen), "127.0.0.1:9557");
  const WebCommand named = web({"web", "--listen", "[::1]:9555", "--token-file", "t"});
  EXPECT_EQ(ToText(named.listen) + " " + named.token_file, "[::1]:9555 t");
  EXPECT_EQ(ToText(web({"web", "--listen", "localhost"}).listen), "localhost:9557");
  EXPECT_EQ(Parsed({"web", "--server", "a,b"}).servers.addresses.size(), 2);
  EXPECT_TRUE(Parsed({"web", "--server", "nats://a"}).servers.fleet.has_value());
}

}  // namespace
}  // namespace vmeventd::client
