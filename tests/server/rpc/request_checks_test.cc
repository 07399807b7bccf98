#include "server/rpc/request_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/support/proto_text.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

// A request that must be refused, and what the message must contain.
struct Bad {
  std::string request;
  std::string field;
  std::string value;
  std::string rule;
};

void ExpectRefused(const absl::Status& status, const Bad& row) {
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << row.request << ": " << status;
  const std::string message(status.message());
  EXPECT_THAT(message, ::testing::StartsWith(row.field + ": ")) << row.request;
  EXPECT_THAT(message, HasSubstr(row.value)) << row.request;
  EXPECT_THAT(message, HasSubstr(row.rule)) << row.request;
}

std::string Repeated(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

TEST(RequestChecks, WatchEventsNamesFieldValueAndRule) {
  const Bad rows[] = {
      {"after_sequence: 5", "journal_id", "\"\"", "is required with after_sequence"},
      {"journal_id: 'j'", "journal_id", "\"j\"", "only with after_sequence"},
      {"snapshot: true journal_id: 'j'", "journal_id", "\"j\"", "only with after_sequence"},
      {"from_oldest: false", "from_oldest", "false", "must be true"},
      {"snapshot: false", "snapshot", "false", "must be true"},
      {"since { seconds: -62135596801 }", "since.seconds", "-62135596801", "0001 to 9999"},
      {"since { seconds: 253402300800 }", "since.seconds", "253402300800", "0001 to 9999"},
      {"since { nanos: -1 }", "since.nanos", "-1", "0 to 999999999"},
      {"since { nanos: 1000000000 }", "since.nanos", "1000000000", "0 to 999999999"},
      {"progress_interval { seconds: -1 }", "progress_interval", "-1s", "at least 1 s"},
      {"progress_interval { nanos: 999999999 }", "progress_interval", "999.999999ms",
       "at least 1 s"},
      {"progress_interval { seconds: 2 nanos: -1 }", "progress_interval", "-1 ns", "same sign"},
      {"progress_interval { nanos: 1000000000 }", "progress_interval", "1000000000", "Duration"},
      {"progress_interval { seconds: 315576000001 }", "progress_interval", "315576000001",
       "Duration"},
      {"progress_interval { seconds: -9223372036854775808 }", "progress_interval", "-9223372036854",
       "Duration"},
      {"journal_id: '" + std::string(1025, 'x') + "' after_sequence: 1", "journal_id", "1025 bytes",
       "at most 1024"},
      {"filter { types: EVENT_TYPE_UNSPECIFIED }", "filter.types[0]", "0", "UNSPECIFIED"},
      {"filter { " + Repeated("types: EVENT_TYPE_RESET ", 1001) + "}", "filter.types",
       "1001 entries", "at most 1000"},
      {"filter { classes: SHUTDOWN_CLASS_UNSPECIFIED }", "filter.classes[0]", "0", "UNSPECIFIED"},
      {"filter { " + Repeated("classes: SHUTDOWN_CLASS_USER ", 1001) + "}", "filter.classes",
       "1001 entries", "at most 1000"},
  };
  for (const Bad& row : rows) {
    ExpectRefused(CheckWatchEvents(FromText<v1::WatchEventsRequest>(row.request)).status(), row);
  }
}

TEST(RequestChecks, EnumValuesMustBeKnown) {
  v1::WatchEventsRequest request;
  request.mutable_filter()->mutable_types()->Add(99);
  ExpectRefused(CheckWatchEvents(request).status(),
                {"99", "filter.types[0]", "99", "not a known EventType"});
  request.mutable_filter()->set_types(0, static_cast<v1::EventType>(-1));
  ExpectRefused(CheckWatchEvents(request).status(),
                {"-1", "filter.types[0]", "-1", "not a known EventType"});
  request.mutable_filter()->clear_types();
  request.mutable_filter()->mutable_classes()->Add(5);
  ExpectRefused(CheckWatchEvents(request).status(),
                {"5", "filter.classes[0]", "5", "not a known ShutdownClass"});
  v1::ListVmsRequest vms;
  vms.mutable_states()->Add(77);
  ExpectRefused(CheckListVms(vms).status(), {"77", "states[0]", "77", "not a known VmState"});
}

TEST(RequestChecks, ListEventsNamesFieldValueAndRule) {
  const Bad rows[] = {
      {"start_time { seconds: 5 } end_time { seconds: 5 }", "start_time", "1970",
       "before end_time"},
      {"start_time { seconds: 6 } end_time { seconds: 5 }", "start_time", "1970",
       "before end_time"},
      {"start_time { nanos: -1 }", "start_time.nanos", "-1", "0 to 999999999"},
      {"end_time { seconds: 253402300800 }", "end_time.seconds", "253402300800", "0001 to 9999"},
      {"page_size: -1", "page_size", "-1", "or more"},
      {"page_token: '" + std::string(8193, 'x') + "'", "page_token", "8193 bytes", "at most 8192"},
      {"filter { vm_names: '' }", "filter.vm_names[0]", "\"\"", "not be empty"},
      {"filter { sources: '' }", "filter.sources[0]", "\"\"", "not be empty"},
  };
  for (const Bad& row : rows) {
    ExpectRefused(CheckListEvents(FromText<v1::ListEventsRequest>(row.request)).status(), row);
  }
  EXPECT_EQ(CheckListEvents({}).value().page_size(), 100);
  const auto large = FromText<v1::ListEventsRequest>("page_size: 1001");
  EXPECT_EQ(CheckListEvents(large).value().page_size(), 1000);
}

TEST(RequestChecks, ListVmsAndGetVmNameFieldValueAndRule) {
  const Bad list[] = {
      {"vm_names: ''", "vm_names[0]", "\"\"", "not be empty"},
      {"states: VM_STATE_UNSPECIFIED", "states[0]", "0", "UNSPECIFIED"},
      {"page_size: -5", "page_size", "-5", "or more"},
      {Repeated("sources: 'a*' ", 33), "sources", "33 entries with a wildcard", "at most 32"},
      {"labels: ['app', 'a b=c']", "labels[1]", "\"a b=c\"", "write conditions as app=web"},
  };
  for (const Bad& row : list) {
    ExpectRefused(CheckListVms(FromText<v1::ListVmsRequest>(row.request)).status(), row);
  }
}

TEST(RequestChecks, ErrorsOfIntentsNameFieldValueAndRule) {
  const std::string names = "vm_name: 'web1' actor: 'alice' ";
  const Bad rows[] = {
      {"actor: 'a' reason: 'r'", "vm_name", "\"\"", "not be empty"},
      {names + "reason: ' \t'", "reason", "\" \\t\"", "not be empty"},
      {names + "reason: 'a\u0085b'", "reason", "\\xc2\\x85", "line breaks"},
      {names + "reason: 'a\u2028b'", "reason", "\\xe2\\x80\\xa8", "control characters"},
      {names + "reason: 'r' request_id: '" + std::string(257, 'x') + "'", "request_id", "257 bytes",
       "at most 256"},
      {names + "reason: 'r' ttl { seconds: -1 }", "ttl", "-1s", "must be positive and at most 24h"},
      {names + "reason: 'r' ttl { seconds: 86400 nanos: 1 }", "ttl", "24h0.000000001s",
       "at most 24h"},
      {names + "reason: 'r' ttl { seconds: 172800 }", "ttl", "2d", "or 0 for the default of 10m"},
      {names + "reason: 'r' ttl { seconds: 1 nanos: -1 }", "ttl", "-1 ns", "same sign"},
      {names + "reason: 'r' started_before { nanos: -1 }", "started_before.nanos", "-1",
       "not in 0"},
  };
  for (const Bad& row : rows) {
    ExpectRefused(CheckDeclareIntent(FromText<v1::DeclareIntentRequest>(row.request)).status(),
                  row);
  }
  ExpectRefused(CheckName("intent_id", ""), {"", "intent_id", "\"\"", "not be empty"});

  const auto ttl = [&names](const std::string& text) {
    return CheckDeclareIntent(FromText<v1::DeclareIntentRequest>(names + "reason: 'r' " + text))
        .value()
        .ttl;
  };
  EXPECT_EQ(ttl(""), absl::Minutes(10));
  EXPECT_EQ(ttl("ttl {}"), absl::Minutes(10));
  EXPECT_EQ(ttl("ttl { nanos: 1 }"), absl::Nanoseconds(1));
  EXPECT_EQ(ttl("ttl { seconds: 86400 }"), absl::Hours(24));
}

TEST(RequestChecks, ATextMayContainEveryPrintableCharacter) {
  v1::DeclareIntentRequest request;
  request.set_vm_name("web1");
  request.set_actor("gr\u00fc\u00dfe \u00a0\u2027\u202a\u6f22");
  request.set_reason("r");
  EXPECT_TRUE(CheckDeclareIntent(request).ok());
}

}  // namespace
}  // namespace vmeventd
