#include "client/options/options.h"

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/output/event_text.h"
#include "client/output/time_text.h"
#include "client/sinks/follow_command.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/golden_file.h"
#include "tests/support/proto_text.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;
using testing::StartsWith;
using testing::UnorderedElementsAre;

using Variables = std::map<std::string, std::string>;

// With these variables of the environment.
OptionContext TestContext(const Variables& variables = {}) {
  OptionContext context = {.now = absl::FromUnixSeconds(1782907200), .zone = absl::UTCTimeZone()};
  context.variable = [variables](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? "" : found->second;
  };
  return context;
}

// With a configuration file.
OptionContext Configured(const std::string& content, Variables variables = {}) {
  variables["VMEVENTS_CONFIG"] = "/c/config.toml";
  OptionContext context = TestContext(variables);
  context.read_config = [content](const std::string&) { return content; };
  return context;
}

CommandLine Parsed(const std::vector<std::string>& arguments,
                   const OptionContext& context = TestContext()) {
  auto parsed = ParseCommandLine(arguments, context);
  if (const auto* answered = std::get_if<Answered>(&parsed)) {
    ADD_FAILURE() << answered->err << answered->out;
    return {};
  }
  return std::get<CommandLine>(parsed);
}

template <typename Command>
Command As(const std::vector<std::string>& arguments,
           const OptionContext& context = TestContext()) {
  return std::get<Command>(Parsed(arguments, context).command);
}

Answered Answer(const std::vector<std::string>& arguments,
                const OptionContext& context = TestContext()) {
  auto parsed = ParseCommandLine(arguments, context);
  if (auto* answered = std::get_if<Answered>(&parsed)) return *answered;
  ADD_FAILURE() << "accepted";
  return {};
}

std::string Complaint(const std::vector<std::string>& arguments) {
  const Answered answered = Answer(arguments);
  EXPECT_EQ(answered.code, ExitCode::kUsage);
  EXPECT_EQ(answered.out, "");
  return answered.err;
}

