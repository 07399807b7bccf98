// The RPCs, and the server around them.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "base/mutex.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "server/disk_wait.h"
#include "server/rpc/health_service.h"
#include "server/rpc/reflection_service.h"
#include "tests/support/documented_services.h"
#include "tests/support/fake_watcher.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/open_call.h"
#include "tests/support/proto_text.h"
#include "tests/support/pumped_state.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_server.h"
#include "tests/support/test_time.h"
#include "tests/support/vm_updates.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/service_health.h"

namespace vmeventd {
namespace {

using ::testing::HasSubstr;

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
                     std::function<void(absl::StatusOr<v1::Intent>)> done) override {
    if (!answer.ok()) return done(answer);
    answering_.emplace_back([this, request, done] {
      before_answer();
      v1::Intent intent;
      intent.set_intent_id(request.intent_id);
      intent.set_actor(request.actor);
      intent.set_reason(request.reason);
      *intent.mutable_expire_time() = ToTimestamp(At(0) + request.ttl);
      intent.set_declared_by(request.declared_by);
      done(intent);
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
  const auto expected = FromText<v1::GetServerInfoResponse>(R"(
      libvirt_connections { uri: 'qemu:///session' connected: true domains: 2
                            since { seconds: 1800000003 } }
      libvirt_connections { uri: 'qemu:///system' problem { code: PROBLEM_CODE_CANNOT_CONNECT text: 'Connection refused' }
                            since { seconds: 1800000005 } })");
  watcher.info = expected;
  server.service().SetWatcher(&watcher);
  const auto info = Ask(&server, &Stub::GetServerInfo);
  EXPECT_THAT(info.DebugString(), HasSubstr(expected.DebugString()));
}

TEST(VmEventService, ConfirmsOnlyDurableIntents) {
  FaultyDisk disk;
  TestServer server;
  IntentWatcher watcher;
  server.service().SetWatcher(&watcher);
  // The disk fails just as the event is published.
  watcher.before_answer = [&] {
    disk.Fail(SQLITE_FULL);
    server.pumped().Push({Update("web1", EventType::kReset)});
  };
  const auto request =
      FromText<v1::DeclareIntentRequest>("vm_name: 'web1' actor: 'alice' reason: 'maintenance'");
  v1::DeclareIntentResponse response;
  grpc::ClientContext declaring;
  const grpc::Status declared = server.NewStub()->DeclareIntent(&declaring, request, &response);
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

// A watcher whose run ends while it handles a declaration, which names no ended run then.
class EndingWatcher : public FakeWatcher {
 public:
  explicit EndingWatcher(TestServer* server) : server_(server) {}
  ~EndingWatcher() override {
    while (std::optional<std::thread> thread = TakeThread()) thread->join();
  }
  void DeclareIntent(IntentRequest request,
                     std::function<void(absl::StatusOr<v1::Intent>)> done) override {
    // The new thread may call this again before it is in the list.
    const MutexLock lock(&mutex_);
    answering_.emplace_back([this, request, done] {
      if (!request.ended.has_value()) {
        VmUpdate end = Stopped("web1", "run-1", ShutdownClass::kAdmin);
        *end.status->mutable_start_time() = ToTimestamp(At(0));
        *end.status->mutable_state_time() = ToTimestamp(At(10));
        server_->pumped().Push({std::move(end)});
        return done(WithReason("NO_SUCH_VM", absl::NotFoundError("no VM runs")));
      }
      done(WithReason("INTENT_IS_LATE", absl::FailedPreconditionError(request.ended->run_id())));
    });
  }

 private:
  std::optional<std::thread> TakeThread() {
    const MutexLock lock(&mutex_);
    if (answering_.empty()) return std::nullopt;
    std::thread thread = std::move(answering_.front());
    answering_.pop_front();
    return thread;
  }

  TestServer* const server_;
  Mutex mutex_;
  std::deque<std::thread> answering_ ABSL_GUARDED_BY(mutex_);
};

TEST(VmEventService, AnIntentForARunThatHasJustEndedIsLate) {
  TestServer server;
  EndingWatcher watcher(&server);
  server.service().SetWatcher(&watcher);
  auto request = FromText<v1::DeclareIntentRequest>("vm_name: 'web1' actor: 'nova' reason: 'stop'");
  *request.mutable_started_before() = ToTimestamp(At(5));
  v1::DeclareIntentResponse response;
  grpc::ClientContext context;
  const grpc::Status late = server.stub()->DeclareIntent(&context, request, &response);
  EXPECT_EQ(late.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_EQ(late.error_message(), "run-1");
}

// Reads what a client learns that knows only what reflection reports.
TEST(Reflection, DescribesEachServiceInBothVersions) {
  TestServer server;
  for (const char* const version : {"v1", "v1alpha"}) {
    OpenCall call(server.NewChannel(), absl::StrCat("/grpc.reflection.", version,
                                                    ".ServerReflection/ServerReflectionInfo"));
    const auto ask = [&](const grpc::reflection::v1::ServerReflectionRequest& request) {
      EXPECT_TRUE(call.Write(request.SerializeAsString()));
      grpc::ByteBuffer bytes;
      EXPECT_TRUE(call.Read(&bytes));
      grpc::Slice slice;
      grpc::reflection::v1::ServerReflectionResponse response;
      EXPECT_TRUE(bytes.DumpToSingleSlice(&slice).ok());
      EXPECT_TRUE(response.ParseFromArray(slice.begin(), static_cast<int>(slice.size())));
      return response;
    };
    google::protobuf::DescriptorPool pool;
    const auto add = [&](const std::string& symbol) {
      grpc::reflection::v1::ServerReflectionRequest request;
      request.set_file_containing_symbol(symbol);
      const auto response = ask(request);
      const auto& files = response.file_descriptor_response().file_descriptor_proto();
      EXPECT_FALSE(files.empty()) << symbol;
      // A file comes before those that it imports.
      for (auto it = files.rbegin(); it != files.rend(); ++it) {
        google::protobuf::FileDescriptorProto file;
        EXPECT_TRUE(file.ParseFromString(*it));
        if (pool.FindFileByName(file.name()) == nullptr) pool.BuildFile(file);
      }
    };
    grpc::reflection::v1::ServerReflectionRequest request;
    request.set_list_services("");
    std::vector<std::string> names;
    const auto services = ask(request);
    for (const auto& listed : services.list_services_response().service()) {
      names.push_back(listed.name());
      add(listed.name());
      const auto* const service = pool.FindServiceByName(listed.name());
      ASSERT_NE(service, nullptr) << listed.name();
      for (int i = 0; i < service->method_count(); ++i) {
        add(service->method(i)->full_name());
        add(service->method(i)->input_type()->full_name());
        add(service->method(i)->output_type()->full_name());
      }
    }
    EXPECT_THAT(names, testing::ElementsAre("vmeventd.v1.VmEventService", "grpc.health.v1.Health",
                                            "grpc.reflection.v1.ServerReflection"));
    EXPECT_TRUE(call.WritesDone());
    EXPECT_TRUE(call.Finish().ok());
  }
}

TEST(HealthTest, TheServerStartsWithTheHealthThatItsPartsReport) {
  TestServer server(GrpcServerOptions{.health = {{"journal", true}, {"third", false}}});
  const Health& health = server.server().health();
  EXPECT_EQ(health.IsServing(""), false);
  EXPECT_EQ(health.IsServing(v1::VmEventService::service_full_name()), false);
  EXPECT_EQ(health.IsServing("listen"), true);
  EXPECT_EQ(health.IsServing("journal"), true);
  EXPECT_EQ(health.IsServing("third"), false);
  EXPECT_EQ(health.IsServing("fourth"), std::nullopt);
}

TEST(HealthTest, TheDaemonHasTheDocumentedServices) {
  TestServer server(GrpcServerOptions{.health = DiskWait::NothingServes()});
  const std::vector<std::string> services = server.server().health().services();
  EXPECT_EQ(std::set<std::string>(services.begin(), services.end()), DocumentedServices());
}

TEST(HealthTest, TheDaemonServesAfterTheFirstScanWhileTheWatcherRespondsUntilTheStop) {
  Health health;
  const auto serves = [&health] {
    const std::optional<bool> daemon = health.IsServing("");
    EXPECT_EQ(daemon, health.IsServing(v1::VmEventService::service_full_name()));
    return daemon.value();
  };
  EXPECT_FALSE(serves());
  health.OnWatcher(false);
  health.OnWatcher(true);
  EXPECT_FALSE(serves()) << "the first scan is not done";
  health.OnFirstScan();
  EXPECT_TRUE(serves());
  health.OnWatcher(false);
  EXPECT_FALSE(serves());
  health.OnWatcher(true);
  EXPECT_TRUE(serves());
  health.OnStop();
  EXPECT_FALSE(serves());
}

TEST(HealthTest, AReportChangesNoOtherService) {
  Health health;
  health.Report({{"journal", true}, {"third", true}});
  health.Report({{"journal", false}});
  EXPECT_EQ(health.IsServing("journal"), false);
  EXPECT_EQ(health.IsServing("third"), true);
}

TEST(HealthTest, TheJournalServesWhileItCanBeWritten) {
  FaultyDisk disk;
  PumpedState pumped;
  const auto serves = [&pumped] {
    const ServiceHealth health = pumped.log().Health();
    EXPECT_STREQ(health.service, EventLog::NotServing().service);
    return health.serves;
  };
  EXPECT_FALSE(EventLog::NotServing().serves);
  EXPECT_TRUE(serves());
  disk.Fail(SQLITE_FULL);
  pumped.PushEach("a", 1);
  EXPECT_FALSE(serves());
}

TEST(Reflection, AnswersEveryKindOfRequest) {
  grpc::reflection::v1::ServerReflectionRequest request;
  request.set_host("somewhere");
  request.set_file_by_filename("google/protobuf/timestamp.proto");
  grpc::reflection::v1::ServerReflectionResponse response = AnswerReflection(request);
  EXPECT_EQ(response.file_descriptor_response().file_descriptor_proto_size(), 1);
  EXPECT_EQ(response.valid_host(), "somewhere");
  EXPECT_EQ(response.original_request().file_by_filename(), "google/protobuf/timestamp.proto");
  request.set_file_by_filename("other.proto");
  EXPECT_EQ(AnswerReflection(request).error_response().error_code(), grpc::NOT_FOUND);
  request.set_all_extension_numbers_of_type("vmeventd.v1.Event");
  EXPECT_EQ(AnswerReflection(request).error_response().error_code(), grpc::NOT_FOUND);
  request.mutable_file_containing_extension()->set_containing_type("vmeventd.v1.Event");
  EXPECT_EQ(AnswerReflection(request).error_response().error_code(), grpc::NOT_FOUND);
  request.clear_message_request();
  EXPECT_EQ(AnswerReflection(request).error_response().error_code(), grpc::INVALID_ARGUMENT);
}

TEST(Reflection, RefusesALargeRequest) {
  TestServer server;
  grpc::reflection::v1::ServerReflectionRequest request;
  request.set_file_by_filename(std::string(kMaxReflectionBytes, 'x'));
  OpenCall call(server.NewChannel(), "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
  ASSERT_TRUE(call.Write(request.SerializeAsString()));
  EXPECT_FALSE(call.Read());
  EXPECT_EQ(call.Finish().error_code(), grpc::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace vmeventd
