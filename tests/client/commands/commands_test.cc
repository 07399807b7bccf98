#include "client/commands/commands.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/connect/connection.h"
#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

// A failure with this code, and a sentence that matches.
MATCHER_P2(Fails, code, sentence, "") {
  return arg.has_value() && arg->code == code &&
         testing::ExplainMatchResult(sentence, arg->sentence, result_listener);
}

class CommandsTest : public testing::Test {
 protected:
  CommandsTest() { server_.Start(); }

  template <typename Command>
  std::optional<Failure> Run(const Command& command) {
    return With([&](const CommandContext& context) {
      if constexpr (requires { RunCommand(command, context); }) {
        return RunCommand(command, context);
      } else {
        DaemonLists lists(context);
        return RunList(command, &lists, &formatter_, &output_);
      }
    });
  }
  std::optional<Failure> With(
      const std::function<std::optional<Failure>(const CommandContext&)>& run) {
    const auto channel = Connect(server_.address());
    const auto stub = v1::VmEventService::NewStub(*channel);
    const auto health = grpc::health::v1::Health::NewStub(*channel);
    return run({server_.address(), stub.get(), health.get(), &formatter_, &output_,
                [this](absl::Duration pause) { pauses_.push_back(pause); }, [] { return 1.0; }});
  }
  size_t Lines() const {
    return static_cast<size_t>(std::count(output_.text.begin(), output_.text.end(), '\n'));
  }

  // Serves the events 1 to `newest` in pages of the requested size.
  void ServeEvents(uint64_t newest) {
    server_.service().list_events = [this, newest](const v1::ListEventsRequest& request,
                                                   v1::ListEventsResponse* response) {
      requests_.push_back(request);
      uint64_t next = request.page_token().empty() ? 1 : std::stoull(request.page_token());
      for (int i = 0; i < request.page_size() && next <= newest; ++i, ++next) {
        *response->add_events() = MakeEvent(next);
      }
      if (next <= newest) response->set_next_page_token(std::to_string(next));
      return grpc::Status::OK;
    };
  }

  FakeServer server_;
  JsonFormatter formatter_;
  StringOutput output_;
  std::vector<v1::ListEventsRequest> requests_;
  std::vector<absl::Duration> pauses_;
};

TEST_F(CommandsTest, EventsReadsAllPages) {
  ServeEvents(2500);
  EXPECT_FALSE(Run(EventsCommand{}).has_value());
  EXPECT_EQ(Lines(), 2500U);
  EXPECT_THAT(requests_, SizeIs(3));
}

TEST_F(CommandsTest, AnEmptyListSaysSo) {
  ServeEvents(0);
  server_.service().list_vms = [](const v1::ListVmsRequest&, v1::ListVmsResponse*) {
    return grpc::Status::OK;
  };
  std::vector<std::string> notes;
  const auto note = [&notes](const std::string& sentence) { notes.push_back(sentence); };
  const auto run = [&](const auto& command) {
    EXPECT_FALSE(With([&](const CommandContext& context) {
      DaemonLists lists(context);
      return RunList(command, &lists, &formatter_, &output_, note);
    }));
  };
  v1::EventFilter of_name;
  of_name.add_vm_names("a");
  run(EventsCommand{});
  run(VmsCommand{});
  run(VmsCommand{.filter = of_name});
  run(VmsCommand{.filter = of_name, .include_stopped = true});
  EXPECT_THAT(notes,
              ElementsAre("no events match", HasSubstr("vmevents doctor"),
                          "no VMs match; --all includes those that have stopped", "no VMs match"));
}

