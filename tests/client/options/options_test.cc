#include "client/options/options.h"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
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

// Lines with | between them, and a part of what is said about each.
void ExpectComplaints(const std::vector<std::pair<const char*, const char*>>& rows) {
  for (const auto& [lines, complaint] : rows) {
    for (const absl::string_view line : absl::StrSplit(lines, '|')) {
      EXPECT_THAT(Complaint(absl::StrSplit(line, ' ')), HasSubstr(complaint)) << line;
    }
  }
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

TEST(ParseCommandLine, ListsTakeAllOfTheirOptions) {
  const auto events =
      As<EventsCommand>({"events", "--since", "1h", "--until", "10m", "--vm", "a", "-r", "--limit",
                         "3", "--class", "crash", "--source", "qmp:*"});
  EXPECT_EQ(*events.until - *events.since, absl::Minutes(50));
  EXPECT_TRUE(events.newest_first);
  EXPECT_THAT(events.filter.sources(), ElementsAre("qmp:*"));
  EXPECT_EQ(events.limit, 3U);
  EXPECT_EQ(As<EventsCommand>({"events", "-n", "20"}).last, 20U);
  ExpectComplaints({{"events -n 0", "--last"},
                    {"events -n 100001", "--last: Value 100001 not in range 1 to 100000"},
                    {"events -n 2 --limit 3", "use one of them"}});
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
  EXPECT_THAT(As<EventsCommand>({"events", "watch"}).filter.vm_names(), ElementsAre("watch"));
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
  ExpectComplaints(
      {{"watch --class root",
        "--class: \"root\" is not a known shutdown class; use one of USER, ADMIN, CRASH, UNKNOWN"},
       {"watch --type stoped",
        "--type: \"stoped\" is not a known event type; did you mean stopped?"},
       {"watch --type died", "--type: \"died\" is not a known event type; use one of STARTED,"},
       {"watch --class watchdog",
        "--class: \"watchdog\" is not a known shutdown class; it is a value of --cause"},
       {"watch --type ", "--type: \"\" is not a known event type"},
       {"watch --type unspecified", "--type: \"unspecified\" is not a known event type"},
       {"watch --cause bad-luck", "--cause: \"bad-luck\" is not a known shutdown cause"},
       {"watch --vm ", "--vm: the text is empty; give one"},
       {"watch --vm \xff", "is not UTF-8; write a name as `vmevents vms -o json` shows it"},
       {"watch --source ", "--source: the text is empty; give one"},
       {"watch --uuid web1",
        "--uuid: \"web1\" is not a UUID; write it as 550e8400-e29b-41d4-a716-446655440000"},
       {"watch --label app=web,",
        "--label: \"app=web,\" has an empty condition; write conditions as app=web, app!=web, app "
        "or !app, separated by commas"}});
  EXPECT_THAT(Complaint({"vms", "--state", "dead"}),
              StartsWith("--state: \"dead\" is not a known VM state"));
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
  ExpectComplaints(
      {{"watch --from 18446744073709551616", "larger than any sequence"},
       {"watch --from=-1", "--from: \"-1\""},
       {"watch --from oldest --journal j", "--from SEQUENCE"},
       {"watch --since 10m --from 7", "--from cannot be combined with --since; use one of them"},
       {"watch --since soon", "--since: \"soon\""}});
}

TEST(ParseCommandLine, ACountIsAWholeNumberFromOne) {
  for (const char* text : {"", "0", "-1", "1.5", "x", "99999999999999999999"}) {
    EXPECT_THAT(Complaint({"watch", absl::StrCat("--count=", text)}), HasSubstr("--count")) << text;
  }
}

// Lines that people who know kubectl, journalctl, virsh, docker or systemctl try first, half of
// them from the manuals of those programs.
TEST(ParseCommandLine, TakesWhatPeopleTypeOrNamesTheRightWord) {
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
  ExpectComplaints({
      {"events -e|events --tail 20|logs --lines=20 -f", "did you mean -n?"},
      {"events -b|events -S today -U now", "did you mean --since?"},
      {"vms --field-selector status.phase=Running|events --for web1|events -u web1 --reverse",
       "did you mean --vm?"},
      {"events --after-cursor x|watch --cursor x", "did you mean --cursor-file?"},
      {"vms -w|wacth|monitor|follow web1", "did you mean watch?"},
      {"watch --tail 5", "--tail"},
      {"crashed|coredumpctl", "did you mean crashes?"},
      {"vms --failed", "did you mean --class crash?"},
      {"top -n 1|top -n1|top -b|top --no-stream", "did you mean --once?"},
      {"-n 5 web1", "\"-n\" is not known here; -n is an option of watch, events"},
      {"-fu web1|watch -f|watch web1 --follow|watch --loop",
       "is not known here; watch follows by itself, and events with -f"},
      {"vms -l", "--label needs a value: SELECTOR"},
      {"journalctl -f|log web1|journal --since today", "did you mean events, or watch"},
      {"health journal --all", "use one of them"},
      {"mail7", "\"mail7\" is not known here; did you mean why mail7?"},
      {"web1", "did you mean why web1?"},
      {"frob", "\"frob\" is not known here; the commands are watch, push,"},
      {"events --json|--json vms", "did you mean -o json?"},
      {"vms --selector app=web", "did you mean --label?"},
      {"vms --wide|vms --show-labels|events -x", "did you mean -o wide?"},
      {"list|list --all|list-units", "did you mean vms?"},
      {"get", "no command is given; the commands are watch,"},
      {"vms --state-shutoff|vms --inactive", "did you mean --state stopped?"},
      {"vms --all-namespaces", "did you mean --all?"},
      {"why --all|why -a", "is an option of vms"},
      {"get intents|declare web1|withdraw 6a6f", "did you mean intent?"},
      {"domid web1|reason web1|show web1|inspect web1|dominfo web1", "did you mean why NAME?"},
      {"info web1|doctor web1|get vm/web1", "did you mean why "},
      {"-c qemu:///system list|-s node1 vms", "did you mean --server?"},
      {"watch --cuont 3", "did you mean --count?"},
      {"get nodes", "did you mean info, or fleet for many nodes?"},
      {"intent show", "did you mean list?"},
      {"config use-context prod|config get-contexts|context list|use-context prod",
       "did you mean --context NAME? the contexts are in ~/.config/vmevents/config.toml"},
      {"events -o json-pretty|vms -o=json-pretty",
       "--output: \"json-pretty\" is not one of its values: table,"},
      {"vms --since 1h", "--since is an option of watch, push, events"},
      {"cluster-info|nodeinfo", "did you mean info?"},
      {"vms -n kube-system", "did you mean --vm? VMs have no namespaces"},
      {"vms --sort-by=.metadata.name", "is not one of its values: state, name, age, ends, class"},
      {"vms --sort name", "did you mean --sort-by?"},
      {"events --types=Warning|events -t qemu|events -g panic|watch --event lifecycle",
       "did you mean --type?"},
      {"events web1 --previous", "did you mean why NAME, which shows how the run before ended?"},
      {"delete vm web1|shutdown web1|start web1|stop web1",
       "vmevents starts, stops and changes no VM"},
      {"wait --for=delete web1", "did you mean watch NAME --type stopped --count 1?"},
      {"explain vms|explain web1", "did you mean why NAME, or help?"},
      {"wyh web1", "did you mean why?"},
      {"vsm", "did you mean vms?"},
      {"push https://x -H Authorization:x", "did you mean --header-file?"},
      {"push https://x --token t", "did you mean --header-file? a line of it is \"Authorization: "},
      {"push https://x --cacert ca.pem", "did you mean --push-ca?"},
      {"push https://x -k", "did you mean --push-ca? the receiver's certificate is checked"},
      {"web --token t", "did you mean --token-file?"},
      {"vms --token t", "give --tls-cert and --tls-key"},
      {"vms -k|vms --insecure", "did you mean --tls-ca? the server's certificate is checked"},
      {"intent declare web1 -m x|intent declare web1 -r x", "did you mean --reason?"},
      {"events --since 1 hour ago",
       "--since: \"1\" is not a time; use 2026-07-01T12:00:00Z, \"2026-07-01 12:00:00\""},
      {"events --since tomorrow", "is not a time"},
      {"events -p err", "did you mean --class crash?"},
      {"maintenance", "did you mean intent declare?"},
      {"login|console web1", "declare who does it"},
      {"dumpxml web1", "did you mean why NAME?"},
      {"vms --port 9563", "did you mean --server HOST:PORT?"},
      {"web --listen 9563", "write 127.0.0.1:9563"},
      {"events --show-cursor", "\"--show-cursor\" is not known here"},
      {"events --list-boots", "\"--list-boots\" is not known here"},
      {"-V", "did you mean --version?"},
      {"vms --state-running", "did you mean --state running?"},
      {"vms --name|vms -q", "did you mean -o name?"},
      {"vms --state crash", "it is a value of --class"},
      {"event web1 --event lifecycle --loop", "did you mean events, or watch"},
      {"watch --timestamp", "each event is shown with its time"},
      {"domstats", "did you mean top?"},
      {"events --filter event=die", "did you mean --vm, --type, --class, --cause or --source?"},
      {"events --type guest-panic", "it is a value of --cause"},
      {"intent cancel 6a6f", "did you mean withdraw?"},
  });
}

TEST(ParseCommandLine, AnAliasStandsForItsLineAndNoValueIsOne) {
  const auto crashes = As<EventsCommand>({"--server", "tail", "crashes", "--vm", "crashes"});
  EXPECT_THAT(crashes.filter.types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_THAT(crashes.filter.classes(), ElementsAre(v1::SHUTDOWN_CLASS_CRASH));
  EXPECT_THAT(crashes.filter.vm_names(), ElementsAre("crashes"));
  EXPECT_TRUE(crashes.newest_first);
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
  EXPECT_THAT(As<EventsCommand>({"events", "tail"}).filter.vm_names(), ElementsAre("tail"));
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
  ExpectComplaints({{"events -f -r", "--newest-first"},
                    {"events --cursor-file c", "--cursor-file needs --follow"}});
}

TEST(ParseCommandLine, WatchMayRunACommand) {
  const auto watch = As<FollowCommand>(
      {"watch", "--exec", "notify", "--exec-on-failure", "retry", "--cursor-file", "c"});
  EXPECT_EQ(watch.exec, "notify");
  EXPECT_EQ(watch.on_failure, OnFailure::kRetry);
  EXPECT_EQ(watch.cursor_file, "c");
  ExpectComplaints({{"watch --exec ", "--exec: "},
                    {"watch --cursor-file ", "--cursor-file: "},
                    {"watch --exec-on-failure skip", "--exec-on-failure needs --exec"},
                    {"watch --exec x --exec-on-failure ignore", "stop, retry, skip"},
                    {"watch --wait=maybe", "--wait = maybe"}});
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
  EXPECT_EQ(push.batch, 7U);
  EXPECT_EQ(push.timeout, absl::Minutes(1));
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
  EXPECT_EQ(push.cluster, "prod");
  EXPECT_EQ(push.credentials, "c");
  EXPECT_EQ(push.domain, "hub");
  EXPECT_EQ(push.format, PushFormat::kJson);
  EXPECT_TRUE(std::holds_alternative<FromNow>(
      std::get<PushCommand>(
          Parsed({"push", "nats://localhost", "--cluster", "c", "--from", "now"}).command)
          .follow.watch.start));
}

TEST(ParseCommandLine, APushIntoAFleetSaysWhatIsWrong) {
  ExpectComplaints({{"push https://x --push-domain d", "--push-domain needs --cluster"},
                    {"push tls://n --cluster c --type stopped", "--type cannot be combined with"},
                    {"push tls://n --cluster c --batch 7", "--batch cannot be combined with"},
                    {"push tls://n --cluster c --push-domain a.b", "is not a domain of JetStream"},
                    {"--server a,b push tls://n --cluster c", "the events of one node"},
                    {"--server nats://a push tls://n --cluster c", "the events of one node"}});
}

TEST(ParseCommandLine, APushSaysWhatIsWrong) {
  ExpectComplaints({{"push", "vmevents push https://HOST/PATH"},
                    {"push --status", "which one?"},
                    {"push --retry-set-aside", "which one?"},
                    {"push https://x --format json --template f", "use one of them"},
                    {"push https://x --url-file f", "use one of them"},
                    {"push https://x --format teams", "cloudevents, json"},
                    {"push https://x --from snapshot", "no events"},
                    {"push https://x --batch 1001", "not in range 1 to 1000"},
                    {"push https://x --timeout 1h", "not between 1s and"},
                    {"push https://x --push-cert c", "--push-cert needs --push-key"},
                    {"push https://x --push-key k", "--push-key needs --push-cert"},
                    {"push https://x --secret-file ", "the text is empty; give one"},
                    {"--server nats://a push https://x --from 7 --journal j",
                     "--from: a sequence is of one node's journal"}});
}

TEST(ParseCommandLine, UntilMayBeCountedFromSince) {
  const auto events = As<EventsCommand>({"events", "--until", "+10m", "--since", "2h"});
  EXPECT_EQ(*events.until - *events.since, absl::Minutes(10));
  ExpectComplaints(
      {{"events --until +10m", "--until: \"+10m\" is counted from --since; give that, too"},
       {"stats --since 2h --until +10x", "--until: \"+10x\" is not a duration"}});
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
    return *As<EventsCommand>(arguments, context).since;
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

TEST(ParseCommandLine, WhatAFleetCannotDoIsAComplaint) {
  ExpectComplaints(
      {{"--server nats://a streams", "streams asks vmeventd itself"},
       {"--server nats://a doctor", "doctor asks vmeventd itself"},
       {"--server nats://a intent declare web1 --reason r --actor me", "asks vmeventd itself"},
       {"--server nats://a watch --from 7", "oldest or a time"},
       {"--server nats://a watch --from 7 --journal j", "--from"},
       {"--server nats://a --server b vms", "b is not a NATS server"}});
  EXPECT_THAT(Complaint({"--server", "nats://me:secret@a", "vms"}),
              AllOf(HasSubstr("credentials"), testing::Not(HasSubstr("secret"))));
  ExpectComplaints({{"--server nats://a vms --node ", "--node"},
                    {"--server tls://a --tls-cert c vms", "--tls-key"},
                    {"--server a fleet", "nats://HOST"},
                    {"--server a vms --node n", "--node"},
                    {"--server a --credentials c vms", "--credentials"}});
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
  EXPECT_THAT(As<EventsCommand>({"events", "[a-z]", "--vm", "[0-9]"}).filter.vm_names(),
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
  ExpectComplaints({{"intent", "the commands are declare, list, withdraw (see vmevents intent"},
                    {"intent declare", "NAME"},
                    {"intent declare web1 --reason r", "--actor"},
                    {"intent declare web1 --actor  --reason r", "--actor"},
                    {"intent declare web1 --actor a", "--reason"},
                    {"intent declare web1 --actor a", "(see vmevents intent declare --help)"},
                    {"intent declare web1 --actor a --reason r --ttl 10", "--ttl: \"10\""},
                    {"intent declare web1 --actor a --reason r --started-before soon", "\"soon\""},
                    {"intent declare --actor a -- -rf --reason r", "; options go before --"},
                    {"intent withdraw", "INTENT_ID"},
                    {"intent drop x", "\"drop\""}});
}

TEST(ParseCommandLine, Health) {
  EXPECT_EQ(As<HealthCommand>({"health"}).service, "");
  EXPECT_EQ(As<HealthCommand>({"health"}).timeout, absl::Seconds(5));
  const auto health = As<HealthCommand>({"health", "a.B", "--timeout", "1s"});
  EXPECT_EQ(health.service, "a.B");
  EXPECT_EQ(health.timeout, absl::Seconds(1));
  ExpectComplaints({{"health --timeout 5", "--timeout"}, {"health a b", "\"b\""}});
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

TEST(ParseCommandLine, TlsOptionsThatBelongTogetherAreRequiredTogether) {
  ExpectComplaints({{"info --server node1:80 --tls-cert c --tls-key k", "--tls-ca FILE"},
                    {"info --server node1:80 --tls-server-name n", "--tls-ca FILE"},
                    {"info --server node1:80 --tls-ca a --tls-cert c", "give --tls-key"},
                    {"info --server node1:80 --tls-ca a --tls-key k", "give --tls-cert"},
                    {"info --server node1:80 --tls-ca ", "--tls-ca: the text is empty"},
                    {"info --server unix:/s --tls-server-name n",
                     "--tls-*: a Unix socket (unix:/s) has no TLS; name a server with "
                     "--server HOST:PORT"}});
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
  ExpectComplaints({{"web --listen x:y", "--listen: "},
                    {"web --listen localhost:x", "port"},
                    {"web --listen unix:/x", "--listen: "},
                    {"web --web-cert x", "--web-cert needs --web-key"},
                    {"web --web-key x", "--web-key needs --web-cert"},
                    {"web --web-client-ca x", "--web-client-ca needs --web-cert"},
                    {"web --token-file ", "--token-file"}});
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
  ExpectComplaints({{"info extra", "\"extra\""},
                    {"watch --timeout 5", "--timeout: \"5\""},
                    {"top --interval 5", "--interval"},
                    {"top -o json", "--output: top is for people"},
                    {"vm", "which VM? Write `vmevents why NAME`"},
                    {"vm ", "NAME: the text is empty"},
                    {"watch --from", "--from"},
                    {"watch --from ", "--from"},
                    {"events --limit x", "--limit"},
                    {"events --since x", "--since"},
                    {"events --since 1h --until 2h", "--since is not before --until"},
                    {"events --since 22:00 --until 06:00", "a time without a date is one of today"},
                    {"events --since +1h", "or how long ago: 10m"},
                    {"why -rf", "; a VM of that name is vm/-rf, or stands behind --"},
                    {"-o xml info", "jsonl, name"},
                    {"-o yaml vms", "json"},
                    {"vms --yaml", "-o json"},
                    {"--color red info", "auto, always, never"},
                    {"info info", "\"info\""},
                    {"stop", "\"stop\""}});
}

}  // namespace
}  // namespace vmeventd::client
