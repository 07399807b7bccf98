#include "server/logging/log_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <string>

#include "nlohmann/json.hpp"
#include "server/logging/stop_line.h"
#include "spdlog/details/log_msg.h"
#include "tests/support/vm_updates.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Line(LogFormat format, const std::string& message, const std::string& logger = "",
                 bool for_journal = false) {
  const spdlog::details::log_msg msg(
      spdlog::log_clock::time_point(std::chrono::milliseconds(1'769'860'800'123)),
      spdlog::source_loc(), logger, spdlog::level::warn, message);
  return FormatLine(msg, format, for_journal);
}

TEST(LogLine, WritesTextOnOneLine) {
  EXPECT_EQ(Line(LogFormat::kText, "a\nb"), "2026-01-31T12:00:00.123Z warn  a\\x0ab\n");
}

TEST(LogLine, WritesOneObjectALineForAnyMessage) {
  const std::string line = Line(LogFormat::kJson, "a\n\"b\"\x01 \xff {}");
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const nlohmann::json object = nlohmann::json::parse(line);
  EXPECT_EQ(object["time"], "2026-01-31T12:00:00.123Z");
  EXPECT_EQ(object["level"], "warn");
  EXPECT_EQ(object["message"], "a\n\"b\"\x01 \xef\xbf\xbd {}");
}

TEST(LogLine, FieldsAreMembersInJsonAndKeyValuePairsInText) {
  const std::string payload =
      R"({"message":"VM stopped","vm":"web 1","sequence":7,"evidence":["a=1","b"]})";
  EXPECT_EQ(Line(LogFormat::kText, payload, kStopLogger),
            "2026-01-31T12:00:00.123Z warn  VM stopped vm=\"web 1\" sequence=7 "
            "evidence=\"a=1; b\"\n");
  const nlohmann::json object = nlohmann::json::parse(Line(LogFormat::kJson, payload, kStopLogger));
  EXPECT_EQ(object["message"], "VM stopped");
  EXPECT_EQ(object["vm"], "web 1");
  EXPECT_EQ(object["sequence"], 7);
  EXPECT_THAT(object["evidence"], ElementsAre("a=1", "b"));
}

TEST(LogLine, NoTextControlsATerminal) {
  const std::string hostile[] = {"\x1b[31m",     "\r",           "\x7f",         "\xc2\x9b",
                                 "\xe2\x80\xae", "\xe2\x80\xa8", "\xe2\x81\xa6", "\xef\xbb\xbf",
                                 "\xd8\x9c",     "\xff"};
  for (const std::string& text : hostile) {
    EXPECT_THAT(OnOneLine(text), HasSubstr("\\x")) << text;
    for (const char c : OnOneLine(text) + Line(LogFormat::kJson, text)) {
      EXPECT_TRUE(c == '\n' || (c >= 0x20 && c < 0x7f));
    }
  }
  EXPECT_EQ(OnOneLine("gr\xc3\xb6\xc3\x9f"
                      "e \xe6\xbc\xa2"),
            "gr\xc3\xb6\xc3\x9f"
            "e \xe6\xbc\xa2");
}

TEST(LogLine, ALineForTheJournalHasThePriorityAndNoTime) {
  EXPECT_EQ(Line(LogFormat::kText, "a\nb", "", /*for_journal=*/true), "<4>warn  a\\x0ab\n");
  const std::string json = Line(LogFormat::kJson, "a", "", /*for_journal=*/true);
  ASSERT_EQ(json.substr(0, 3), "<4>");
  EXPECT_EQ(nlohmann::json::parse(json.substr(3))["message"], "a");
}

v1::Event StoppedBySignal(const std::string& name) {
  v1::Event event = *Stopped("vm", "run", ShutdownClass::kCrash).event;
  event.set_sequence(7);
  event.mutable_vm()->set_name(name);
  v1::ShutdownDetail& detail = *event.mutable_shutdown();
  detail.set_cause(v1::SHUTDOWN_CAUSE_QEMU_KILLED);
  detail.set_rule("qemu-killed");
  detail.mutable_exit_signal()->set_number(9);
  detail.clear_evidence();
  detail.add_evidence()->set_what("process gone");
  detail.add_evidence()->set_what("exit signal 9 (SIGKILL)");
  return event;
}