TEST_F(CommandsTest, VmsMayBeChosenByTheirEndAndByTheirRun) {
  server_.service().list_vms = [](const v1::ListVmsRequest&, v1::ListVmsResponse* response) {
    for (const char* name : {"a", "b", "c"}) {
      *response->add_vms() = MakeVm(name);
      response->mutable_vms()->rbegin()->mutable_ref()->set_run_id(name);
    }
    v1::ShutdownDetail* const killed = response->mutable_vms(0)->mutable_shutdown();
    killed->set_class_(v1::SHUTDOWN_CLASS_USER);
    killed->set_cause(v1::SHUTDOWN_CAUSE_HOST_KILL);
    v1::ShutdownDetail* const crashed = response->mutable_vms(1)->mutable_shutdown();
    crashed->set_class_(v1::SHUTDOWN_CLASS_CRASH);
    crashed->set_cause(v1::SHUTDOWN_CAUSE_WATCHDOG);
    return grpc::Status::OK;
  };
  const auto chosen = [this](const VmsCommand& command) {
    output_.text.clear();
    EXPECT_FALSE(Run(command).has_value());
    return Lines() == 1 ? output_.text : std::to_string(Lines());
  };
  VmsCommand by_class;
  by_class.filter.add_classes(v1::SHUTDOWN_CLASS_CRASH);
  EXPECT_THAT(chosen(by_class), HasSubstr("\"name\":\"b\""));
  VmsCommand by_cause;
  by_cause.filter.add_causes(v1::SHUTDOWN_CAUSE_WATCHDOG);
  EXPECT_THAT(chosen(by_cause), HasSubstr("\"name\":\"b\""));
  VmsCommand by_run;
  by_run.filter.add_run_ids("c");
  EXPECT_THAT(chosen(by_run), HasSubstr("\"name\":\"c\""));
  by_run.filter.add_causes(v1::SHUTDOWN_CAUSE_HOST_KILL);
  EXPECT_EQ(chosen(by_run), "0");
}

TEST_F(CommandsTest, EventsStopsAtTheLimit) {
  ServeEvents(5000);
  EventsCommand command;
  command.limit = 1200;
  EXPECT_FALSE(Run(command).has_value());
  EXPECT_EQ(Lines(), 1200U);
  ASSERT_THAT(requests_, SizeIs(2));
  EXPECT_EQ(requests_[0].page_size(), 1000);
  EXPECT_EQ(requests_[1].page_size(), 200);
}

TEST_F(CommandsTest, TheLastEventsAreShownOldestFirst) {
  server_.service().list_events = [this](const v1::ListEventsRequest& request,
                                         v1::ListEventsResponse* response) {
    requests_.push_back(request);
    for (const uint64_t sequence : {9, 8}) *response->add_events() = MakeEvent(sequence);
    return grpc::Status::OK;
  };
  EventsCommand command;
  command.last = 2;
  EXPECT_FALSE(Run(command).has_value());
  EXPECT_EQ(requests_[0].page_size(), 2);
  EXPECT_TRUE(requests_[0].newest_first());
  EXPECT_LT(output_.text.find("\"8\""), output_.text.find("\"9\""));
  output_.text.clear();
  command.newest_first = true;
  EXPECT_FALSE(Run(command).has_value());
  EXPECT_GT(output_.text.find("\"8\""), output_.text.find("\"9\""));
}

TEST_F(CommandsTest, EventsSendsItsOptions) {
  ServeEvents(1);
  EventsCommand command;
  command.since = absl::FromUnixSeconds(5);
  command.until = absl::FromUnixSeconds(9);
  command.newest_first = true;
  command.filter.add_classes(v1::SHUTDOWN_CLASS_CRASH);
  Run(command);
  EXPECT_EQ(requests_[0].start_time().seconds(), 5);
  EXPECT_EQ(requests_[0].end_time().seconds(), 9);
  EXPECT_TRUE(requests_[0].newest_first());
  EXPECT_THAT(requests_[0].filter().classes(), ElementsAre(v1::SHUTDOWN_CLASS_CRASH));
}

TEST_F(CommandsTest, AReaderThatHasGoneEndsTheListQuietly) {
  ServeEvents(5000);
  output_.after_write = [this] {
    if (!output_.text.empty()) output_.status = absl::CancelledError("gone");
  };
  EXPECT_FALSE(Run(EventsCommand{}).has_value());
  EXPECT_THAT(requests_, SizeIs(2));
}

TEST_F(CommandsTest, VmsReadsAllPages) {
  server_.service().list_vms = [](const v1::ListVmsRequest& request,
                                  v1::ListVmsResponse* response) {
    EXPECT_TRUE(request.include_stopped());
    EXPECT_THAT(request.states(), ElementsAre(v1::VM_STATE_STOPPED));
    EXPECT_THAT(request.vm_names(), ElementsAre("web*"));
    EXPECT_THAT(request.sources(), ElementsAre("libvirt:*"));
    *response->add_vms() = MakeVm(request.page_token().empty() ? "web1" : "web2");
    if (request.page_token().empty()) response->set_next_page_token("more");
    return grpc::Status::OK;
  };
  VmsCommand command;
  command.filter.add_vm_names("web*");
  command.filter.add_sources("libvirt:*");
  command.states = {v1::VM_STATE_STOPPED};
  command.include_stopped = true;
  EXPECT_FALSE(Run(command).has_value());
  EXPECT_EQ(Lines(), 2U);
}

