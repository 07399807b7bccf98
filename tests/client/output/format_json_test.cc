#include <string>

#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(JsonFormatter, PrintsOneObjectALine) {
  Formatter::Events events;
  *events.Add() = MakeEvent(1);
  *events.Add() = MakeEvent(2);
  events[1].set_message("two\nlines\x1b");
  const std::string text = *JsonFormatter().FormatEvents(events, {});
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.back(), '\n');
  EXPECT_THAT(text, HasSubstr("two\\nlines\\u001b"));
}

TEST(JsonFormatter, UsesTheContractsNamesAndTimesInUtc) {
  Formatter::Events events;
  *events.Add() = MakeEvent(7);
  events[0].set_type(v1::EVENT_TYPE_STOPPED);
  events[0].mutable_shutdown()->set_class_(v1::SHUTDOWN_CLASS_USER);
  const std::string text = *JsonFormatter().FormatEvents(events, {});
  EXPECT_THAT(text, HasSubstr("\"sequence\":\"7\""));
  EXPECT_THAT(text, HasSubstr("\"observe_time\":\"2026-07-01T12:00:00.123Z\""));
  EXPECT_THAT(text, HasSubstr("\"type\":\"EVENT_TYPE_STOPPED\""));
  EXPECT_THAT(text, HasSubstr("\"class\":\"SHUTDOWN_CLASS_USER\""));
}

TEST(JsonFormatter, PrintsFieldsThatAreZeroButNoUnsetMessage) {
  v1::GetServerInfoResponse info;
  const std::string text = *JsonFormatter().FormatInfo(info);
  EXPECT_THAT(text, HasSubstr("\"vms\":0"));
  EXPECT_THAT(text, HasSubstr("\"journal_writable\":false"));
  EXPECT_THAT(text, HasSubstr("\"directories\":[]"));
  EXPECT_THAT(text, Not(HasSubstr("start_time")));
}

TEST(JsonFormatter, HasNoHeading) { EXPECT_EQ(JsonFormatter().EventHeading(), ""); }

TEST(JsonFormatter, NoVmsAreNoLines) { EXPECT_EQ(*JsonFormatter().FormatVms({}, {}), ""); }

TEST(JsonFormatter, NamesWhatCannotBeWritten) {
  v1::Vm vm = MakeVm("web1");
  vm.mutable_state_time()->set_seconds(INT64_MAX);
  const auto text = JsonFormatter().FormatVm(vm, {});
  ASSERT_FALSE(text.ok());
  EXPECT_THAT(std::string(text.status().message()), HasSubstr("a Vm of the server"));
}

}  // namespace
}  // namespace vmeventd::client
