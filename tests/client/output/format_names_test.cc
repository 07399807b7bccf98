#include "client/output/formatter.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

TEST(NameFormatter, PrintsTheNameOfEachVm) {
  Formatter::Vms vms;
  *vms.Add() = MakeVm("web1");
  *vms.Add() = MakeVm("b\n");
  EXPECT_EQ(*NameFormatter().FormatVms(vms, {}), "web1\nb\\x0a\n");
  EXPECT_EQ(*NameFormatter().FormatVms(vms, {{"node1"}, {"node2"}}), "node1/web1\nnode2/b\\x0a\n");
}

TEST(NameFormatter, AnEventOfTheNodeHasNoName) {
  Formatter::Events events;
  *events.Add() = MakeEvent(1);
  events.Add()->set_type(v1::EVENT_TYPE_GAP);
  EXPECT_EQ(*NameFormatter().FormatEvents(events, {}), "web1\n");
}

}  // namespace
}  // namespace vmeventd::client
