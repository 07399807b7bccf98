#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/commands/top.h"
#include "client/output/terminal_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::HasSubstr;
using testing::Not;

v1::Event End(v1::ShutdownClass shutdown_class, const std::string& name) {
  v1::Event end = MakeEvent(1, name);
  end.set_type(v1::EVENT_TYPE_STOPPED);
  end.mutable_shutdown()->set_class_(shutdown_class);
  end.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
  return end;
}

TopData Data() {
  TopData data;
  data.now = absl::FromUnixSeconds(1782907200);
  data.info.set_node("node1");
  data.info.set_version("0.1.0");
  data.info.set_streams(4);
  data.info.set_journal_writable(true);
  data.info.set_oldest_sequence(1);
  data.info.set_newest_sequence(4711);
  data.states = {{v1::VM_STATE_RUNNING, 120}, {v1::VM_STATE_PAUSED, 3}};
  data.with_problems = 2;
  data.window = absl::Minutes(15);
  data.ends = {End(v1::SHUTDOWN_CLASS_CRASH, "db1"), End(v1::SHUTDOWN_CLASS_USER, "web1")};
  data.answer_time = absl::Milliseconds(3);
  return data;
}

TopStyle Style() {
  TopStyle style;
  style.zone = absl::UTCTimeZone();
  return style;
}

TEST(TopFrame, AClassWithACaveatHasAQuestionMark) {
  TopData data = Data();
  data.ends[1].mutable_shutdown()->add_caveats(v1::SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED);
  EXPECT_THAT(TopFrame(data, Style()), testing::HasSubstr("web1  USER?  guest poweroff\n"));
}

TEST(TopFrame, TheLastLineNamesTheKeys) {
  TopStyle style = Style();
  style.keys = true;
  style.height = 12;
  const std::vector<std::string> lines = absl::StrSplit(TopFrame(Data(), style), '\n');
  ASSERT_THAT(lines, testing::SizeIs(13));
  EXPECT_EQ(lines[11], "Sort      t time  v VM  c class  q quits");
}

TEST(TopFrame, ShowsTheNodeAtOneLook) {
  EXPECT_EQ(TopFrame(Data(), Style()),
            "node1  vmeventd 0.1.0  2026-07-01 12:00:00.000\n"
            "VMs       123  RUNNING 120  PAUSED 3  with problems 2\n"
            "Ends      2  USER 1  ADMIN 0  CRASH 1  UNKNOWN 0  in the last 15m\n"
            "Streams   4\n"
            "Journal   writable  events 1 to 4711\n"
            "Lag       answer in 3ms\n"
            "\n"
            "TIME          VM    CLASS  CAUSE\n"
            "12:00:00.123  db1   CRASH  guest poweroff\n"
            "12:00:00.123  web1  USER   guest poweroff\n");
}

TEST(TopFrame, KeepsToTheScreen) {
  TopData data = Data();
  for (int i = 0; i < 100; ++i) data.ends.push_back(data.ends[0]);
  TopStyle style = Style();
  style.width = 40;
  style.height = 12;
  const std::vector<std::string> lines = absl::StrSplit(TopFrame(data, style), '\n');
  EXPECT_EQ(lines.size(), 13U) << "twelve lines with their newlines";
  for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), 40U) << line;
}

TEST(TopFrame, ShowsAFailureAndWhatWasKnownBefore) {
  TopData data = Data();
  data.failure = "nobody listens on the socket";
  EXPECT_THAT(TopFrame(data, Style()),
              testing::AllOf(HasSubstr("\nnobody listens on the socket\n"), HasSubstr("PAUSED 3")));
}

TEST(TopFrame, OneSocketIsNotSockets) {
  TopData data = Data();
  data.info.add_unfollowed_sockets();
  EXPECT_THAT(TopFrame(data, Style()), HasSubstr("1 socket without a VM"));
  data.info.add_unfollowed_sockets();
  EXPECT_THAT(TopFrame(data, Style()), HasSubstr("2 sockets without a VM"));
}

TEST(TopFrame, TheServersTextDoesNotControlTheTerminal) {
  TopData data = Data();
  data.info.set_node("x\x1b[2J");
  data.ends[0].mutable_vm()->set_name("y\x1b[2J");
  EXPECT_THAT(TopFrame(data, Style()), Not(HasSubstr("\x1b")));
}

TEST(LongestLag, IsFromQemuToTheEvent) {
  std::vector<v1::Event> ends = {End(v1::SHUTDOWN_CLASS_USER, "a"),
                                 End(v1::SHUTDOWN_CLASS_USER, "b")};
  EXPECT_EQ(LongestLag(ends), std::nullopt);
  *ends[1].mutable_qemu_time() = ends[1].observe_time();
  ends[1].mutable_qemu_time()->set_nanos(23000000);
  EXPECT_EQ(LongestLag(ends), absl::Milliseconds(100));
}

}  // namespace
}  // namespace vmeventd::client
