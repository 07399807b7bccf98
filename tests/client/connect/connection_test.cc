#include "client/connect/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <thread>

namespace vmeventd::client {
namespace {

using ::testing::ElementsAre;

const ServerAddress kAddress = ParseServerAddress("node1:9555").value();

TEST(Resolver, ReportsTheSystemsErrorForAnUnknownHost) {
  const auto resolved = ResolveHost(ParseServerAddress("nobody.invalid:80").value());
  EXPECT_TRUE(absl::IsUnavailable(resolved.status())) << resolved.status();
}

TEST(StoppableResolver, PassesTheAnswerOn) {
  const StopSource stop;
  const Resolver good = StoppableResolver(
      [](const ServerAddress& address) -> absl::StatusOr<std::vector<std::string>> {
        return std::vector<std::string>{address.host};
      },
      stop.token());
  EXPECT_THAT(good(kAddress).value(), ElementsAre("node1"));
  const Resolver bad = StoppableResolver(
      [](const ServerAddress&) { return absl::UnavailableError("no such name"); }, stop.token());
  EXPECT_EQ(bad(kAddress).status(), absl::UnavailableError("no such name"));
}

TEST(StoppableResolver, AStopDoesNotWaitForTheSystem) {
  StopSource stop;
  const auto asked = std::make_shared<std::promise<void>>();
  const auto released = std::make_shared<std::promise<void>>();
  const auto gone = std::make_shared<std::promise<void>>();
  const Resolver resolver = StoppableResolver(
      [asked, released, gone](const ServerAddress&) -> absl::StatusOr<std::vector<std::string>> {
        asked->set_value();
        released->get_future().wait();
        gone->set_value_at_thread_exit();
        return std::vector<std::string>{"192.0.2.1"};
      },
      stop.token());
  std::thread stopper([&] {
    asked->get_future().wait();
    stop.Stop();
  });
  EXPECT_TRUE(absl::IsCancelled(resolver(kAddress).status()));
  stopper.join();
  released->set_value();
  gone->get_future().wait();
}

TEST(StoppableResolver, AfterAStopReturnsAtOnce) {
  StopSource stop;
  stop.Stop();
  const auto never = std::make_shared<std::promise<void>>();
  const auto future = std::make_shared<std::shared_future<void>>(never->get_future());
  const Resolver resolver = StoppableResolver(
      [future](const ServerAddress&) -> absl::StatusOr<std::vector<std::string>> {
        future->wait();
        return std::vector<std::string>{};
      },
      stop.token());
  EXPECT_TRUE(absl::IsCancelled(resolver(kAddress).status()));
  never->set_value();
}

TEST(StopSource, AWaitWithoutAStopTimesOut) {
  StopSource stop;
  EXPECT_FALSE(stop.WaitFor(absl::ZeroDuration()));
  EXPECT_FALSE(stop.stopped());
}

TEST(StopSource, StopEndsAWaitOfAnotherThread) {
  StopSource stop;
  bool stopped = false;
  std::thread waiter([&] { stopped = stop.WaitFor(absl::Hours(1)); });
  stop.Stop();
  waiter.join();
  EXPECT_TRUE(stopped);
}

TEST(StopSource, StopsForGood) {
  StopSource stop;
  stop.Stop();
  stop.Stop();
  EXPECT_TRUE(stop.stopped());
  EXPECT_TRUE(stop.WaitFor(absl::Hours(1)));
  stop.SetCall(std::make_shared<grpc::ClientContext>());
  stop.SetCall(nullptr);
}

}  // namespace
}  // namespace vmeventd::client
