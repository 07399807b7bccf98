#include "client/commands/top.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "client/output/table_style.h"
#include "client/output/terminal_text.h"
#include "client/sources/daemon_lists.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"
#include "tests/support/proto_text.h"
#include "tests/support/server_messages.h"
#include "tests/support/string_output.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr int64_t kFrameTime = 1782907200;

v1::Event End(v1::ShutdownClass shutdown_class, const std::string& name) {
  v1::Event end = MakeEvent(1, name);
  end.mutable_observe_time()->set_seconds(kFrameTime - 60);
  end.set_type(v1::EVENT_TYPE_STOPPED);
  end.mutable_shutdown()->set_shutdown_class(shutdown_class);
  end.mutable_shutdown()->set_cause(v1::SHUTDOWN_CAUSE_GUEST_POWEROFF);
  return end;
}

v1::Vm VmIn(v1::VmState state) {
  v1::Vm vm = MakeVm("web1");
  vm.set_state(state);
  return vm;
}

class TopTest : public testing::Test {
 protected:
  TopTest() {
    server_.Start();
    info() = FromText<v1::GetServerInfoResponse>(
        "node: 'node1' version: '1.0.0' streams: 4 journal_writable: true "
        "oldest_sequence: 1 newest_sequence: 4711 events: 37 oldest_time { seconds: 1782900000 }");
    server_.service().list_vms = [this](const v1::ListVmsRequest&, v1::ListVmsResponse* response) {
      if (!vms_status_.ok()) return vms_status_;
      response->mutable_vms()->Assign(vms_.begin(), vms_.end());
      return grpc::Status::OK;
    };
    server_.service().list_events = [this](const v1::ListEventsRequest& request,
                                           v1::ListEventsResponse* response) {
      request_ = request;
      response->mutable_events()->Assign(events_.begin(), events_.end());
      return events_status_;
    };
  }

  v1::GetServerInfoResponse& info() { return server_.service().info; }

  std::optional<Failure> Top(bool live, int frames) {
    TopEnvironment environment;
    environment.live = live;
    environment.style = [this] { return std::pair(style_, height_); };
    environment.wait = [this, frames](absl::Duration pause) {
      pauses_.push_back(pause);
      on_wait_();
      return static_cast<int>(pauses_.size()) == frames;
    };
    DaemonLists lists{DaemonNode(server_.address())};
    return RunTop({}, &lists, &output_, environment);
  }
  std::string Frame() {
    output_.text.clear();
    EXPECT_FALSE(Top(false, 1).has_value());
    return output_.text;
  }

  FakeServer server_;
  StringOutput output_;
  TableStyle style_ = {
      .width = 80, .brief = true, .now = [] { return absl::FromUnixSeconds(kFrameTime); }};
  size_t height_ = 24;
  grpc::Status vms_status_;
  grpc::Status events_status_;
  std::vector<v1::Vm> vms_ = {VmIn(v1::VM_STATE_RUNNING), VmIn(v1::VM_STATE_RUNNING),
                              VmIn(v1::VM_STATE_PAUSED)};
  std::vector<v1::Event> events_ = {End(v1::SHUTDOWN_CLASS_CRASH, "db1"),
                                    End(v1::SHUTDOWN_CLASS_USER, "web1")};
  v1::ListEventsRequest request_;
  std::vector<absl::Duration> pauses_;
  std::function<void()> on_wait_ = [] {};
};

