#include "client/options.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

OptionContext Context() {
  OptionContext context;
  context.now = absl::FromUnixSeconds(1782907200);
  context.zone = absl::UTCTimeZone();
  return context;
}

CommandLine Parsed(const std::vector<std::string>& arguments,
                   const OptionContext& context = Context()) {
  auto parsed = ParseCommandLine(arguments, context);
  if (const auto* answered = std::get_if<Answered>(&parsed)) {
    ADD_FAILURE() << answered->err << answered->out;
    return {};
  }
  return std::get<CommandLine>(parsed);
}

Answered Answer(const std::vector<std::string>& arguments,
                const OptionContext& context = Context()) {
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

TEST(ParseCommandLine, WatchTakesAllOfItsOptions) {
  const CommandLine line =
      Parsed({"watch", "--from", "7", "--journal", "j", "--vm", "a*", "--vm", "[b]c", "--type",
              "stopped", "--class", "user", "--count", "5", "--no-resume", "--wait"});
  const auto& watch = std::get<WatchCommand>(line.command);
  EXPECT_EQ(std::get<FromSequence>(watch.start).sequence, 7U);
  EXPECT_EQ(std::get<FromSequence>(watch.start).journal_id, "j");
  EXPECT_THAT(watch.filter.vm_names(), ElementsAre("a*", "[b]c"));
  EXPECT_THAT(watch.filter.types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_THAT(watch.filter.classes(), ElementsAre(v1::SHUTDOWN_CLASS_USER));
  EXPECT_EQ(watch.count, 5U);
  EXPECT_FALSE(watch.resume);
  EXPECT_TRUE(watch.wait);
}

TEST(ParseCommandLine, WatchBeginsNowAndResumesByItself) {
  const CommandLine line = Parsed({"watch"});
  const auto& watch = std::get<WatchCommand>(line.command);
  EXPECT_TRUE(std::holds_alternative<FromNow>(watch.start));
  EXPECT_TRUE(watch.resume);
  EXPECT_FALSE(watch.wait);
  EXPECT_EQ(watch.count, std::nullopt);
}

TEST(ParseCommandLine, EventsTakesAllOfItsOptions) {
  const CommandLine line = Parsed({"events", "--since", "1h", "--until", "10m", "--vm", "a",
                                   "--newest-first", "--limit", "3", "--class", "crash"});
  const auto& events = std::get<EventsCommand>(line.command);
  EXPECT_EQ(*events.until - *events.since, absl::Minutes(50));
  EXPECT_TRUE(events.newest_first);
  EXPECT_EQ(events.limit, 3U);
}

TEST(ParseCommandLine, AskingForStoppedVmsIncludesThem) {
  EXPECT_FALSE(std::get<VmsCommand>(Parsed({"vms"}).command).include_stopped);
  EXPECT_FALSE(std::get<VmsCommand>(Parsed({"vms", "--state", "paused"}).command).include_stopped);
  EXPECT_TRUE(std::get<VmsCommand>(Parsed({"vms", "--all"}).command).include_stopped);
  EXPECT_TRUE(std::get<VmsCommand>(Parsed({"vms", "--state", "stopped"}).command).include_stopped);
}

TEST(ParseCommandLine, AVmMayBeNamedLikeACommandOrAnOption) {
  EXPECT_EQ(std::get<VmCommand>(Parsed({"vm", "watch"}).command).name, "watch");
  EXPECT_EQ(std::get<VmCommand>(Parsed({"vm", "--", "-x"}).command).name, "-x");
  EXPECT_EQ(std::get<VmCommand>(Parsed({"vm", "web1", "--run", "r"}).command).run_id, "r");
}

TEST(ParseCommandLine, IntentDeclareAndWithdraw) {
  const CommandLine line = Parsed({"intent", "declare", "web1", "--actor", "alice", "--reason",
                                   "out of order", "--ttl", "1h30m", "--run", "r1", "-o", "json"});
  const auto& declare = std::get<DeclareIntentCommand>(line.command);
  EXPECT_EQ(declare.name, "web1");
  EXPECT_EQ(declare.run_id, "r1");
  EXPECT_EQ(declare.actor, "alice");
  EXPECT_EQ(declare.reason, "out of order");
  EXPECT_EQ(declare.ttl, absl::Minutes(90));
  EXPECT_EQ(line.format, OutputFormat::kJson);
  const CommandLine short_line =
      Parsed({"intent", "declare", "web1", "--actor", "alice", "--reason", "r"});
  EXPECT_FALSE(std::get<DeclareIntentCommand>(short_line.command).ttl.has_value());
  EXPECT_EQ(std::get<WithdrawIntentCommand>(Parsed({"intent", "withdraw", "i1"}).command).intent_id,
            "i1");

  EXPECT_THAT(Complaint({"intent"}), HasSubstr("intent declare and intent withdraw"));
  EXPECT_THAT(Complaint({"intent", "declare"}), HasSubstr("NAME"));
  EXPECT_THAT(Complaint({"intent", "declare", "web1", "--reason", "r"}), HasSubstr("--actor"));
  EXPECT_THAT(Complaint({"intent", "declare", "web1", "--actor", "a"}), HasSubstr("--reason"));
  EXPECT_THAT(Complaint({"intent", "declare", "web1", "--actor", "", "--reason", "r"}),
              HasSubstr("--actor"));
  EXPECT_THAT(
      Complaint({"intent", "declare", "web1", "--actor", "a", "--reason", "r", "--ttl", "10"}),
      AllOf(HasSubstr("--ttl"), HasSubstr("\"10\""), HasSubstr("10m")));
  EXPECT_THAT(Complaint({"intent", "withdraw"}), HasSubstr("INTENT_ID"));
  EXPECT_THAT(Complaint({"intent", "drop", "x"}), HasSubstr("\"drop\""));
}

TEST(ParseCommandLine, Health) {
  EXPECT_EQ(std::get<HealthCommand>(Parsed({"health"}).command).service, "");
  EXPECT_EQ(std::get<HealthCommand>(Parsed({"health"}).command).timeout, absl::Seconds(5));
  const auto health = std::get<HealthCommand>(Parsed({"health", "a.B", "--timeout", "1s"}).command);
  EXPECT_EQ(health.service, "a.B");
  EXPECT_EQ(health.timeout, absl::Seconds(1));
  EXPECT_THAT(Complaint({"health", "--timeout", "5"}), HasSubstr("--timeout"));
  EXPECT_THAT(Complaint({"health", "a", "b"}), HasSubstr("\"b\""));
}

TEST(ParseCommandLine, TlsTakesItsFilesAndAName) {
  const CommandLine line =
      Parsed({"--server", "node1:80", "info", "--tls-ca", "ca", "--tls-cert", "cert", "--tls-key",
              "key", "--tls-server-name", "node1.example"});
  ASSERT_TRUE(line.server.tls.has_value());
  EXPECT_EQ(line.server.tls->ca_file, "ca");
  EXPECT_EQ(line.server.tls->cert_file, "cert");
  EXPECT_EQ(line.server.tls->key_file, "key");
  EXPECT_EQ(line.server.tls->server_name, "node1.example");
  EXPECT_FALSE(Parsed({"--server", "node1:80", "info"}).server.tls.has_value());
}

TEST(ParseCommandLine, TlsOptionsThatBelongTogetherAreRequiredTogether) {
  const std::vector<std::string> start = {"info", "--server", "node1:80"};
  const auto complaint = [&start](std::vector<std::string> options) {
    options.insert(options.begin(), start.begin(), start.end());
    return Complaint(options);
  };
  EXPECT_THAT(complaint({"--tls-cert", "c", "--tls-key", "k"}), HasSubstr("--tls-ca FILE"));
  EXPECT_THAT(complaint({"--tls-server-name", "n"}), HasSubstr("--tls-ca FILE"));
  EXPECT_THAT(complaint({"--tls-ca", "a", "--tls-cert", "c"}), HasSubstr("give --tls-key"));
  EXPECT_THAT(complaint({"--tls-ca", "a", "--tls-key", "k"}), HasSubstr("give --tls-cert"));
  EXPECT_THAT(complaint({"--tls-ca", ""}), HasSubstr("--tls-ca: the text is empty"));
}

TEST(ParseCommandLine, AUnixSocketHasNoTls) {
  EXPECT_THAT(Complaint({"info", "--tls-ca", "a"}),
              AllOf(HasSubstr("--tls-ca"), HasSubstr("Unix socket"), HasSubstr("HOST:PORT")));
  EXPECT_THAT(Complaint({"info", "--server", "unix:/s", "--tls-server-name", "n"}),
              HasSubstr("--tls-server-name: a Unix socket (unix:/s)"));
}

TEST(ParseCommandLine, TheTlsVariablesReplaceTheOptions) {
  OptionContext context = Context();
  context.tls_variables = {"ca", "cert", "key", "name"};
  EXPECT_EQ(Parsed({"info", "--server", "node1:80"}, context).server.tls->key_file, "key");
  const CommandLine given = Parsed({"info", "--server", "node1:80", "--tls-ca", "other"}, context);
  EXPECT_EQ(given.server.tls->ca_file, "other");
  EXPECT_EQ(given.server.tls->cert_file, "") << "all or none";
  EXPECT_FALSE(Parsed({"info"}, context).server.tls.has_value());
  context.tls_variables.ca_file.clear();
  EXPECT_THAT(Answer({"info", "--server", "node1:80"}, context).err,
              HasSubstr("$VMEVENTS_TLS_*: TLS needs --tls-ca"));
}

TEST(ParseCommandLine, OptionsOfTheProgramStandBeforeOrAfterTheCommand) {
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"--server", "node1:80", "-o", "json", "--color", "never", "info"},
           {"info", "--server", "node1:80", "-o", "json", "--color", "never"},
           {"--server=node1:80", "info", "--output=json", "--color=never"}}) {
    const CommandLine line = Parsed(arguments);
    EXPECT_EQ(line.server.host, "node1");
    EXPECT_EQ(line.format, OutputFormat::kJson);
    EXPECT_EQ(line.color, ColorMode::kNever);
  }
}