TEST_F(CommandsTest, VmAsksForTheRun) {
  server_.service().get_vm = [](const v1::GetVmRequest& request, v1::GetVmResponse* response) {
    EXPECT_EQ(request.name(), "web1");
    EXPECT_EQ(request.run_id(), "run-7");
    *response->mutable_vm() = MakeVm("web1");
    return grpc::Status::OK;
  };
  EXPECT_FALSE(Run(VmCommand{"web1", "run-7"}).has_value());
  EXPECT_THAT(output_.text, HasSubstr("\"name\":\"web1\""));
}

TEST_F(CommandsTest, AVmIsFoundByItsUuid) {
  const std::string uuid = "550e8400-e29b-41d4-a716-446655440000";
  server_.service().get_vm = [&](const v1::GetVmRequest& request, v1::GetVmResponse* response) {
    if (request.uuid().empty()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "name: no VM");
    EXPECT_EQ(request.uuid(), uuid);
    EXPECT_EQ(request.name(), "");
    *response->mutable_vm() = MakeVm("web1");
    return grpc::Status::OK;
  };
  EXPECT_FALSE(Run(VmCommand{uuid, ""}).has_value());
  EXPECT_THAT(output_.text, HasSubstr("\"name\":\"web1\""));
  EXPECT_THAT(Run(VmCommand{"web2", ""}), Fails(ExitCode::kNotFound, testing::_));

  server_.service().get_vm = [&](const v1::GetVmRequest& request, v1::GetVmResponse*) {
    return request.name().empty()
               ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "name: must not be empty")
               : grpc::Status(grpc::StatusCode::NOT_FOUND, "name: no VM");
  };
  EXPECT_THAT(Run(VmCommand{uuid, ""}), Fails(ExitCode::kNotFound, testing::_))
      << "a daemon that knows names alone";
}

TEST_F(CommandsTest, AnUnknownVmIsNotFound) {
  server_.service().get_vm = [](const v1::GetVmRequest&, v1::GetVmResponse*) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND, "name: no VM");
  };
  EXPECT_THAT(Run(VmCommand{"we\nb", ""}),
              Fails(ExitCode::kNotFound, HasSubstr("no VM \"we\\x0ab\" is known")));
}

TEST_F(CommandsTest, AnAmbiguousNameExplainsHowToChoose) {
  server_.service().get_vm = [](const v1::GetVmRequest&, v1::GetVmResponse*) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "name: runs run-1 and run-2");
  };
  EXPECT_THAT(Run(VmCommand{"web1", ""}),
              Fails(ExitCode::kFailed, HasSubstr("run-1 and run-2; choose one with --run RUN_ID")));
}

TEST_F(CommandsTest, InfoPrintsOneObject) {
  server_.service().info.set_node("node1");
  EXPECT_FALSE(Run(InfoCommand{}).has_value());
  EXPECT_EQ(Lines(), 1U);
  EXPECT_THAT(output_.text, HasSubstr("\"node\":\"node1\""));
}

TEST_F(CommandsTest, HealthPrintsTheStatusAndFailsUnlessServing) {
  EXPECT_FALSE(Run(HealthCommand{"", absl::Minutes(1)}).has_value());
  EXPECT_EQ(output_.text, "{\"status\":\"SERVING\"}\n");
  output_.text.clear();
  server_.SetServing(false);
  EXPECT_THAT(Run(HealthCommand{"", absl::Minutes(1)}), Fails(ExitCode::kFailed, testing::_));
  EXPECT_EQ(output_.text, "{\"status\":\"NOT_SERVING\"}\n");
}

TEST_F(CommandsTest, HealthOfAnUnknownServiceIsNotFound) {
  EXPECT_THAT(Run(HealthCommand{"nothing", absl::Minutes(1)}),
              Fails(ExitCode::kNotFound, HasSubstr("vmeventd.v1.VmEventService")));
}

TEST_F(CommandsTest, HealthOfAServerThatDoesNotAnswerEndsInTime) {
  // A socket that listens and never accepts.
  server_.Stop();
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  memcpy(name.sun_path, server_.address().path.data(), server_.address().path.size());
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)), 0);
  ASSERT_EQ(listen(fd, 8), 0);
  const auto failure = Run(HealthCommand{"", absl::Milliseconds(50)});
  close(fd);
  EXPECT_THAT(failure, Fails(ExitCode::kUnreachable, HasSubstr("did not answer in time")));
}

