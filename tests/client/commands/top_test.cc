#include "client/commands/top.h"

#include <string>

#include "absl/strings/match.h"
#include "client/connect/connection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

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

  template <typename Run>
  std::optional<Failure> With(const Run& run) {
    const auto stub = v1::VmEventService::NewStub(*Connect(server_.address()));
    CommandContext context;
    context.address = server_.address();
    context.stub = stub.get();
    context.output = &output_;
    return run(context);
  }
  std::optional<Failure> Top(bool live, int frames) {
    TopEnvironment environment;
    environment.live = live;
    environment.style = [] { return TopStyle{}; };
    environment.wait = [this, frames](absl::Duration pause) {
      pauses_.push_back(pause);
      on_wait_();
      if (static_cast<int>(pauses_.size()) == frames) return TopWake::kQuit;
      return pauses_.size() <= wakes_.size() ? wakes_[pauses_.size() - 1] : TopWake::kDue;
    };
    environment.now = [] { return absl::FromUnixSeconds(1782907200); };
    return With([&](const CommandContext& context) { return RunTop({}, context, environment); });
  }
  std::optional<Failure> Timeline(const TimelineCommand& command) {
    return With([&](const CommandContext& context) {
      return RunTimeline(command, context, {.zone = absl::UTCTimeZone()},
                         absl::FromUnixSeconds(1782907200 + 60));
    });
  }

  FakeServer server_;
  StringOutput output_;
  grpc::Status vms_status_;
  std::vector<v1::Event> events_;
  v1::ListEventsRequest request_;
  std::vector<absl::Duration> pauses_;
  std::vector<TopWake> wakes_;  // the first waits
  std::function<void()> on_wait_ = [] {};
};

TEST_F(TopTest, WithoutATerminalItIsOneFrame) {
  EXPECT_FALSE(Top(false, 1).has_value());
  EXPECT_THAT(output_.text, testing::StartsWith("node1  vmeventd"));
  EXPECT_THAT(pauses_, testing::IsEmpty());
  EXPECT_THAT(request_.filter().types(), ElementsAre(v1::EVENT_TYPE_STOPPED));
  EXPECT_EQ(request_.start_time().seconds(), 1782907200 - 900);
}

TEST_F(TopTest, OnATerminalItIsDrawnAgain) {
  EXPECT_FALSE(Top(true, 2).has_value());
  EXPECT_THAT(output_.text, HasSubstr("\x1b[H\x1b[Jnode1  vmeventd"));
  EXPECT_THAT(pauses_, ElementsAre(absl::Seconds(2), absl::Seconds(2)));
}

TEST_F(TopTest, AKeySortsWhatIsShownWithoutAskingAgain) {
  events_ = {MakeEvent(2, "web2"), MakeEvent(1, "db1")};
  wakes_ = {TopWake::kByVm, TopWake::kByTime};
  std::vector<bool> db_is_first;
  on_wait_ = [&] {
    db_is_first.push_back(output_.text.find("db1") < output_.text.find("web2"));
    output_.text.clear();
    events_.clear();
  };
  EXPECT_FALSE(Top(true, 3).has_value());
  EXPECT_THAT(db_is_first, ElementsAre(false, true, false));
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

TEST_F(TopTest, ATimelineIsOfOneNameThatIsNoPattern) {
  events_ = {MakeEvent(1)};
  EXPECT_FALSE(Timeline({"w*[1]?", "", std::nullopt}).has_value());
  EXPECT_THAT(request_.filter().vm_names(), ElementsAre("w[*][[]1][?]"));
  EXPECT_THAT(output_.text, HasSubstr("1 run in"));
}

TEST_F(TopTest, ATimelineWithoutEventsIsNotFound) {
  events_ = {MakeEvent(1)};
  const auto failure = Timeline({"web1", "another-run", std::nullopt});
  ASSERT_TRUE(failure.has_value());
  EXPECT_EQ(failure->code, ExitCode::kNotFound);
}

}  // namespace
}  // namespace vmeventd::client
