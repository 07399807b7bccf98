#include "tests/support/test_server.h"

#include <gtest/gtest.h>

#include <csignal>
#include <utility>

#include "base/token_bucket.h"
#include "google/rpc/status.pb.h"
#include "server/config/listen_address.h"
#include "tests/support/own_channel.h"
#include "tests/support/test_time.h"

namespace vmeventd {

TestServer::TestServer(StreamOptions streams, Ring events, JournalOptions journal)
    : TestServer(streams, events, std::move(journal), {}) {}

TestServer::TestServer(GrpcServerOptions listeners)
    : TestServer({}, {}, {}, std::move(listeners)) {}

TestServer::TestServer(StreamOptions streams, Ring events, JournalOptions journal,
                       GrpcServerOptions listeners)
    : pumped_(events, std::move(journal)),
      hub_(&pumped_.log(), &pumped_.clock(), streams),
      service_({.version = "1.2.3", .node = "node7", .start_time = At(0)}, &pumped_.log(), &hub_,
               &refusals_) {
  pumped_.log().Start(/*pumps=*/false);
  if (listeners.addresses.empty()) {
    listeners.addresses = {ParseListenAddress("unix:" + (directory_ / "s")).value()};
  }
  // The clock stands still, so a real rate would admit only one burst.
  constexpr TokenRate kAnyRate = {1e12, 1e12};
  for (TokenRate* rate : {&listeners.relay.bytes, &listeners.relay.calls, &listeners.relay.resets,
                          &listeners.relay.control}) {
    *rate = kAnyRate;
  }
  // Tests in which much time passes at once are those of the hub, which cuts off clients that do
  // not read.
  listeners.relay.unread = absl::Hours(100'000);
  signal(SIGPIPE, SIG_IGN);  // set by the daemon too: OpenSSL writes to connections that have ended
  if (listeners.list_rate == GrpcServerOptions().list_rate) {
    listeners.list_rate = kAnyRate.per_second;
  }
  absl::StatusOr<std::unique_ptr<GrpcServer>> server =
      GrpcServer::Start(std::move(listeners), &service_, &refusals_, &pumped_.clock());
  EXPECT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  stub_ = NewStub();
}

TestServer::~TestServer() {
  stub_.reset();
  server_.reset();
  pumped_.log().Stop();
}

void TestServer::Pass(absl::Duration time) {
  clock().Advance(time);
  hub_.CheckDeadlines();
}

std::shared_ptr<grpc::Channel> TestServer::NewChannel() const { return ChannelOfItsOwn(address()); }

std::unique_ptr<v1::VmEventService::Stub> TestServer::NewStub() const {
  return v1::VmEventService::NewStub(NewChannel());
}
}  // namespace vmeventd