TEST_F(CommandsTest, EventsWaitsForARateLimit) {
  int refusals = 3;
  ServeEvents(1500);
  server_.service().list_events = [this, &refusals, serve = server_.service().list_events](
                                      const v1::ListEventsRequest& request,
                                      v1::ListEventsResponse* response) {
    if (!requests_.empty() && refusals-- > 0) {
      return grpc::Status(grpc::RESOURCE_EXHAUSTED, "too many requests");
    }
    return serve(request, response);
  };
  EXPECT_FALSE(Run(EventsCommand{}).has_value());
  EXPECT_EQ(Lines(), 1500U);
  EXPECT_THAT(pauses_, ElementsAre(absl::Milliseconds(100), absl::Milliseconds(200),
                                   absl::Milliseconds(400)));
}

TEST_F(CommandsTest, AnErrorOfTheServerIsExplained) {
  const std::tuple<grpc::StatusCode, const char*, ExitCode, const char*> rows[] = {
      {grpc::RESOURCE_EXHAUSTED, "too many requests", ExitCode::kFailed, "--max-streams"},
      {grpc::PERMISSION_DENIED, "you may only read", ExitCode::kFailed, "role=operator"},
      {grpc::INVALID_ARGUMENT, "end_time: before start_time", ExitCode::kUsage, "not accept"},
      {grpc::INTERNAL, "the journal cannot be read", ExitCode::kFailed, "could not do this"}};
  for (const auto& [error, message, code, sentence] : rows) {
    server_.service().list_events = [status = grpc::Status(error, message)](
                                        const v1::ListEventsRequest&, v1::ListEventsResponse*) {
      return status;
    };
    EXPECT_THAT(Run(EventsCommand{}), Fails(code, AllOf(HasSubstr(message), HasSubstr(sentence))));
  }
  server_.Stop();
  EXPECT_THAT(Run(InfoCommand{}), Fails(ExitCode::kUnreachable, testing::_));
}

TEST_F(CommandsTest, DeclaresAnIntentAndShowsIt) {
  server_.service().declare_intent = [](const v1::DeclareIntentRequest& request,
                                        v1::DeclareIntentResponse* response) {
    EXPECT_EQ(request.vm_name(), "web1");
    EXPECT_EQ(request.run_id(), "run-1");
    EXPECT_EQ(request.ttl().seconds(), 300);
    response->mutable_intent()->set_intent_id("intent-1");
    response->mutable_intent()->set_actor(request.actor());
    response->mutable_intent()->set_reason(request.reason());
    return grpc::Status::OK;
  };
  const DeclareIntentCommand command = {"web1", "run-1", "alice", "maintenance", absl::Minutes(5)};
  EXPECT_FALSE(Run(command).has_value());
  EXPECT_THAT(output_.text, HasSubstr("\"intent_id\":\"intent-1\""));
  EXPECT_THAT(output_.text, HasSubstr("\"reason\":\"maintenance\""));
}

TEST_F(CommandsTest, ExplainsWhyAnIntentWasNotDeclared) {
  grpc::Status answer;
  server_.service().declare_intent = [&answer](const v1::DeclareIntentRequest&,
                                               v1::DeclareIntentResponse*) { return answer; };
  const DeclareIntentCommand command = {"web1", "", "alice", "maintenance", std::nullopt};
  answer = grpc::Status(grpc::NOT_FOUND, "vm_name: no VM");
  EXPECT_THAT(Run(command), Fails(ExitCode::kNotFound, HasSubstr("\"web1\"")));
  server_.service().get_vm = [](const v1::GetVmRequest&, v1::GetVmResponse* response) {
    *response->mutable_vm() = MakeVm("web1");
    v1::Intent* intent = response->mutable_vm()->mutable_intent();
    intent->set_intent_id("intent-0");
    intent->set_actor("bob");
    intent->set_reason("upgrade");
    intent->mutable_expire_time()->set_seconds(1782907200);
    return grpc::Status::OK;
  };
  answer = grpc::Status(grpc::ALREADY_EXISTS, "the run has the open intent intent-0");
  EXPECT_THAT(Run(command),
              Fails(ExitCode::kFailed,
                    AllOf(HasSubstr("open intent of bob until 2026-07-01T12:00:00.000Z: upgrade"),
                          testing::EndsWith("vmevents intent withdraw intent-0"))));
  // The intent may have ended since.
  server_.service().get_vm = [](const v1::GetVmRequest&, v1::GetVmResponse* response) {
    *response->mutable_vm() = MakeVm("web1");
    return grpc::Status::OK;
  };
  EXPECT_THAT(Run(command),
              Fails(ExitCode::kFailed, AllOf(HasSubstr("intent-0"), HasSubstr("intent list"))));
}

