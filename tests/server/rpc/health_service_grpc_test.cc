#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/standard_services.h"
#include "tests/support/test_server.h"

namespace vmeventd {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// A Health/Watch of one service.
class HealthWatch {
 public:
  HealthWatch(const TestServer& server, const std::string& service)
      : stub_(grpc::health::v1::Health::NewStub(server.NewChannel())) {
    context_.set_deadline(CallDeadline());
    HealthCheckRequest request;
    request.set_service(service);
    reader_ = stub_->Watch(&context_, request);
  }
  HealthCheckResponse::ServingStatus Next() {
    HealthCheckResponse response;
    EXPECT_TRUE(reader_->Read(&response));
    return response.status();
  }
  grpc::Status End() {
    HealthCheckResponse response;
    while (reader_->Read(&response)) {
    }
    return reader_->Finish();
  }
  void Cancel() { context_.TryCancel(); }

 private:
  const std::unique_ptr<grpc::health::v1::Health::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader_;
};

TEST(HealthService, AWatchReportsEachChange) {
  TestServer server;
  HealthWatch daemon(server, "");
  HealthWatch journal(server, "journal");
  HealthWatch other(server, "other");
  EXPECT_EQ(daemon.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(journal.Next(), HealthCheckResponse::SERVING);
  EXPECT_EQ(other.Next(), HealthCheckResponse::SERVICE_UNKNOWN);
  server.server().SetServing(true);
  EXPECT_EQ(daemon.Next(), HealthCheckResponse::SERVING);
  server.server().health().Set("journal", false);
  EXPECT_EQ(journal.Next(), HealthCheckResponse::NOT_SERVING);
  HealthWatch watch(server, "watch");
  EXPECT_EQ(watch.Next(), HealthCheckResponse::SERVING);
  server.server().health().Set("watch", false);
  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  HealthWatch sources(server, "sources");
  EXPECT_EQ(sources.Next(), HealthCheckResponse::NOT_SERVING);
  server.server().health().Set("sources", true);
  EXPECT_EQ(sources.Next(), HealthCheckResponse::SERVING);
  sources.Cancel();
  EXPECT_EQ(sources.End().error_code(), grpc::CANCELLED);
  watch.Cancel();
  other.Cancel();
  EXPECT_EQ(other.End().error_code(), grpc::CANCELLED);
  EXPECT_TRUE(Eventually([&server] { return server.server().open_calls() == 2; }));
}

TEST(HealthService, AWatchReportsNotServingBeforeItEnds) {
  TestServer server;
  server.server().SetServing(true);
  HealthWatch daemon(server, "");
  EXPECT_EQ(daemon.Next(), HealthCheckResponse::SERVING);
  server.server().Shutdown(kPatience);
  EXPECT_EQ(daemon.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(daemon.End().error_code(), grpc::UNAVAILABLE);
}

}  // namespace
}  // namespace vmeventd
