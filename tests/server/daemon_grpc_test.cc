// The RPCs, the server around them, and the whole daemon.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <thread>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/daemon.h"
#include "server/transport/listen_socket.h"
#include "tests/support/event_log_for_tests.h"
#include "tests/support/fake_watcher.h"
#include "tests/support/loopback.h"
#include "tests/support/proto_text.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"
#include "tests/support/wait.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

// "SERVING", "NOT_SERVING" or the call's error, from the health service.
std::string Health(const std::shared_ptr<grpc::Channel>& channel, const std::string& service) {
  std::string request;
  if (!service.empty()) {
    request = absl::StrCat("\x0a", std::string(1, static_cast<char>(service.size())), service);
  }
  std::string response;
  const grpc::Status status = RawCall(channel, "/grpc.health.v1.Health/Check", request, &response);
  if (!status.ok()) return absl::StrCat("error ", status.error_code());
  if (response == "\x08\x01") return "SERVING";
  return response == "\x08\x02" ? "NOT_SERVING" : "unknown";
}

using Stub = v1::VmEventService::Stub;

template <typename Request, typename Response>
Response Ask(TestServer* server,
             grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
             const std::type_identity_t<Request>& request = {}) {
  grpc::ClientContext context;
  Response response;
  const grpc::Status status = (server->stub()->*method)(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  return response;
}

// A watcher that accepts intents and answers with `answer`; it answers declarations on another
// thread, as the pump does.
class IntentWatcher : public FakeWatcher {
 public:
  ~IntentWatcher() override {
    for (std::thread& thread : answering_) thread.join();
  }
  void DeclareIntent(IntentRequest request,
                     std::function<void(absl::StatusOr<Intent>)> done) override {
    if (!answer.ok()) return done(answer);
    answering_.emplace_back([this, request, done] {
      before_answer();
      done(Intent{request.intent_id, request.actor, request.reason, At(0) + request.ttl, "",
                  request.declared_by});
    });
  }
  void WithdrawIntent(std::string intent_id, std::function<void(absl::Status)> done) override {
    withdrawn = std::move(intent_id);
    if (answer.ok()) before_answer();
    done(answer);
  }

  absl::Status answer;
  std::string withdrawn;
  std::function<void()> before_answer = [] {};

 private:
  std::vector<std::thread> answering_;
};

TEST(VmEventService, ListsTheConnectionsToLibvirt) {
  TestServer server;
  IntentWatcher watcher;
  watcher.libvirts = {{.uri = "qemu:///session", .connected = true, .since = At(3), .domains = 2},
                      {.uri = "qemu:///system",
                       .problem = {ProblemCode::kCannotConnect, "Connection refused"},
                       .since = At(5)}};
  server.service().SetWatcher(&watcher);
  const auto info = Ask(&server, &Stub::GetServerInfo);
  ASSERT_EQ(info.libvirt_connections_size(), 2);
  const auto expected = FromText<v1::GetServerInfoResponse>(R"(
      libvirt_connections { uri: 'qemu:///session' connected: true domains: 2
                            since { seconds: 1800000003 } }
      libvirt_connections { uri: 'qemu:///system' problem { code: PROBLEM_CODE_CANNOT_CONNECT text: 'Connection refused' }
                            since { seconds: 1800000005 } })");
  EXPECT_THAT(info.DebugString(), HasSubstr(expected.DebugString()));
}

grpc::Status Declare(TestServer& server, v1::DeclareIntentResponse* response,
                     const std::string& vm_name = "web1") {
  v1::DeclareIntentRequest request;
  request.set_vm_name(vm_name);
  request.set_actor("alice");
  request.set_reason("maintenance");
  grpc::ClientContext context;
  return server.NewStub()->DeclareIntent(&context, request, response);
}

TEST(VmEventService, RefusesIntentsWhileTheJournalFails) {
  TestServer server;
  IntentWatcher watcher;
  server.service().SetWatcher(&watcher);
  v1::DeclareIntentResponse response;
  EventLogForTests::SetStatus(&server.pumped().log(), absl::UnavailableError("full"));
  EXPECT_EQ(Declare(server, &response).error_code(), grpc::UNAVAILABLE);
  EventLogForTests::SetStatus(&server.pumped().log(), absl::OkStatus());
  server.service().SetWatcher(nullptr);
  EXPECT_EQ(Declare(server, &response).error_code(), grpc::UNAVAILABLE);
}

TEST(VmEventService, ConfirmsOnlyDurableIntents) {
  TestServer server;
  IntentWatcher watcher;
  server.service().SetWatcher(&watcher);
  // The disk hangs just as the event is published.
  watcher.before_answer = [&] {
    EventLogForTests::SetPublishedDurable(&server.pumped().log(), false);
  };
  v1::DeclareIntentResponse response;
  const grpc::Status declared = Declare(server, &response);
  EXPECT_EQ(declared.error_code(), grpc::UNAVAILABLE);
  EXPECT_THAT(declared.error_message(), HasSubstr("the intent is withdrawn"));
  EXPECT_EQ(watcher.withdrawn.size(), 36u) << "a restart and this daemon agree";

  v1::WithdrawIntentRequest withdraw;
  withdraw.set_intent_id("4711");
  v1::WithdrawIntentResponse withdrawn;
  grpc::ClientContext context;
  EXPECT_EQ(server.NewStub()->WithdrawIntent(&context, withdraw, &withdrawn).error_code(),
            grpc::UNAVAILABLE);
}

TEST(GrpcServer, HealthFollowsTheDaemon) {
  TestServer server;
  EXPECT_EQ(Health(server.NewChannel(), ""), "NOT_SERVING");
  EXPECT_EQ(Health(server.NewChannel(), "vmeventd.v1.VmEventService"), "NOT_SERVING");
  server.server().SetServing(true);
  EXPECT_EQ(Health(server.NewChannel(), ""), "SERVING");
  EXPECT_EQ(Health(server.NewChannel(), "vmeventd.v1.VmEventService"), "SERVING");
  EXPECT_EQ(Health(server.NewChannel(), "other"), absl::StrCat("error ", grpc::NOT_FOUND));
}

// AddressSanitizer watches: the ping's thread must not use what the stop frees.
TEST(GrpcServer, MayStopRightAfterAPing) {
  for (int i = 0; i < 20; ++i) {
    TestServer server;
    std::atomic<bool> answered{false};
    server.server().Probe([] {}, [&answered] { answered = true; });
    EXPECT_TRUE(Eventually([&] { return answered.load(); }));
  }
}

TEST(GrpcServer, SharesNoAddress) {
  TestServer server;
  const TemporaryDirectory directory;
  const ListenAddress socket = ParseListenAddress("unix:" + (directory / "own/s p%c")).value();
  const ListenAddress any_port = ParseListenAddress("127.0.0.1:0").value();
  const auto start = [&server](std::vector<ListenAddress> addresses) {
    return GrpcServer::Start({.addresses = std::move(addresses)}, &server.service(),
                             &server.refusals(), &server.clock());
  };
  absl::StatusOr<std::unique_ptr<GrpcServer>> first = start({socket, any_port});
  ASSERT_TRUE(first.ok()) << first.status();
  const ListenAddress port = (*first)->listeners()[1].address;
  EXPECT_NE(port.port, 0);

  EXPECT_THAT(start({socket}), testing::AllOf(Says("another vmeventd holds this lock"),
                                              Says(absl::StrCat("pid ", getpid()))));
  EXPECT_EQ(access(socket.path.c_str(), F_OK), 0) << "the first server's socket still exists";

  first->reset();
  EXPECT_NE(access(socket.path.c_str(), F_OK), 0) << "it removes its socket";
  EXPECT_TRUE(start({socket, port}).ok());
}

TEST(GrpcServer, ItsThreadsAnswerAProbe) {
  TestServer server;
  for (int i = 0; i < 3; ++i) {
    std::promise<void> acceptor;
    std::promise<void> grpc;
    server.server().Probe([&] { acceptor.set_value(); }, [&] { grpc.set_value(); });
    for (std::promise<void>* const thread : {&acceptor, &grpc}) {
      ASSERT_EQ(thread->get_future().wait_for(absl::ToChronoSeconds(kPatience)),
                std::future_status::ready);
    }
  }
}

TEST(GrpcServer, OpensATakenPortOnceItIsFree) {
  TestServer server;
  const TemporaryDirectory directory;
  const ListenAddress socket = ParseListenAddress("unix:" + (directory / "s")).value();
  ListenAddress port = ParseListenAddress("127.0.0.1:0").value();
  const UniqueFd held = e2e::HoldOnLoopback(&port.port);  // nobody else may get the port
  std::unique_ptr<ListenSocket> other = ListenSocket::Open(port).value();
  const absl::StatusOr<std::unique_ptr<GrpcServer>> started = GrpcServer::Start(
      {.addresses = {socket, port}}, &server.service(), &server.refusals(), &server.clock());
  ASSERT_TRUE(started.ok()) << started.status();
  const auto health = [](const ListenAddress& address) {
    return Health(ChannelOfItsOwn(address.ToString()), "listen");
  };
  EXPECT_TRUE((*started)->listeners()[0].listening);
  EXPECT_FALSE((*started)->listeners()[1].listening);
  EXPECT_EQ(health(socket), "NOT_SERVING");
  other.reset();
  server.clock().Advance(ListenAttempts::kFirstRetry);
  EXPECT_TRUE(Eventually([&]() -> bool { return (*started)->listeners()[1].listening; }));
  EXPECT_EQ(health(port), "SERVING");
}

TEST(Daemon, ServesAndStopsWhenAsked) {
  const TemporaryDirectory directory;
  Config config;
  config.watches = {ParseWatchSpec(directory / "vms:*.kvmd").value()};
  config.listens = {ParseListenAddress("unix:" + (directory / "run/s")).value()};
  config.state_dir = directory / "state";
  const SystemClock clock;
  absl::StatusOr<std::unique_ptr<Daemon>> daemon = Daemon::Create(config, &clock);
  ASSERT_TRUE(daemon.ok()) << daemon.status();
  std::thread run([&daemon] { (*daemon)->Run(); });

  const auto stub = v1::VmEventService::NewStub(
      grpc::CreateChannel("unix:" + (directory / "run/s"), grpc::InsecureChannelCredentials()));
  TestStream stream(stub.get(), {});
  EXPECT_TRUE(stream.Next().has_progress());
  (*daemon)->RequestStop();
  const grpc::Status status = stream.End();
  run.join();
  EXPECT_EQ(status.error_code(), grpc::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "vmeventd is shutting down; resume after sequence 0");
  EXPECT_NE(access((directory / "run/s").c_str(), F_OK), 0);
}

}  // namespace
}  // namespace vmeventd