TEST(ParseCommandLine, TheServerIsTheOptionThenTheVariableThenTheDefault) {
  OptionContext context = Context();
  EXPECT_EQ(Parsed({"info"}, context).server.path, "/run/vmeventd/vmeventd.sock");
  context.uid = 1000;
  context.xdg_runtime_dir = "/tmp/rt";
  EXPECT_EQ(Parsed({"info"}, context).server.path, "/tmp/rt/vmeventd/vmeventd.sock");
  context.server_variable = "unix:/tmp/v.sock";
  EXPECT_EQ(Parsed({"info"}, context).server.path, "/tmp/v.sock");
  EXPECT_EQ(Parsed({"--server", "unix:/tmp/o.sock", "info"}, context).server.path, "/tmp/o.sock");
}

TEST(ParseCommandLine, TheSystemsDaemonIsTheDefaultOfAUserWithoutOne) {
  OptionContext context = Context();
  context.uid = 1000;
  context.xdg_runtime_dir = "/tmp/rt";
  context.may_exist = [](const std::string& path) { return path == "/run/vmeventd/vmeventd.sock"; };
  EXPECT_EQ(Parsed({"info"}, context).server.path, "/run/vmeventd/vmeventd.sock");
}

TEST(ParseCommandLine, ReportsWhereAMalformedServerComesFrom) {
  OptionContext context = Context();
  context.server_variable = "/nonsense";
  EXPECT_THAT(Answer({"info"}, context).err, StartsWith("$VMEVENTS_SERVER: "));
  EXPECT_THAT(Complaint({"--server", "/nonsense", "info"}), StartsWith("--server: "));
  EXPECT_THAT(Complaint({"--server", "", "info"}), HasSubstr("is empty"));
}