TEST(StopLog, LogsTheVerdictAndItsEvidence) {
  v1::Event event = StoppedBySignal("web1");
  event.mutable_vm()->set_run_id("r1");
  event.mutable_vm()->set_pid(42);
  event.mutable_vm()->set_source("qmp:/run/qemu");
  const nlohmann::ordered_json fields = StopFields(event);
  EXPECT_EQ(fields["vm"], "web1");
  EXPECT_EQ(fields["run_id"], "r1");
  EXPECT_EQ(fields["pid"], 42);
  EXPECT_EQ(fields["source"], "qmp:/run/qemu");
  EXPECT_EQ(fields["class"], "CRASH");
  EXPECT_EQ(fields["cause"], "QEMU_KILLED");
  EXPECT_EQ(fields["rule"], "qemu-killed");
  EXPECT_EQ(fields["sequence"], 7);
  EXPECT_EQ(fields["exit_signal"], 9);
  EXPECT_FALSE(fields.contains("exit_code"));
  EXPECT_THAT(fields["evidence"], ElementsAre("process gone", "exit signal 9 (SIGKILL)"));
}

TEST(StopLog, AVmNameCannotForgeALineOrAField) {
  const std::string name = "x\n2026-01-31T12:00:00.123Z info  VM stopped vm=y class=USER\x1b[2K";
  const std::string payload = StopFields(StoppedBySignal(name)).dump();
  const std::string text = Line(LogFormat::kText, payload, kStopLogger);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  EXPECT_THAT(text, HasSubstr(" vm=\"x\\x0a2026"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_EQ(nlohmann::json::parse(Line(LogFormat::kJson, payload, kStopLogger))["vm"], name);
}

// The fields of a line as a reader takes them apart: bare words, and quoted values in which a
// backslash escapes the byte after it.
std::map<std::string, std::string> FieldsOf(const std::string& line) {
  std::map<std::string, std::string> out;
  size_t at = line.find(" vm=");
  while (at < line.size() && line[at] == ' ') {
    const size_t equals = line.find('=', at);
    const std::string key = line.substr(at + 1, equals - at - 1);
    std::string value;
    at = equals + 1;
    if (line[at] == '"') {
      for (++at; line[at] != '"'; ++at) {
        if (line[at] == '\\') ++at;
        value += line[at];
      }
      ++at;
    } else {
      while (line[at] != ' ' && line[at] != '\n') value += line[at++];
    }
    EXPECT_TRUE(out.emplace(key, value).second) << "twice: " << key;
  }
  EXPECT_EQ(line.substr(at), "\n");
  return out;
}

TEST(StopLog, AValueCannotEndItsQuotesEarly) {
  for (const std::string name : {R"(x\" class=USER cause=GUEST_POWEROFF y=\")", R"(x\)", R"(a b\)",
                                 R"(\\" vm=web1)", R"(")", R"(\")", R"(a=b)", R"(\x0a)"}) {
    const std::string payload = StopFields(StoppedBySignal(name)).dump();
    std::map<std::string, std::string> fields =
        FieldsOf(Line(LogFormat::kText, payload, kStopLogger));
    EXPECT_EQ(fields["vm"], name);
    EXPECT_EQ(fields["class"], "CRASH");
    EXPECT_EQ(fields.size(), StopFields(StoppedBySignal(name)).size() - 1) << name;
  }
  const auto vm_of = [](const std::string& name) {
    return FieldsOf(
        Line(LogFormat::kText, StopFields(StoppedBySignal(name)).dump(), kStopLogger))["vm"];
  };
  EXPECT_NE(vm_of("a\nb"), vm_of("a\\x0ab")) << "an escaped byte and its text differ";
}

}  // namespace
}  // namespace vmeventd