// Complaints about the lines of golden/complaints.txt that begin with "$ "; '' is an empty word,
// and (CAUSES) and (TYPES) are the lists of all causes and types of events. Run it with
// VMEVENTS_WRITE_CAPTURES=1 to write the file again, and read the difference.
TEST(ParseCommandLine, ComplaintsAreThoseOfTheGoldenFile) {
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
  return FromProto(request.end_time()) - FromProto(request.start_time());
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

TEST(ParseCommandLine, TheOutputHasSeveralForms) {
  EXPECT_EQ(Parsed({"vms"}).format, OutputFormat::kTable);
  EXPECT_EQ(Parsed({"vms", "-o", "wide"}).format, OutputFormat::kWide);
  EXPECT_EQ(Parsed({"vms", "-o", "jsonl"}).format, OutputFormat::kJsonLines);
  EXPECT_EQ(Parsed({"vms", "-o", "name"}).format, OutputFormat::kName);
  EXPECT_TRUE(Parsed({"vms"}).headings && Parsed({"vms"}).pager && Parsed({"vms"}).cut);
  const CommandLine line = Parsed({"vms", "--no-headers", "--no-pager", "--no-trunc"});
  EXPECT_FALSE(line.headings || line.pager || line.cut);
}

TEST(ParseCommandLine, NamesStandAloneOrBehindCommas) {
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

TEST(ParseCommandLine, EachStartOfAWatch) {
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

// Lines that people who know kubectl, journalctl, virsh, docker or systemctl try first, half of
// them from the manuals of those programs.
TEST(ParseCommandLine, TakesWhatPeopleType) {
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

TEST(ParseCommandLine, AnAliasStandsForItsLineAndNoValueIsOne) {
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

TEST(ParseCommandLine, StatusIsAFrameOfTopOrWhy) {
  const auto top = As<TopCommand>({"status"});
  EXPECT_TRUE(top.once);
  EXPECT_EQ(top.window, absl::Hours(24));
  EXPECT_THAT(As<WhyCommand>({"status", "web1"}).filter.vm_names(), ElementsAre("web1"));
  EXPECT_EQ(Parsed({"--server", "a,b", "status", "web1"}).servers.size(), 2);
  EXPECT_EQ(Parsed({"--server", "a,b", "status"}).servers.size(), 2);
  EXPECT_TRUE(std::holds_alternative<StatusCommand>(Parsed({"status", "-o", "json"}).command));
}

TEST(ParseCommandLine, HelpAndVersionAreCommandsToo) {
  EXPECT_EQ(Answer({}).out, Answer({"--help"}).out);
  EXPECT_THAT(Answer({}).out, HasSubstr("Exit codes: 0"));
  EXPECT_EQ(Answer({"help"}).out, Answer({"--help"}).out);
  EXPECT_EQ(Answer({"help", "intent", "declare"}).out, Answer({"intent", "declare", "-h"}).out);
  EXPECT_THAT(Complaint({"help", "nosuch"}), HasSubstr("nosuch"));
  EXPECT_THAT(Complaint({"help", "fleet", "nosuch"}),
              HasSubstr("\"nosuch\" is not known here; the commands are create"));
  EXPECT_THAT(Complaint({"help", "vms", "nosuch"}), HasSubstr("\"nosuch\" is not known here"));
  EXPECT_EQ(Answer({"version"}).out, Answer({"--version"}).out);
  EXPECT_THAT(Answer({"version"}).out,
              testing::MatchesRegex("vmevents [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  EXPECT_THAT(Answer({"version", "-o", "json"}).out,
              testing::MatchesRegex("\\{\"version\":\"[0-9.]+\"\\}\n"));
}

TEST(ParseCommandLine, OnlyArgumentsHaveDotsInTheHelp) {
  EXPECT_THAT(Answer({"--help"}).out, AllOf(HasSubstr("--server ADDR "), Not(HasSubstr("..."))));
  EXPECT_THAT(Answer({"vms", "--help"}).out,
              AllOf(HasSubstr("[NAME...]"), HasSubstr("--vm GLOB "), Not(HasSubstr("GLOB ..."))));
}

TEST(ParseCommandLine, HelpIsShownBesideAWrongValue) {
  EXPECT_EQ(Answer({"watch", "--type", "bogus", "-h"}).out, Answer({"watch", "-h"}).out);
  EXPECT_EQ(Answer({"--color", "red", "intent", "declare", "-h"}).out,
            Answer({"intent", "declare", "-h"}).out);
}

std::vector<std::string> Candidates(std::vector<std::string> words) {
  words.insert(words.begin(), "__complete");
  std::vector<std::string> candidates;
  for (const absl::string_view line : absl::StrSplit(Answer(words).out, '\n', absl::SkipEmpty())) {
    candidates.emplace_back(line.substr(0, line.find('\t')));
  }
  return candidates;
}

TEST(ParseCommandLine, CompletesFromItsOwnOptions) {
  EXPECT_THAT(Candidates({""}), AllOf(IsSupersetOf({"watch", "--server", "--version", "-o"}),
                                      Not(Contains("--count"))));
  EXPECT_THAT(Candidates({"intent", "--utc", ""}),
              AllOf(IsSupersetOf({"declare", "list", "--server"}), Not(Contains("--version"))));
  EXPECT_THAT(Candidates({"-o", ""}), ElementsAre("table", "wide", "json", "jsonl", "name", "csv"));
  EXPECT_THAT(Candidates({"watch", "--output=j"}), Contains("--output=json"));
  EXPECT_THAT(Candidates({"events", "--class", "user,"}), Contains("user,crash"));
  EXPECT_THAT(Candidates({"health", ""}),
              IsSupersetOf({"journal", "watch", "sources", "libvirt", "listen"}));
  EXPECT_THAT(Candidates({"vms", "--cause", ""}), IsSupersetOf({"host-kill", "guest-panic"}));
  EXPECT_THAT(Candidates({"push", "--format", ""}), ElementsAre("cloudevents", "json"));
  EXPECT_THAT(Candidates({"help", ""}), IsSupersetOf({"watch", "doctor"}));
  EXPECT_THAT(Candidates({"completion", ""}), IsSupersetOf({"bash", "zsh", "fish"}));
  EXPECT_THAT(Candidates({"--tls-ca", ""}), IsEmpty()) << "the shell completes files";
  EXPECT_TRUE(Parsed({"__complete", "vms", ""}).completes);
  EXPECT_EQ(Parsed({"__complete", "vms", "--vm", "web1,we"}).before, "web1,");
  EXPECT_EQ(Parsed({"__complete", "vms", "--vm=we"}).before, "--vm=");
  EXPECT_EQ(Parsed({"__complete", "vms", "a,"}).before, "") << "a NAME is no list";
  const CommandLine names =
      Parsed({"__complete", "vm", "--server", "unix:/s", "--utc", "-o", "json", ""});
  EXPECT_EQ(names.server().path, "/s");
  EXPECT_EQ(names.format, OutputFormat::kName);
  EXPECT_TRUE(std::get<VmsCommand>(names.command).include_stopped);
  EXPECT_FALSE(As<VmsCommand>({"__complete", "intent", "declare", ""}).include_stopped);
  EXPECT_THAT(Candidates({"vm", "--"}), Contains("--run"));
  EXPECT_THAT(Candidates({"tail", "--"}), Contains("--since")) << "as of events";
  EXPECT_TRUE(std::holds_alternative<VmsCommand>(Parsed({"__complete", "describe", ""}).command));
  const OptionContext configured =
      Configured("[contexts.lab]\nservers = \"a\"\n[contexts.prod]\nservers = \"b\"\n");
  EXPECT_EQ(Answer({"__complete", "--context", ""}, configured).out, "lab\nprod\n");
  EXPECT_TRUE(std::holds_alternative<IntentsCommand>(
      Parsed({"__complete", "intent", "withdraw", ""}).command));
  EXPECT_THAT(Answer({"completion", "bash"}).out, HasSubstr("complete -o default -F _vmevents"));
  EXPECT_THAT(Complaint({"completion", "tcsh"}), HasSubstr("bash, zsh, fish"));
  OptionContext context = Configured("", {{"SHELL", "/usr/bin/fish"}});
  EXPECT_EQ(Answer({"completion"}, context).out, Answer({"completion", "fish"}).out);
}

TEST(ParseCommandLine, EventsMayFollow) {
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

TEST(ParseCommandLine, AFinishedListForProgramsHasOnlyTheGapsThatWereAskedFor) {
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

TEST(ParseCommandLine, AGapCountsIfItWasAskedFor) {
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

TEST(ParseCommandLine, APushFollowsForEverFromItsOptions) {
  const CommandLine line = Parsed({"--server", "a,b", "push", "https://x/y", "--format", "json",
                                   "--since", "@17", "--vm", "web*", "--class", "crash", "--batch",
                                   "7", "--timeout", "1m", "--state-dir", "/s"});
  EXPECT_EQ(line.servers.size(), 2U);
  const auto& push = std::get<PushCommand>(line.command);
  EXPECT_EQ(push.url, "https://x/y");
  EXPECT_EQ(push.format, PushFormat::kJson);
  EXPECT_TRUE(std::holds_alternative<FromTime>(push.follow.watch.start));
  EXPECT_TRUE(push.follow.watch.wait && push.follow.watch.identify);
  EXPECT_THAT(push.follow.watch.filter.vm_names(), ElementsAre("web*"));
  EXPECT_EQ(OptionOf(push.follow.sink_options, "--batch"), "7");
  EXPECT_EQ(OptionOf(push.follow.sink_options, "--timeout"), "1m");
  EXPECT_EQ(push.state_dir, "/s");
  EXPECT_TRUE(Parsed({"--server", "nats://a", "push", "https://x"}).fleet);
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

TEST(ParseCommandLine, UntilMayBeCountedFromSince) {
  const auto events = As<EventsCommand>({"events", "--until", "+10m", "--since", "2h"});
  EXPECT_EQ(LengthOf(events.request), absl::Minutes(10));
}

TEST(ParseCommandLine, TheHelpOfSinceNamesTheFormsOfATime) {
  for (const char* command : {"events", "why", "stats", "watch", "push"}) {
    const std::vector<std::string> words =
        absl::StrSplit(Answer({command, "--help"}).out, absl::ByAnyChar(" \n"), absl::SkipEmpty());
    const std::string help = absl::StrJoin(words, " ");
    for (const char* form : {"1h", "\"a week ago\"", "noon", "8pm", "monday", "boot"}) {
      EXPECT_THAT(help, HasSubstr(form)) << command;
    }
  }
}

TEST(ParseCommandLine, UtcCountsForTimesThatAreGivenAsWell) {
  OptionContext context = TestContext();
  context.zone = absl::FixedTimeZone(7200);
  const auto since = [&context](const std::vector<std::string>& arguments) {
    return FromProto(As<EventsCommand>(arguments, context).request.start_time());
  };
  EXPECT_EQ(since({"--utc", "events", "--since", "2026-07-01 12:00"}) -
                since({"events", "--since", "2026-07-01 12:00"}),
            absl::Hours(2));
  EXPECT_EQ(Parsed({"info"}, context).zone, context.zone);
}

TEST(ParseCommandLine, AFleetIsNamedByItsServers) {
  const CommandLine line =
      Parsed({"--server", "nats://a,b:1", "watch", "--node", "rack7-*", "--node", "prod/n1"});
  EXPECT_TRUE(line.servers.empty());
  EXPECT_THAT(line.fleet->servers, ElementsAre("nats://a:4222", "nats://b:1"));
  EXPECT_FALSE(line.fleet->tls.has_value());
  EXPECT_THAT(line.nodes, ElementsAre("rack7-*", "prod/n1"));
  EXPECT_THAT(Parsed({"--server", "nats://a", "--server", "nats://b", "vms"}).fleet->servers,
              ElementsAre("nats://a:4222", "nats://b:4222"));
  const CommandLine tls = Parsed({"--server", "tls://a", "--tls-cert", "c", "--tls-key", "k",
                                  "--credentials", "ops.creds", "fleet"});
  EXPECT_EQ(tls.fleet->tls->cert_file, "c");
  EXPECT_EQ(tls.fleet->credentials, "ops.creds");
  EXPECT_TRUE(std::holds_alternative<FleetCommand>(tls.command));
}

TEST(ParseCommandLine, APasswordInAServersNameIsNotRepeated) {
  EXPECT_THAT(Complaint({"--server", "nats://me:secret@a", "vms"}),
              AllOf(HasSubstr("credentials"), testing::Not(HasSubstr("secret"))));
}

TEST(ParseCommandLine, AContextMayBeAFleet) {
  const OptionContext context = Configured(
      "[contexts.fleet]\nservers = [\"tls://a\", \"tls://b\"]\ncredentials = \"x.creds\"\n"
      "tls-ca = \"ca.pem\"\n",
      {{"VMEVENTS_CREDENTIALS", "other.creds"}});
  const CommandLine line = Parsed({"--context", "fleet", "vms"}, context);
  EXPECT_THAT(line.fleet->servers, ElementsAre("tls://a:4222", "tls://b:4222"));
  EXPECT_EQ(line.fleet->credentials, "/c/x.creds");
  EXPECT_EQ(line.fleet->tls->ca_file, "/c/ca.pem");
  EXPECT_EQ(Parsed({"--server", "nats://a", "vms"}, context).fleet->credentials, "other.creds");
}

TEST(ParseCommandLine, EachHelpHasExamplesAndNoMoreThan80Columns) {
  const absl::string_view commands =
      "--utc|watch|events|vms|why|intent|info|streams|web|intent declare|intent list|"
      "intent withdraw|health|top|vm|fleet|push|fleet create|doctor|help|version|status|completion";
  for (const absl::string_view command : absl::StrSplit(commands, '|')) {
    std::vector<std::string> arguments = absl::StrSplit(command, ' ');
    arguments.emplace_back("--help");
    const Answered answered = Answer(arguments);
    EXPECT_EQ(answered.code, ExitCode::kOk);
    EXPECT_EQ(answered.err, "");
    EXPECT_THAT(answered.out, AnyOf(HasSubstr("Example"), HasSubstr("Packages install it.")));
    const std::vector<std::string> lines = absl::StrSplit(answered.out, '\n');
    for (size_t i = 0; i < lines.size(); ++i) {
      EXPECT_LE(lines[i].size(), 80U) << lines[i];
      if (!absl::StartsWith(lines[i], "  -")) continue;
      const bool has_text = lines[i].size() > 30 && lines[i][29] == ' ' && lines[i][30] != ' ';
      EXPECT_TRUE(has_text || absl::StartsWith(lines[i + 1], std::string(30, ' '))) << lines[i];
    }
  }
}

TEST(ParseCommandLine, AVmMayBeNamedLikeACommandOrAnOption) {
  EXPECT_THAT(As<WhyCommand>({"vm", "watch"}).filter.vm_names(), ElementsAre("watch"));
  EXPECT_THAT(As<WhyCommand>({"why", "--", "-x"}).filter.vm_names(), ElementsAre("-x"));
  EXPECT_THAT(As<WhyCommand>({"why", "[a-z]", "web1"}).filter.vm_names(),
              ElementsAre("[a-z]", "web1"));
  EXPECT_THAT(As<EventsCommand>({"events", "[a-z]", "--vm", "[0-9]"}).request.filter().vm_names(),
              UnorderedElementsAre("[a-z]", "[0-9]"));
}

TEST(ParseCommandLine, IntentDeclareAndWithdraw) {
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

TEST(ParseCommandLine, Health) {
  EXPECT_EQ(As<HealthCommand>({"health"}).service, "");
  EXPECT_EQ(As<HealthCommand>({"health"}).timeout, absl::Seconds(5));
  const auto health = As<HealthCommand>({"health", "a.B", "--timeout", "1s"});
  EXPECT_EQ(health.service, "a.B");
  EXPECT_EQ(health.timeout, absl::Seconds(1));
}

TEST(ParseCommandLine, TlsTakesItsFilesAndAName) {
  const CommandLine line =
      Parsed({"--server", "node1:80", "info", "--tls-ca", "ca", "--tls-cert", "cert", "--tls-key",
              "key", "--tls-server-name", "node1.example"});
  ASSERT_TRUE(line.server().tls.has_value());
  EXPECT_EQ(line.server().tls->ca_file, "ca");
  EXPECT_EQ(line.server().tls->cert_file, "cert");
  EXPECT_EQ(line.server().tls->key_file, "key");
  EXPECT_EQ(line.server().tls->server_name, "node1.example");
  EXPECT_FALSE(Parsed({"--server", "node1:80", "info"}).server().tls.has_value());
}

TEST(ParseCommandLine, TheTlsVariablesReplaceTheOptions) {
  const OptionContext context = TestContext(
      {{"VMEVENTS_TLS_CA", "ca"}, {"VMEVENTS_TLS_CERT", "cert"}, {"VMEVENTS_TLS_KEY", "key"}});
  EXPECT_EQ(Parsed({"info", "--server", "node1:80"}, context).server().tls->key_file, "key");
  const CommandLine given = Parsed({"info", "--server", "node1:80", "--tls-ca", "other"}, context);
  EXPECT_EQ(given.server().tls->ca_file, "other");
  EXPECT_EQ(given.server().tls->cert_file, "") << "all or none";
  EXPECT_FALSE(Parsed({"info"}, context).server().tls.has_value());
  const OptionContext incomplete = TestContext({{"VMEVENTS_TLS_CERT", "cert"}});
  EXPECT_THAT(Answer({"info", "--server", "node1:80"}, incomplete).err,
              HasSubstr("give --tls-ca FILE, $VMEVENTS_TLS_CA"));
}

TEST(ParseCommandLine, TheServerIsTheOptionThenTheVariableThenTheDefault) {
  EXPECT_EQ(Parsed({"info"}).server().path, "/run/vmeventd/vmeventd.sock");
  OptionContext context = TestContext({{"XDG_RUNTIME_DIR", "/tmp/rt"}});
  context.uid = 1000;
  EXPECT_EQ(Parsed({"info"}, context).server().path, "/tmp/rt/vmeventd/vmeventd.sock");
  context.may_exist = [](const std::string& path) { return path == "/run/vmeventd/vmeventd.sock"; };
  EXPECT_EQ(Parsed({"info"}, context).server().path, "/run/vmeventd/vmeventd.sock");
  context = TestContext({{"VMEVENTS_SERVER", "unix:/tmp/v.sock"}});
  EXPECT_EQ(Parsed({"info"}, context).server().path, "/tmp/v.sock");
  EXPECT_EQ(Parsed({"info"}, context).origin, "$VMEVENTS_SERVER");
  EXPECT_EQ(Parsed({"--server", "unix:/tmp/o.sock", "info"}, context).origin, "");
  EXPECT_EQ(Parsed({"--server", "unix:/tmp/o.sock", "info"}, context).server().path, "/tmp/o.sock");
}

constexpr char kConfig[] =
    "current = \"lab\"\n"
    "[contexts.lab]\nservers = \"unix:/run/lab.sock\"\n"
    "[contexts.prod]\nservers = [\"node1\", \"node2:80\", \"node1:9555\"]\n"
    "tls-ca = \"ca.pem\"\n";

TEST(ParseCommandLine, SeveralServersAreMerged) {
  const CommandLine line = Parsed({"--server", "node1,unix:/a", "watch", "--server", "unix:/s"});
  ASSERT_EQ(line.servers.size(), 3U);
  EXPECT_EQ(line.servers[0].host, "node1");
  EXPECT_EQ(line.servers[1].path, "/a");
  EXPECT_EQ(line.servers[2].path, "/s");
  EXPECT_EQ(line.client, "vmevents --server node1,unix:/a --server unix:/s");
  EXPECT_TRUE(line.by_option);
  EXPECT_FALSE(Parsed({"watch"}, TestContext({{"VMEVENTS_SERVER", "node1"}})).by_option);
  EXPECT_EQ(Parsed({"--server", "node1", "--server", "node1:9555", "vm", "a"}).servers.size(), 1U);
  EXPECT_EQ(Parsed({"--server", "a,b", "vm", "web1"}).servers.size(), 2U);
  EXPECT_EQ(Parsed({"--server", "a,b", "watch", "--from", "oldest"}).servers.size(), 2U);
  EXPECT_THAT(Complaint({"--server", "a,b", "watch", "--from", "17"}),
              HasSubstr("for several nodes use oldest"));
  EXPECT_EQ(Parsed({"--server", "a", "--server", "b", "info"}).servers.size(), 2U);
}

TEST(ParseCommandLine, AContextHasServersAndTlsFiles) {
  OptionContext context = Configured(kConfig);
  EXPECT_EQ(Parsed({"info"}, context).server().path, "/run/lab.sock");
  const CommandLine prod = Parsed({"--context", "prod", "vms"}, context);
  ASSERT_EQ(prod.servers.size(), 2U);
  EXPECT_EQ(prod.servers[1].port, "80");
  EXPECT_EQ(prod.servers[0].tls->ca_file, "/c/ca.pem");
  EXPECT_EQ(Parsed({"--context", "prod", "--tls-ca", "o", "vms"}, context).server().tls->ca_file,
            "o");
  EXPECT_EQ(Parsed({"--server", "node9", "vms"}, context).server().host, "node9");
  const CommandLine one = Parsed({"--context", "prod", "--server", "node1", "info"}, context);
  EXPECT_EQ(one.server().host, "node1");
  EXPECT_EQ(one.server().tls->ca_file, "/c/ca.pem");
  context = Configured(kConfig, {{"VMEVENTS_SERVER", "node8"}});
  EXPECT_EQ(Parsed({"vms"}, context).server().host, "node8");
  EXPECT_EQ(Parsed({"--context", "lab", "vms"}, context).server().path, "/run/lab.sock");
}

TEST(ParseCommandLine, ContextComplaintsNameTheCure) {
  const OptionContext context = Configured(kConfig);
  EXPECT_THAT(Answer({"--context", "x", "vms"}, context).err,
              HasSubstr("no context \"x\"; /c/config.toml has lab prod"));
  EXPECT_THAT(Answer({"--context", "prod", "watch", "--from", "7"}, context).err,
              HasSubstr("for several nodes use oldest"));
  EXPECT_THAT(Answer({"--context", "x", "vms"}).err, HasSubstr("no configuration file"));
}

TEST(ParseCommandLine, TheConfigurationFileIsToml) {
  OptionContext context = Configured(
      "current = \"node1.example\"  # mine\n"
      "[contexts.a]\nservers = [\"node1\", # a comment\n 'node2']\n"
      "[contexts.\"node1.example\"]\nservers = \"node9\"\ntls-ca = \"/etc/ca of us.pem\"\n"
      "tls-cert = \"me.pem\"\ntls-key = \"me.key\"\ntls-server-name = \"vmeventd\"\n");
  EXPECT_EQ(Parsed({"--context", "a", "vms"}, context).servers.size(), 2U);
  const CommandLine line = Parsed({"vms"}, context);
  EXPECT_EQ(line.server().host, "node9");
  EXPECT_EQ(line.server().tls,
            (TlsOptions{"/etc/ca of us.pem", "/c/me.pem", "/c/me.key", "vmeventd"}));
  EXPECT_EQ(Parsed({"vms"}, Configured("")).server().path, "/run/vmeventd/vmeventd.sock");
  const std::pair<const char*, const char*> faults[] = {
      {"[contexts.a]\nserver-list = \"x\"\n",
       "\"server-list\" of the context \"a\" is not known; the keys are servers, tls-ca"},
      {"[contexts.a]\nhosts = \"x\"\n", "is not known; did you mean servers?; the keys"},
      {"[servers.a]\nservers = \"x\"\n", "\"servers\" is not a known setting; use current"},
      {"default = \"x\"\n", "use current = \"NAME\""},
      {"[contexts.a]\ntls-ca = \"x\"\n", "\"a\" has no servers"},
      {"[contexts.a]\nservers = \"x\"\ntls-ca = [\"a\", \"b\"]\n", "\"tls-ca\" needs one text"},
      {"[contexts.a]\nservers = 1\n", "\"servers\" needs one text"},
      {"[contexts.a.b]\nservers = \"x\"\n", "as [contexts.\"node1.example\"]"},
      {"[contexts]\na = \"x\"\n", "\"a\" is not a section"},
      {"this is no toml\n", "line 1: not TOML: "}};
  for (const auto& [content, fault] : faults) {
    EXPECT_THAT(Answer({"--context", "a", "vms"}, Configured(content)).err,
                AllOf(StartsWith("/c/config.toml: "), HasSubstr(fault)));
  }
}

TEST(ParseCommandLine, AFaultOfAContextIsNoneOfTheOthers) {
  const OptionContext context = Configured(
      "current = \"a\"\n[contexts.a]\nservers = \"node1\"\n[contexts.b]\ntls-ca = \"ca.pem\"\n"
      "[contexts.c]\nserver-list = \"x\"\n");
  EXPECT_EQ(Parsed({"vms"}, context).server().host, "node1");
  EXPECT_THAT(Answer({"--context", "b", "vms"}, context).err,
              StartsWith("/c/config.toml: the context \"b\" has no servers"));
  EXPECT_EQ(Parsed({"--context", "b", "--server", "n", "vms"}, context).server().tls->ca_file,
            "/c/ca.pem");
  EXPECT_THAT(Answer({"--context", "c", "vms"}, context).err, HasSubstr("\"server-list\" of"));
}

TEST(ParseCommandLine, TheEnvironmentNamesTheConfigurationFile) {
  std::string path;
  const auto with = [&path](const Variables& variables) {
    OptionContext context = TestContext(variables);
    context.read_config = [&path](const std::string& asked) {
      path = asked;
      return absl::NotFoundError("cannot read it");
    };
    return context;
  };
  Parsed({"vms"}, with({{"HOME", "/h"}}));
  EXPECT_EQ(path, "/h/.config/vmevents/config.toml");
  Parsed({"vms"}, with({{"HOME", "/h"}, {"XDG_CONFIG_HOME", "/x"}}));
  EXPECT_EQ(path, "/x/vmevents/config.toml");
  EXPECT_THAT(Answer({"vms"}, with({{"VMEVENTS_CONFIG", "/c.toml"}})).err,
              HasSubstr("cannot read it"))
      << "it must exist";
  EXPECT_EQ(path, "/c.toml");
}

TEST(ParseCommandLine, ReadsWhereThePageIsServed) {
  const auto web = [](const std::vector<std::string>& words) {
    return std::get<WebCommand>(Parsed(words).command);
  };
  EXPECT_EQ(ToText(web({"web"}).listen), "127.0.0.1:9557");
  const WebCommand named = web({"web", "--listen", "[::1]:9555", "--token-file", "t"});
  EXPECT_EQ(ToText(named.listen) + " " + named.token_file, "[::1]:9555 t");
  EXPECT_EQ(ToText(web({"web", "--listen", "localhost"}).listen), "localhost:9557");
  EXPECT_EQ(Parsed({"web", "--server", "a,b"}).servers.size(), 2);
  EXPECT_TRUE(Parsed({"web", "--server", "nats://a"}).fleet.has_value());
}

TEST(ParseCommandLine, ReportsWhereAMalformedServerComesFrom) {
  const OptionContext context = TestContext({{"VMEVENTS_SERVER", "non/sense"}});
  EXPECT_THAT(Answer({"info"}, context).err, StartsWith("$VMEVENTS_SERVER: "));
  EXPECT_THAT(Complaint({"--server", "non/sense", "info"}), StartsWith("--server: "));
  EXPECT_THAT(Complaint({"--server", "", "info"}), HasSubstr("is empty"));
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

}  // namespace
}  // namespace vmeventd::client
