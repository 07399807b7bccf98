#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "client/commands/commands.h"
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
  end.mutable_shutdown()->set_shutdown_class(shutdown_class);
  end.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
  return end;
}

TopData Data() {
  return {.now = absl::FromUnixSeconds(1782907200),
          .info = FromText<v1::GetServerInfoResponse>(
              "node: 'node1' version: '1.0.0' streams: 4 journal_writable: true "
              "oldest_sequence: 1 newest_sequence: 4711"),
          .states = {{v1::VM_STATE_RUNNING, 120}, {v1::VM_STATE_PAUSED, 3}},
          .with_problems = 2,
          .window = absl::Minutes(15),
          .ends = {{End(v1::SHUTDOWN_CLASS_CRASH, "db1")}, {End(v1::SHUTDOWN_CLASS_USER, "web1")}},
          .answer_time = absl::Milliseconds(3)};
}

TEST(TopFrame, AClassWithACaveatHasAQuestionMark) {
  TopData data = Data();
  data.ends[1].event.mutable_shutdown()->add_caveats(v1::SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED);
  EXPECT_THAT(TopFrame(data, {}), testing::HasSubstr("web1  USER?  guest poweroff\n"));
}

TEST(TopFrame, ShowsTheNodeAtOneLook) {
  EXPECT_EQ(TopFrame(Data(), {}),
            "node1  vmeventd 1.0.0  2026-07-01 12:00:00.000\n"
            "VMs       123  RUNNING 120  PAUSED 3  with problems 2\n"
            "Ends      2  USER 1  ADMIN 0  CRASH 1  UNKNOWN 0  in the last 15 min\n"
            "Streams   4\n"
            "Journal   writable  events 1 to 4711\n"
            "Lag       answer in 3 ms\n"
            "\n"
            "TIME          VM    CLASS  CAUSE\n"
            "12:00:00.123  db1   CRASH  guest poweroff\n"
            "12:00:00.123  web1  USER   guest poweroff\n");
}

TEST(TopFrame, KeepsToTheScreen) {
  TopData data = Data();
  for (int i = 0; i < 100; ++i) data.ends.push_back(data.ends[0]);
  const std::vector<std::string> lines =
      absl::StrSplit(TopFrame(data, {.width = 40, .height = 12}), '\n');
  EXPECT_EQ(lines.size(), 13U) << "twelve lines with their newlines";
  for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), 40U) << line;
}

TEST(TopFrame, ShowsAFailureAndWhatWasKnownBefore) {
  TopData data = Data();
  data.failure = "nobody listens on the socket";
  EXPECT_THAT(TopFrame(data, {}),
              testing::AllOf(HasSubstr("\nnobody listens on the socket\n"), HasSubstr("PAUSED 3")));
}

TEST(TopFrame, CountsTheSocketsWithoutAVmAsFarAsTheyAreListed) {
  TopData data = Data();
  data.info.add_unfollowed_sockets();
  EXPECT_THAT(TopFrame(data, {}), testing::ContainsRegex("Sockets +1 without a VM: see"));
  while (data.info.unfollowed_sockets_size() < 1000) data.info.add_unfollowed_sockets();
  EXPECT_THAT(TopFrame(data, {}), HasSubstr("1000 or more without a VM: see vmevents info"));
}

TEST(TopFrame, TheServersTextDoesNotControlTheTerminal) {
  TopData data = Data();
  data.info.set_node("x\x1b[2J");
  data.ends[0].event.mutable_vm()->set_name("y\x1b[2J");
  EXPECT_THAT(TopFrame(data, {}), Not(HasSubstr("\x1b")));
}

TEST(TopFrame, TheLongestLagIsFromQemuToTheEvent) {
  TopData data = Data();
  *data.ends[1].event.mutable_qemu_time() = data.ends[1].event.observe_time();
  data.ends[1].event.mutable_qemu_time()->set_nanos(23000000);
  EXPECT_THAT(TopFrame(data, {}), HasSubstr("Lag       at most 100 ms from QEMU to the event"));
}

using testing::ElementsAre;

class TopTest : public testing::Test {
 protected:
  TopTest() {
    server_.Start();
    server_.service().info.set_node("node1");
    server_.service().list_vms = [this](const v1::ListVmsRequest&, v1::ListVmsResponse* response) {
      if (!vms_status_.ok()) return vms_status_;
      *response->add_vms() = MakeVm("web1");
      return grpc::Status::OK;
    };
    server_.service().list_events = [this](const v1::ListEventsRequest& request,
                                           v1::ListEventsResponse* response) {
      request_ = request;
      for (const v1::Event& event : events_) *response->add_events() = event;
      return grpc::Status::OK;
    };
  }

  std::optional<Failure> Top(bool live, int frames) {
    TopEnvironment environment;
    environment.live = live;
    environment.style = [] { return TopStyle{}; };
    environment.wait = [this, frames](absl::Duration pause) {
      pauses_.push_back(pause);
      on_wait_();
      return static_cast<int>(pauses_.size()) == frames;
    };
    environment.now = [] { return absl::FromUnixSeconds(1782907200); };
    return RunTop({}, CommandContext(server_.address(), nullptr, &output_), environment);
  }

  FakeServer server_;
  StringOutput output_;
  grpc::Status vms_status_;
  std::vector<v1::Event> events_;
  v1::ListEventsRequest request_;
  std::vector<absl::Duration> pauses_;
  std::function<void()> on_wait_ = [] {};
};

TEST_F(TopTest, WithoutATerminalItIsOneFrame) {
  EXPECT_FALSE(Top(false, 1).has_value());
  EXPECT_THAT(output_.text, testing::StartsWith("node1  vmeventd"));
  EXPECT_THAT(pauses_, testing::IsEmpty());
  EXPECT_THAT(request_.filter().types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_EQ(request_.start_time().seconds(), 1782907200 - 900);
}

TEST_F(TopTest, AGapIsNoEnd) {
  events_ = {End(v1::SHUTDOWN_CLASS_USER, "web1"), MakeEvent(2, "")};
  events_[1].set_type(v1::EVENT_TYPE_GAP);
  events_[1].clear_vm();
  EXPECT_FALSE(Top(false, 1).has_value());
  EXPECT_THAT(output_.text, HasSubstr("Ends      1  USER 1  ADMIN 0"));
  EXPECT_THAT(output_.text, Not(HasSubstr("UNSPECIFIED")));
}

TEST_F(TopTest, OnATerminalItIsDrawnAgain) {
  EXPECT_FALSE(Top(true, 2).has_value());
  EXPECT_THAT(output_.text, HasSubstr("\x1b[H\x1b[Jnode1  vmeventd"));
  EXPECT_THAT(pauses_, ElementsAre(absl::Seconds(2), absl::Seconds(2)));
}

TEST_F(TopTest, AServerThatFailsLaterIsShownAndAskedAgain) {
  std::vector<bool> shown_broken;
  on_wait_ = [&] {
    vms_status_ = pauses_.size() == 1 ? grpc::Status(grpc::INTERNAL, "broken") : grpc::Status::OK;
    shown_broken.push_back(absl::StrContains(output_.text, "broken"));
    output_.text.clear();
  };
  EXPECT_FALSE(Top(true, 3).has_value());
  EXPECT_THAT(shown_broken, ElementsAre(false, true, false));
}

TEST_F(TopTest, AServerThatFailsAtOnceIsAFailure) {
  vms_status_ = grpc::Status(grpc::INTERNAL, "broken");
  EXPECT_TRUE(Top(true, 1).has_value());
  EXPECT_EQ(output_.text, "");
}

}  // namespace
}  // namespace vmeventd::client
