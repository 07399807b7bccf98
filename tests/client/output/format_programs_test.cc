#include <string>

#include "client/output/event_text.h"
#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"
#include "tests/support/status_matchers.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(JsonFormatter, PrintsOneObjectALine) {
  NodeEvents events = {{MakeEvent(1)}, {MakeEvent(2)}};
  events[1].event.set_message("two\nlines\x1b");
  const std::string text = *JsonFormatter().FormatEvents(events);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_THAT(text, HasSubstr("two\\nlines\\u001b"));
}

TEST(JsonFormatter, UsesTheContractsNamesAndTimesInUtc) {
  NodeEvents events = {{MakeEvent(7)}};
  events[0].event.set_type(v1::EVENT_TYPE_STOPPED);
  events[0].event.mutable_shutdown()->set_shutdown_class(v1::SHUTDOWN_CLASS_USER);
  const std::string text = *JsonFormatter().FormatEvents(events);
  EXPECT_THAT(text, HasSubstr("\"sequence\":\"7\""));
  EXPECT_THAT(text, HasSubstr("\"observe_time\":\"2026-07-01T12:00:00.123Z\""));
  EXPECT_THAT(text, HasSubstr("\"type\":\"EVENT_TYPE_STOPPED\""));
  EXPECT_THAT(text, HasSubstr("\"shutdown_class\":\"SHUTDOWN_CLASS_USER\""));
  EXPECT_THAT(text, Not(HasSubstr("gap_reason")));
  EXPECT_THAT(text, Not(HasSubstr("intent_end")));
}

TEST(JsonFormatter, PrintsFieldsThatAreZeroButNoUnsetMessage) {
  v1::GetServerInfoResponse info;
  const std::string text = *JsonFormatter().FormatInfo(info);
  EXPECT_THAT(text, HasSubstr("\"vms\":0"));
  EXPECT_THAT(text, HasSubstr("\"journal_writable\":false"));
  EXPECT_THAT(text, HasSubstr("\"directories\":[]"));
  EXPECT_THAT(text, Not(HasSubstr("start_time")));
}

TEST(JsonFormatter, NamesWhatCannotBeWritten) {
  v1::Vm vm = MakeVm("web1");
  vm.mutable_state_time()->set_seconds(INT64_MAX);
  const auto text = JsonFormatter().FormatVms({{vm}});
  ASSERT_FALSE(text.ok());
  EXPECT_THAT(text, Says("a Vm of the server"));
}

TEST(NameFormatter, PrintsTheNameOfEachVm) {
  NodeVms vms = {{MakeVm("web1")}, {MakeVm("b\n")}};
  EXPECT_EQ(*NameFormatter().FormatVms(vms), "web1\nb\\x0a\n");
  vms[0].node.name = "node1";
  vms[1].node.name = "node2";
  EXPECT_EQ(*NameFormatter().FormatVms(vms), "node1/web1\nnode2/b\\x0a\n");
}

TEST(NameFormatter, AnEventOfTheNodeHasNoName) {
  NodeEvents events = {{MakeEvent(1)}, {}};
  events[1].event.set_type(v1::EVENT_TYPE_GAP);
  EXPECT_EQ(*NameFormatter().FormatEvents(events), "web1\n");
}

using testing::StartsWith;

TEST(YamlOfJson, NestsObjectsAndLists) {
  EXPECT_EQ(YamlOfJson(R"({"a":{"b":1,"c":[true,"x",{"d":null,"e":2},[1]]},"e":[],"f":{}})"),
            "a:\n"
            "  b: 1\n"
            "  c:\n"
            "    - true\n"
            "    - x\n"
            "    - d: null\n"
            "      e: 2\n"
            "    - - 1\n"
            "e: []\n"
            "f: {}\n");
}

TEST(YamlOfJson, QuotesWhatAReaderCouldTakeForSomethingElse) {
  for (const char* text :
       {"",           "42",       "1e3", "0x1f", "no",   "True", "NULL", "~",  "y",
        "2026-07-01", "12:30:00", "- a", "a: b", "a #b", "*x",   "&x",   "!x", "@x",
        "%x",         "{a}",      "[a]", "'a'",  " a",   "a ",   ".inf"}) {
    EXPECT_EQ(YamlOfJson("{\"k\":\"" + std::string(text) + "\"}"),
              "k: \"" + std::string(text) + "\"\n");
  }
  for (const char* text : {"web1", "a-b.c_d", "/run/qemu", "STOPPED"}) {
    EXPECT_EQ(YamlOfJson("{\"k\":\"" + std::string(text) + "\"}"),
              "k: " + std::string(text) + "\n");
  }
}

TEST(YamlOfJson, EscapesWhatItQuotes) {
  EXPECT_EQ(YamlOfJson(R"({"k":"a\"b\\c\nd\te\u0000\u0085\u2028"})"),
            "k: \"a\\\"b\\\\c\\nd\\x09e\\x00\\u0085\\u2028\"\n");
  EXPECT_EQ(YamlOfJson(R"({"k":"gr\u00fc\u00df \ud83d\ude00"})"),
            "k: \"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\"\n");
}

TEST(YamlFormatter, PrintsOneDocumentAMessage) {
  NodeEvents events = {{MakeEvent(1)}, {MakeEvent(2)}};
  const std::string text = *JsonFormatter(true).FormatEvents(events);
  EXPECT_THAT(text, StartsWith("---\nsequence: \"1\"\n"));
  EXPECT_THAT(text, HasSubstr("\n---\nsequence: \"2\"\nvm:\n  name: web1\n  run_id: \"\"\n"));
  EXPECT_THAT(text, HasSubstr("\nobserve_time: \"2026-07-01T12:00:00.123Z\"\n"));
}

TEST(YamlFormatter, NamesTheNode) {
  EXPECT_THAT(*JsonFormatter(true).FormatVms({{MakeVm("web1"), {"node1"}}}),
              StartsWith("---\nnode: node1\nref:\n"));
}

TEST(ShortName, OmitsThePrefix) {
  EXPECT_EQ(ShortName(v1::EVENT_TYPE_STOPPED), "STOPPED");
  EXPECT_EQ(ShortName(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF), "GUEST_POWEROFF");
  EXPECT_EQ(ShortName(static_cast<v1::VmState>(77)), "77");
}

}  // namespace
}  // namespace vmeventd::client