TEST_F(CommandsTest, ListsTheVmsThatHaveAnOpenIntent) {
  server_.service().list_vms = [](const v1::ListVmsRequest&, v1::ListVmsResponse* response) {
    *response->add_vms() = MakeVm("web1");
    *response->add_vms() = MakeVm("web2");
    response->mutable_vms(1)->mutable_intent()->set_intent_id("intent-2");
    return grpc::Status::OK;
  };
  EXPECT_FALSE(Run(IntentsCommand{}).has_value());
  EXPECT_EQ(Lines(), 1U);
  EXPECT_THAT(output_.text, AllOf(testing::StartsWith("{\"vm\":{\"name\":\"web2\""),
                                  HasSubstr("\"intent_id\":\"intent-2\"")));
}

TEST_F(CommandsTest, WithdrawsAnIntent) {
  server_.service().withdraw_intent = [](const v1::WithdrawIntentRequest& request) {
    return request.intent_id() == "intent-1" ? grpc::Status::OK
                                             : grpc::Status(grpc::NOT_FOUND, "no such intent");
  };
  EXPECT_FALSE(Run(WithdrawIntentCommand{"intent-1"}).has_value());
  EXPECT_THAT(Run(WithdrawIntentCommand{"other"}),
              Fails(ExitCode::kNotFound, HasSubstr("\"other\"")));
}

TEST(ConnectToOne, TakesTheFirstAddressThatAnswersAndSaysThatThereAreMore) {
  FakeServer server;
  server.UseTcp(grpc::InsecureServerCredentials(), "127.0.0.2");
  server.Start();
  const ServerAddress address = *ParseServerAddress("nodes:" + server.address().port);
  const auto connected = ConnectToOne(address, [](const ServerAddress&) {
    return std::vector<std::string>{"127.0.0.1", "127.0.0.2", "127.0.0.3"};
  });
  ASSERT_TRUE(connected.ok());
  EXPECT_EQ(connected->address.numeric, "127.0.0.2");
  EXPECT_TRUE(connected->ambiguous);
}

TEST(ConnectToOne, AnUnknownNameIsReportedByTheFirstRequest) {
  const auto connected = ConnectToOne(*ParseServerAddress("nodes:1"), [](const ServerAddress&) {
    return absl::StatusOr<std::vector<std::string>>(absl::UnavailableError("not known"));
  });
  ASSERT_TRUE(connected.ok());
  EXPECT_EQ(connected->address.numeric, "");
  EXPECT_FALSE(connected->ambiguous);
}

NodeEvents NewestFirst(const std::vector<int>& seconds) {
  NodeEvents events;
  for (const int second : seconds) {
    events.push_back({MakeEvent(static_cast<uint64_t>(second) + 100)});
    events.back().event.mutable_observe_time()->set_seconds(second);
  }
  return events;
}

uint64_t After(const WatchStart& start) { return std::get<FromSequence>(start).sequence; }

TEST(StartsOfLast, AreOfAllNodesTogether) {
  const auto starts = StartsOfLast(
      {NewestFirst({9, 5, 4}), NewestFirst({8, 7, 6}), NewestFirst({3, 2, 1})}, std::nullopt, 3);
  ASSERT_EQ(starts.size(), 3U);
  EXPECT_EQ(After(starts[0]), 108U);  // 9
  EXPECT_EQ(After(starts[1]), 106U);  // 8 and 7
  EXPECT_EQ(After(starts[2]), 103U);  // what follows
}

TEST(StartsOfLast, OfANodeWithFewerBeginAtItsOldest) {
  const absl::Time since = absl::FromUnixSeconds(1);
  const auto starts = StartsOfLast({NewestFirst({9}), NewestFirst({})}, std::nullopt, 3);
  EXPECT_TRUE(std::holds_alternative<FromOldest>(starts[0]));
  EXPECT_TRUE(std::holds_alternative<FromOldest>(starts[1]));
  EXPECT_EQ(std::get<FromTime>(StartsOfLast({NewestFirst({9})}, since, 3)[0]).time, since);
  EXPECT_EQ(After(StartsOfLast({NewestFirst({9, 8, 7})}, since, 3)[0]), 106U);
}

}  // namespace
}  // namespace vmeventd::client
