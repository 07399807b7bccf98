#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/options/option_context.h"
#include "client/options/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/options/options_fixture.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Not;

std::vector<std::string> Candidates(std::vector<std::string> words) {
  words.insert(words.begin(), "__complete");
  std::vector<std::string> candidates;
  for (const absl::string_view line : absl::StrSplit(Answer(words).out, '\n', absl::SkipEmpty())) {
    candidates.emplace_back(line.substr(0, line.find('\t')));
  }
  return candidates;
}

TEST(ParseCommandLine, CompletionOffersCommandsOptionsAndTheirValues) {
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
  EXPECT_EQ(names.servers.first().path, "/s");
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

}  // namespace
}  // namespace vmeventd::client
