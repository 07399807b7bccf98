#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/commands/commands.h"
#include "client/commands/merged.h"
#include "client/connect/connection.h"
#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class MergedListsTest : public testing::Test {
 protected:
  MergedListsTest() {
    for (FakeServer& server : servers_) server.Start();
  }

  // Serves events that were observed at these seconds, in pages of two, named after the second.
  void Serve(size_t node, std::vector<int> seconds) {
    servers_[node].service().list_events = [seconds](const v1::ListEventsRequest& request,
                                                     v1::ListEventsResponse* response) mutable {
      std::sort(seconds.begin(), seconds.end());
      if (request.newest_first()) std::reverse(seconds.begin(), seconds.end());
      size_t next = request.page_token().empty() ? 0 : std::stoull(request.page_token());
      for (int i = 0; i < std::min(2, request.page_size()) && next < seconds.size(); ++i, ++next) {
        v1::Event* event = response->add_events();
        *event = MakeEvent(next + 1, std::to_string(seconds[next]));
        event->mutable_observe_time()->set_seconds(seconds[next]);
      }
      if (next < seconds.size()) response->set_next_page_token(std::to_string(next));
      return grpc::Status::OK;
    };
  }
  void ServeVms(size_t node, const std::vector<std::string>& names) {
    servers_[node].service().list_vms = [names](const v1::ListVmsRequest&,
                                                v1::ListVmsResponse* response) {
      for (const std::string& name : names) *response->add_vms() = MakeVm(name);
      return grpc::Status::OK;
    };
  }

  template <typename Command>
  ExitCode Run(const Command& command) {
    std::unique_ptr<v1::VmEventService::Stub> stubs[2];
    CommandContext contexts[2];
    std::vector<MergedLists::Node> nodes;
    for (size_t i = 0; i < 2; ++i) {
      stubs[i] = v1::VmEventService::NewStub(*Connect(servers_[i].address()));
      contexts[i].address = servers_[i].address();
      contexts[i].stub = stubs[i].get();
      nodes.push_back({i == 0 ? "n0" : "n1", std::make_unique<DaemonLists>(contexts[i])});
    }
    MergedLists lists(std::move(nodes),
                      [this](const std::string& note) { notes_.push_back(note); });
    const std::optional<Failure> failure = RunList(command, &lists, &names_, &output_);
    if (!failure) return ExitCode::kOk;
    notes_.push_back(failure->sentence);
    return failure->code;
  }

  FakeServer servers_[2];
  v1::VmState states_[2] = {};  // of web1 on each node; unspecified: it is not there
  NameFormatter names_;
  StringOutput output_;
  std::vector<std::string> notes_;
};

TEST_F(MergedListsTest, EventsAreMergedByTime) {
  Serve(0, {1, 4, 6, 7});
  Serve(1, {2, 3, 5});
  EXPECT_EQ(Run(EventsCommand{}), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n0/1\nn1/2\nn1/3\nn0/4\nn1/5\nn0/6\nn0/7\n");
}

TEST_F(MergedListsTest, TheNewestFirstAndOnlySoMany) {
  Serve(0, {1, 4, 6, 7});
  Serve(1, {2, 3, 5});
  EventsCommand command;
  command.newest_first = true;
  command.limit = 3;
  EXPECT_EQ(Run(command), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n0/7\nn0/6\nn1/5\n");
}

TEST_F(MergedListsTest, TheLastAreShownOldestFirst) {
  Serve(0, {1, 4, 6, 7});
  Serve(1, {2, 3, 5});
  EventsCommand command;
  command.last = 3;
  EXPECT_EQ(Run(command), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n1/5\nn0/6\nn0/7\n");
}

TEST_F(MergedListsTest, ANodeThatIsDownIsReportedAndTheOthersAreListed) {
  Serve(0, {1, 4});
  servers_[1].Stop();
  EXPECT_EQ(Run(EventsCommand{}), ExitCode::kUnreachable);
  EXPECT_EQ(output_.text, "n0/1\nn0/4\n");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr(servers_[1].address().path)));
}

TEST_F(MergedListsTest, AReaderThatHasGoneEndsItQuietly) {
  Serve(0, std::vector<int>(5000, 1));
  Serve(1, std::vector<int>(5000, 2));
  output_.status = absl::CancelledError("gone");
  EXPECT_EQ(Run(EventsCommand{}), ExitCode::kOk);
}

TEST_F(MergedListsTest, VmsAreSortedByNameAndThenByNode) {
  ServeVms(0, {"a", "c"});
  ServeVms(1, {"a", "b"});
  EXPECT_EQ(Run(VmsCommand{}), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n0/a\nn1/a\nn1/b\nn0/c\n");
}

TEST_F(MergedListsTest, AVmIsFoundOnTheNodeThatHasIt) {
  for (size_t node = 0; node < 2; ++node) {
    servers_[node].service().get_vm = [this, node](const v1::GetVmRequest& request,
                                                   v1::GetVmResponse* response) {
      if (states_[node] == v1::VM_STATE_UNSPECIFIED) {
        return grpc::Status(grpc::StatusCode::NOT_FOUND, "name: no VM");
      }
      *response->mutable_vm() = MakeVm(request.name());
      response->mutable_vm()->set_state(states_[node]);
      response->mutable_vm()->mutable_state_time()->set_seconds(states_[node]);
      return grpc::Status::OK;
    };
  }
  EXPECT_EQ(Run(VmCommand{"web1", ""}), ExitCode::kNotFound);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("no VM \"web1\" is known on the 2 servers")));
  states_[1] = v1::VM_STATE_STOPPED;
  EXPECT_EQ(Run(VmCommand{"web1", ""}), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n1/web1\n");
  output_.text.clear();
  states_[0] = v1::VM_STATE_RUNNING;
  EXPECT_EQ(Run(VmCommand{"web1", ""}), ExitCode::kOk) << "the one that is not stopped";
  EXPECT_EQ(output_.text, "n0/web1\n");
  states_[1] = v1::VM_STATE_PAUSED;
  EXPECT_EQ(Run(VmCommand{"web1", ""}), ExitCode::kFailed);
  EXPECT_THAT(notes_.back(), HasSubstr("on n0, n1; choose one with --server"));
}

TEST_F(MergedListsTest, TheVmsOfANodeThatIsDownAreMissing) {
  servers_[0].Stop();
  ServeVms(1, {"b"});
  EXPECT_EQ(Run(VmsCommand{}), ExitCode::kUnreachable);
  EXPECT_EQ(output_.text, "n1/b\n");
  EXPECT_THAT(notes_, testing::SizeIs(1));
}

}  // namespace
}  // namespace vmeventd::client