TEST(ParseCommandLine, ComplaintsNameWhatIsWrongAndWhereToRead) {
  EXPECT_EQ(
      Complaint({}),
      "no command is given; the commands are watch, events, vms, vm, intent, info and health (see "
      "vmevents "
      "--help)");
  EXPECT_THAT(Complaint({"frobnicate"}),
              AllOf(HasSubstr("\"frobnicate\""), HasSubstr("the commands are watch")));
  EXPECT_THAT(Complaint({"watch", "--bogus"}),
              AllOf(HasSubstr("\"--bogus\""), HasSubstr("(see vmevents watch --help)")));
  EXPECT_THAT(Complaint({"watch", "extra"}), HasSubstr("\"extra\""));
  EXPECT_THAT(Complaint({"vm"}), HasSubstr("NAME is required"));
  EXPECT_THAT(Complaint({"vm", ""}), HasSubstr("NAME: "));
  EXPECT_THAT(Complaint({"vm", "a", "b"}), HasSubstr("\"b\""));
  EXPECT_THAT(Complaint({"watch", "--from"}), HasSubstr("--from"));
  EXPECT_THAT(Complaint({"watch", "--from", ""}), HasSubstr("--from"));
  EXPECT_THAT(Complaint({"watch", "--count", "0"}), HasSubstr("--count"));
  EXPECT_THAT(Complaint({"events", "--limit", "x"}), HasSubstr("--limit"));
  EXPECT_THAT(Complaint({"events", "--since", "x"}), HasSubstr("--since"));
  EXPECT_THAT(Complaint({"events", "--since", "1h", "--until", "2h"}), HasSubstr("not before"));
  EXPECT_THAT(Complaint({"vms", "--state", "dead"}), HasSubstr("--state"));
  EXPECT_THAT(Complaint({"-o", "xml", "info"}), HasSubstr("table or json"));
  EXPECT_THAT(Complaint({"--color", "red", "info"}), HasSubstr("auto, always or never"));
  EXPECT_THAT(Complaint({"info", "info"}), HasSubstr("\"info\""));
  EXPECT_THAT(Complaint({"stop"}), HasSubstr("\"stop\""));
}

TEST(ParseCommandLine, ComplaintsCannotControlTheTerminal) {
  EXPECT_THAT(Complaint({"watch", "\x1b[2J"}), HasSubstr("\\x1b[2J"));
}

TEST(ParseCommandLine, HelpHasExamplesForEachCommand) {
  EXPECT_THAT(Answer({"--help"}).out,
              AllOf(HasSubstr("Examples:"), HasSubstr("watch"), HasSubstr("Exit codes: 0")));
  for (const char* command : {"watch", "events", "vms", "vm", "info"}) {
    const Answered answered = Answer({command, "--help"});
    EXPECT_EQ(answered.code, ExitCode::kOk);
    EXPECT_EQ(answered.err, "");
    EXPECT_THAT(answered.out, AllOf(HasSubstr("Example"), HasSubstr("vmevents")));
  }
}

TEST(ParseCommandLine, VersionIsOneLine) {
  const Answered answered = Answer({"--version"});
  EXPECT_EQ(answered.code, ExitCode::kOk);
  EXPECT_THAT(answered.out, testing::MatchesRegex("vmevents [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

}  // namespace
}  // namespace vmeventd::client
