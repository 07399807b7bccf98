// Calls from their headers on: limits on their number, and on the time their request may take.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "server/config/listen_address.h"
#include "server/rpc/incoming_call.h"
#include "tests/support/error_info.h"
#include "tests/support/open_call.h"
#include "tests/support/own_channel.h"
#include "tests/support/raw_call.h"
#include "tests/support/test_server.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr char kListVms[] = "/vmeventd.v1.VmEventService/ListVms";
constexpr char kWatchEvents[] = "/vmeventd.v1.VmEventService/WatchEvents";
constexpr char kHealth[] = "/grpc.health.v1.Health/Check";
constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
constexpr char kNewReflection[] = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

// Lets the time for a request pass until `count` calls were ended for it: a call is counted as open
// a moment before its time begins.
void PassRequestTime(TestServer* server, uint64_t count) {
  ASSERT_TRUE(Eventually([&] {
    server->clock().Advance(CallGate::kRequestTime);
    return server->refusals().value(Refusal::kRequestTime) >= count;
  }));
}

TEST(IncomingCall, AMissingRequestEndsTheCall) {
  TestServer server;
  const auto channel = server.NewChannel();
  std::vector<std::unique_ptr<OpenCall>> calls;
  for (const char* method : {kListVms, kWatchEvents, kHealth, kReflection, kNewReflection}) {
    calls.push_back(std::make_unique<OpenCall>(channel, method));
  }
  ASSERT_TRUE(Eventually([&] { return server.server().open_calls() == 5; }));
  PassRequestTime(&server, 5);
  for (const auto& call : calls) {
    const grpc::Status status = call->Finish();
    EXPECT_EQ(status.error_code(), grpc::DEADLINE_EXCEEDED);
    EXPECT_THAT(status.error_message(), HasSubstr("the request was not complete within 10s"));
  }
  EXPECT_EQ(server.refusals().value(Refusal::kRequestTime), 5);
  EXPECT_TRUE(Eventually([&] { return server.server().open_calls() == 0; }));
}

TEST(IncomingCall, AStreamWithItsRequestContinues) {
  TestServer server;
  OpenCall call(server.NewChannel(), kWatchEvents);
  ASSERT_TRUE(call.Write(""));
  ASSERT_TRUE(call.Read()) << "its first progress";
  OpenCall late(server.NewChannel(), kListVms);
  PassRequestTime(&server, 1);
  EXPECT_EQ(late.Finish().error_code(), grpc::DEADLINE_EXCEEDED);
  server.PushEach("a", 1);
  EXPECT_TRUE(call.Read());
}

TEST(IncomingCall, ACallWithoutARequestIsRefused) {
  TestServer server;
  OpenCall call(server.NewChannel(), kListVms);
  ASSERT_TRUE(call.WritesDone());
  EXPECT_EQ(call.Finish().error_code(), grpc::INVALID_ARGUMENT);
}

TEST(IncomingCall, AMethodThatDoesNotExistIsUnimplemented) {
  TestServer server;
  for (const char* method : {"/grpc.health.v1.Health/Watch", "/vmeventd.v1.VmEventService/Other"}) {
    std::string response;
    EXPECT_EQ(RawCall(server.NewChannel(), method, "", &response).error_code(),
              grpc::UNIMPLEMENTED);
  }
}

TEST(IncomingCall, ACallOfAnyMethodCountsForItsPeer) {
  const TemporaryDirectory directory;
  TestServer server({.addresses = {ParseListenAddress("unix:" + (directory / "s")).value(),
                                   ParseListenAddress("127.0.0.1:0").value()},
                     .calls = {.streams_of_peer = 1}});
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  std::vector<std::unique_ptr<OpenCall>> calls;
  for (int i = 0; i < 500; ++i) {
    if (i % 100 == 0) channels.push_back(server.NewChannel());  // 101 on one connection
    calls.push_back(std::make_unique<OpenCall>(channels.back(),
                                               std::vector{kHealth, kListVms, kReflection}[i % 3]));
  }
  ASSERT_TRUE(Eventually([&] { return server.server().open_calls() == 500; }));
  OpenCall refused(server.NewChannel(), kListVms);
  const grpc::Status status = refused.Finish();
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("at most 500 may be open from user "));
  EXPECT_EQ(ReasonOf(status), "TOO_MANY_CALLS");
  EXPECT_THAT(FactsOf(status), ElementsAre(Pair("limit", "500")));
  EXPECT_EQ(server.refusals().value(Refusal::kCallsPerPeer), 1);
  OpenCall stream(server.NewChannel(), kWatchEvents);
  ASSERT_TRUE(stream.Write(""));
  EXPECT_TRUE(stream.Read()) << "streams are counted separately";

  std::string response;
  EXPECT_TRUE(RawCall(ChannelOfItsOwn(server.server().listeners()[1].address.ToString()), kListVms,
                      "", &response)
                  .ok())
      << "another peer";
  calls.pop_back();
  EXPECT_TRUE(Eventually([&] {
    std::string answer;
    return RawCall(server.NewChannel(), kListVms, "", &answer).ok();
  })) << "one that ended makes room";
}

// Every call that is open when the server stops, or arrives during the stop, ends with UNAVAILABLE.
TEST(Shutdown, EveryCallEndsWithUnavailable) {
  for (int round = 0; round < 3; ++round) {
    TestServer server;
    server.server().health().OnFirstScan();
    std::atomic<bool> stop = false;
    std::atomic<int> answered = 0;
    std::vector<grpc::Status> ends[4];
    std::vector<std::thread> threads;
    for (auto& own : ends) {
      threads.emplace_back([&] {
        const auto channel = server.NewChannel();
        while (!stop) {
          std::string response;
          const grpc::Status status = RawCall(channel, kListVms, "", &response);
          // On a busy machine more calls are answered than the server has put away.
          if (status.error_code() == grpc::RESOURCE_EXHAUSTED) continue;
          if (!status.ok()) {
            own.push_back(status);
            return;
          }
          ++answered;
        }
      });
    }
    const auto channel = server.NewChannel();
    std::vector<std::unique_ptr<OpenCall>> open;
    for (int i = 0; i < 20; ++i) {
      open.push_back(std::make_unique<OpenCall>(
          channel, std::vector{kWatchEvents, kReflection, kListVms, kHealth}[i % 4]));
      if (i % 4 < 2) {
        ASSERT_TRUE(open.back()->Write(""));
        ASSERT_TRUE(open.back()->Read());
      }
    }
    ASSERT_TRUE(Eventually([&] { return answered > 10; }));
    server.hub().Drain(absl::Seconds(5));
    server.server().Shutdown(absl::Seconds(5));
    stop = true;
    for (std::thread& thread : threads) thread.join();
    for (const auto& call : open) {
      while (call->Read()) {
      }
      EXPECT_EQ(call->Finish().error_code(), grpc::UNAVAILABLE);
    }
    for (const auto& own : ends) {
      for (const grpc::Status& status : own) {
        EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE) << status.error_message();
      }
    }
  }
}

}  // namespace
}  // namespace vmeventd
