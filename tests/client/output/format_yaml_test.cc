#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
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
            "k: \"a\\\"b\\\\c\\nd\\x09e\\x00\\x85\\u2028\"\n");
  EXPECT_EQ(YamlOfJson(R"({"k":"gr\u00fc\u00df \ud83d\ude00"})"),
            "k: \"gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80\"\n");
}

TEST(YamlFormatter, PrintsOneDocumentAMessage) {
  Formatter::Events events;
  *events.Add() = MakeEvent(1);
  *events.Add() = MakeEvent(2);
  const std::string text = *YamlFormatter().FormatEvents(events, {});
  EXPECT_THAT(text, StartsWith("---\nsequence: \"1\"\n"));
  EXPECT_THAT(text, HasSubstr("\n---\nsequence: \"2\"\nvm:\n  name: web1\n  run_id: \"\"\n"));
  EXPECT_THAT(text, HasSubstr("\nobserve_time: \"2026-07-01T12:00:00.123Z\"\n"));
}

TEST(YamlFormatter, NamesTheNode) {
  Formatter::Vms vms;
  *vms.Add() = MakeVm("web1");
  EXPECT_THAT(*YamlFormatter().FormatVms(vms, {{"node1"}}), StartsWith("---\nnode: node1\nref:\n"));
}

}  // namespace
}  // namespace vmeventd::client
