#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/options/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/options/options_fixture.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

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

TEST(ParseCommandLine, HelpIsShownDespiteAWrongValue) {
  EXPECT_EQ(Answer({"watch", "--type", "bogus", "-h"}).out, Answer({"watch", "-h"}).out);
  EXPECT_EQ(Answer({"--color", "red", "intent", "declare", "-h"}).out,
            Answer({"intent", "declare", "-h"}).out);
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

}  // namespace
}  // namespace vmeventd::client
