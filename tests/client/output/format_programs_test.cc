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

TEST(ShortName, OmitsThePrefix) {
  EXPECT_EQ(ShortName(v1::EVENT_TYPE_STOPPED), "STOPPED");
  EXPECT_EQ(ShortName(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF), "GUEST_POWEROFF");
  EXPECT_EQ(ShortName(static_cast<v1::VmState>(77)), "77");
}

}  // namespace
}  // namespace vmeventd::client