TEST_F(TopTest, AFrameShowsTheStateOfTheNode) {
  vms_[2].add_problems()->set_text("disk full");
  vms_[2].mutable_ref()->set_name("web2");
  events_[1].mutable_shutdown()->add_caveats(v1::SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED);
  EXPECT_EQ(Frame(),
            "node1     vmeventd 1.0.0  2026-07-01 12:00:00.000\n"
            "VMs       3  RUNNING 2  PAUSED 1  with problems 1\n"
            "Ends      2 in the last 15 min: USER 1, CRASH 1\n"
            "Streams   4\n"
            "Journal   writable  37 events since 2026-07-01 10:00:00\n"
            "Answer    in 0 s\n"
            "\n"
            "IN TROUBLE  STATE    AGE  CAUSE\n"
            "web2        PAUSED   -    disk full\n"
            "db1         STOPPED  59s  crashed 59 s ago: guest poweroff\n"
            "why: vmevents why web2 db1\n"
            "\n"
            "TIME             VM    EVENT       CLASS    DETAIL\n"
            "Jul 01 11:59:00  db1   STOPPED     CRASH    guest poweroff\n"
            "Jul 01 11:59:00  web1  STOPPED     USER?    guest poweroff\n");
  EXPECT_THAT(pauses_, testing::IsEmpty());
  EXPECT_THAT(request_.filter().types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_EQ(request_.start_time().seconds(), kFrameTime - int64_t{24} * 60 * 60) << "for crashes";
}

TEST_F(TopTest, AJournalThatCannotBeReadHidesNothingElse) {
  events_status_ = grpc::Status(grpc::UNAVAILABLE, "the journal cannot be opened now");
  EXPECT_THAT(Frame(),
              testing::AllOf(HasSubstr("VMs       3"), HasSubstr("\nEnds      vmeventd at unix:"),
                             HasSubstr("is not available now"), HasSubstr("\nJournal   writable")));
}

TEST_F(TopTest, FitsTheScreen) {
  events_.resize(100, events_[0]);
  style_.width = 40;
  height_ = 12;
  const std::vector<std::string> lines = absl::StrSplit(Frame(), '\n');
  EXPECT_EQ(lines.size(), 13U) << "twelve lines with their newlines";
  for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), 40U) << line;
}

TEST_F(TopTest, CountsTheSocketsWithoutAVmAsFarAsTheyAreListed) {
  info().add_unfollowed_sockets();
  EXPECT_THAT(Frame(), testing::ContainsRegex("Sockets +1 without a VM: see"));
  while (info().unfollowed_sockets_size() < 1000) info().add_unfollowed_sockets();
  EXPECT_THAT(Frame(), HasSubstr("1000 or more without a VM: see vmevents info"));
}

TEST_F(TopTest, TheServersTextDoesNotControlTheTerminal) {
  info().set_node("x\x1b[2J");
  events_[0].mutable_vm()->set_name("y\x1b[2J");
  EXPECT_THAT(Frame(), Not(HasSubstr("\x1b")));
}

TEST_F(TopTest, TheTimeInWhichAGuestWasDownBeforeItsEndIsNoLag) {
  *events_[1].mutable_qemu_time() = events_[1].observe_time();
  const std::string frame = Frame();
  events_[1].mutable_qemu_time()->set_seconds(kFrameTime - 177);
  EXPECT_EQ(Frame(), frame);
}

TEST_F(TopTest, AGapIsNotCountedAsAnEnd) {
  events_ = {End(v1::SHUTDOWN_CLASS_USER, "web1"), MakeEvent(2, "")};
  events_[1].set_type(v1::EVENT_TYPE_GAP);
  events_[1].clear_vm();
  EXPECT_THAT(Frame(), testing::AllOf(HasSubstr("Ends      1 in the last 15 min: USER 1\n"),
                                      Not(HasSubstr("GAP"))));
}

TEST_F(TopTest, RedrawsTheScreenOfATerminal) {
  EXPECT_FALSE(Top(true, 2).has_value());
  EXPECT_THAT(output_.text, HasSubstr("\x1b[H\x1b[Jnode1     vmeventd"));
  EXPECT_THAT(pauses_, ElementsAre(absl::Seconds(2), absl::Seconds(2)));
}

TEST_F(TopTest, ALaterFailureIsShownAboveTheLastDataAndTheServerAskedAgain) {
  std::vector<bool> shown_broken;
  on_wait_ = [&] {
    vms_status_ = pauses_.size() == 1 ? grpc::Status(grpc::INTERNAL, "broken") : grpc::Status::OK;
    shown_broken.push_back(absl::StrContains(output_.text, "broken"));
    EXPECT_THAT(output_.text, HasSubstr("PAUSED 1"));
    output_.text.clear();
  };
  EXPECT_FALSE(Top(true, 3).has_value());
  EXPECT_THAT(shown_broken, ElementsAre(false, true, false));
}

TEST_F(TopTest, AFailureOfTheFirstRequestEndsTheCommand) {
  vms_status_ = grpc::Status(grpc::INTERNAL, "broken");
  EXPECT_TRUE(Top(true, 1).has_value());
  EXPECT_EQ(output_.text, "");
}

}  // namespace
}  // namespace vmeventd::client
