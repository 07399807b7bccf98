// What any gRPC client sees: reflection, health, and answers to invalid requests.

#include "gmock/gmock.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

class RpcTest : public E2eTest {
 protected:
  // How a stream with this request is refused.
  grpc::Status Refusal(const v1::WatchEventsRequest& request) {
    return EventStream(daemon().channel(), request).WaitEnd();
  }
  grpc::Status GetVm(const v1::GetVmRequest& request) {
    grpc::ClientContext context;
    v1::GetVmResponse response;
    return daemon().stub().GetVm(&context, request, &response);
  }
};

TEST_F(RpcTest, ReflectionListsAndDescribesTheService) {
  StartDaemon();
  const std::string method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  // ServerReflectionRequest with list_services = "".
  const std::string services = CallRaw(daemon().channel(), method, std::string("\x3a\x00", 2));
  EXPECT_THAT(services, HasSubstr("vmeventd.v1.VmEventService"));
  EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
  // ServerReflectionRequest with file_containing_symbol = the service.
  const std::string symbol = "vmeventd.v1.VmEventService";
  const std::string file =
      CallRaw(daemon().channel(), method,
              "\x22" + std::string(1, static_cast<char>(symbol.size())) + symbol);
  for (const char* name : {"WatchEvents", "ListEvents", "ListVms", "GetVm", "DeclareIntent",
                           "WithdrawIntent", "GetServerInfo"}) {
    EXPECT_THAT(file, HasSubstr(name));
  }
}

TEST_F(RpcTest, LoopbackTcp) {
  DaemonOptions options = Options();
  options.arguments.insert(options.arguments.end(), {"--listen", "127.0.0.1:0"});
  StartDaemon(options);
  const auto channel = grpc::CreateChannel(LoopbackAddress(), grpc::InsecureChannelCredentials());
  grpc::ClientContext context;
  v1::GetServerInfoResponse info;
  const auto stub = v1::VmEventService::NewStub(channel);
  EXPECT_TRUE(stub->GetServerInfo(&context, {}, &info).ok());
  EXPECT_EQ(info.journal_id(), daemon().GetServerInfo().journal_id());
}

TEST_F(RpcTest, SnapshotThenLaterEvents) {
  StartDaemonAndStream();
  const auto guest = StartEmptyGuest("vm1");
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  v1::WatchEventsRequest request;
  request.set_snapshot(true);
  EventStream snapshot(daemon().channel(), request);
  snapshot.WaitProgress();
  guest->manager().Execute("stop");
  snapshot.Wait("vm1", v1::EVENT_TYPE_PAUSED);
  ASSERT_THAT(snapshot.snapshot(), SizeIs(1));
  EXPECT_EQ(snapshot.snapshot()[0].ref().name(), "vm1");
  EXPECT_EQ(TypesOf(snapshot.events()), "PAUSED");
}

TEST_F(RpcTest, AnIdleStreamSendsProgressAtTheRequestedInterval) {
  StartDaemon();
  v1::WatchEventsRequest request;
  request.mutable_progress_interval()->set_seconds(1);
  grpc::ClientContext context;
  const auto deadline = std::chrono::system_clock::now() + absl::ToChronoSeconds(kPatience);
  context.set_deadline(deadline);
  const auto reader = daemon().stub().WatchEvents(&context, request);
  v1::WatchEventsResponse message;
  for (int beat = 0; beat < 3; ++beat) {
    ASSERT_TRUE(reader->Read(&message)) << reader->Finish().error_message();
    EXPECT_TRUE(message.has_progress());
  }
}

TEST_F(RpcTest, StreamIsResumedAfterASequence) {
  StartDaemonAndStream();
  const auto guest = StartEmptyGuest("vm1");
  const uint64_t started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED).sequence();
  guest->manager().Execute("stop");
  stream().Wait("vm1", v1::EVENT_TYPE_PAUSED);
  v1::WatchEventsRequest request;
  request.set_after_sequence(started);
  request.set_journal_id(daemon().GetServerInfo().journal_id());
  EventStream resumed(daemon().channel(), request);
  resumed.Wait("vm1", v1::EVENT_TYPE_PAUSED);
  guest->manager().Execute("quit");
  resumed.Wait("vm1", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(TypesOf(resumed.events()), "PAUSED STOPPED");
}

TEST_F(RpcTest, WrongRequestsNameTheField) {
  StartDaemon();
  v1::WatchEventsRequest resume;
  resume.set_after_sequence(1);
  const grpc::Status without_journal = Refusal(resume);
  EXPECT_EQ(without_journal.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(without_journal.error_message(), HasSubstr("journal_id"));
  resume.set_journal_id("another");
  EXPECT_EQ(Refusal(resume).error_code(), grpc::StatusCode::OUT_OF_RANGE);

  v1::WatchEventsRequest hasty;
  hasty.mutable_progress_interval()->set_nanos(1);
  const grpc::Status too_short = Refusal(hasty);
  EXPECT_EQ(too_short.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(too_short.error_message(), HasSubstr("progress_interval"));

  v1::GetVmRequest get;
  const grpc::Status nameless = GetVm(get);
  EXPECT_EQ(nameless.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(nameless.error_message(), HasSubstr("name"));
  get.set_name("nobody");
  const grpc::Status unknown = GetVm(get);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(unknown.error_message(), HasSubstr("nobody"));
}

}  // namespace
}  // namespace vmeventd::e2e
