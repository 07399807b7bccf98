#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/commands/watch_loop_fixture.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Two nodes behind one name and port, such as the pods of a headless Service.
class TwoNodesTest : public WatchLoopTest {
 protected:
  TwoNodesTest() {
    server_.Stop();
    server_.UseTcp(grpc::InsecureServerCredentials());
    server_.Start();
    other_.UseTcp(grpc::InsecureServerCredentials(), "127.0.0.2", server_.address().port);
    other_.Start();
    Name(&server_, "node1", "journal-a");
    Name(&other_, "node2", "journal-b");
  }
  static void Name(FakeServer* server, const std::string& node, const std::string& journal) {
    server->service().info.set_node(node);
    server->service().info.set_journal_id(journal);
  }

  ExitCode Follow(const CountedWatch& command) {
    WatchLoop::Environment environment =
        MakeEnvironment(*ParseServerAddress("nodes:" + server_.address().port));
    environment.resolve = [this](const ServerAddress&) { return resolved_; };
    return Run(command, std::move(environment));
  }

  FakeServer other_;
  absl::StatusOr<std::vector<std::string>> resolved_ =
      std::vector<std::string>{"127.0.0.1", "127.0.0.2"};
};

TEST_F(TwoNodesTest, KeepsToItsFirstNode) {
  Serve({ProgressMessage(10), EventsMessage({11})});
  ServeAndHoldOpen({ProgressMessage(11), EventsMessage({12})});
  on_wait_ = [this] {
    resolved_ = std::vector<std::string>{"127.0.0.2", "127.0.0.1"};
    return false;
  };
  EXPECT_EQ(Follow(Count(2)), ExitCode::kOk);
  EXPECT_THAT(PrintedSequences(), ElementsAre(11, 12));
  EXPECT_THAT(other_.service().WatchRequests(), IsEmpty());
  EXPECT_THAT(notes_, ElementsAre(testing::AllOf(HasSubstr("several addresses"),
                                                 HasSubstr("node1 at"), HasSubstr("127.0.0.1")),
                                  HasSubstr("lost the stream"), HasSubstr("connected")));
}

TEST_F(TwoNodesTest, WaitsForItsNodeWhileTheOtherAnswers) {
  Serve({ProgressMessage(10), EventsMessage({11})});
  ServeAndHoldOpen({ProgressMessage(11), EventsMessage({12})});
  on_wait_ = [this] {
    if (waits_.size() == 1) server_.Stop();
    if (waits_.size() == 3) server_.Start();
    return false;
  };
  EXPECT_EQ(Follow(Count(2)), ExitCode::kOk);
  EXPECT_THAT(PrintedSequences(), ElementsAre(11, 12));
  EXPECT_THAT(other_.service().WatchRequests(), IsEmpty());
  EXPECT_THAT(notes_, testing::Contains(testing::AllOf(
                          HasSubstr("is the node node2 with the journal journal-b now"),
                          HasSubstr("following the node node1 with the journal journal-a"))));
}

TEST_F(TwoNodesTest, AnotherServerOnTheSameNodeIsNotFollowed) {
  Name(&other_, "node1", "journal-b");
  Serve({ProgressMessage(10), EventsMessage({11})});
  on_wait_ = [this] {
    server_.Stop();
    return waits_.size() > 2;
  };
  Follow({});
  EXPECT_THAT(PrintedSequences(), ElementsAre(11));
  EXPECT_THAT(other_.service().WatchRequests(), IsEmpty());
}

TEST_F(TwoNodesTest, FollowsItsNodeToAnotherAddress) {
  Serve({ProgressMessage(10), EventsMessage({11})});
  on_wait_ = [this] {
    server_.Stop();
    Name(&other_, "node1-again", "journal-a");
    other_.service().streams.push_back(
        {{ProgressMessage(11), EventsMessage({12})}, grpc::Status::OK, true});
    return waits_.size() > 1;
  };
  EXPECT_EQ(Follow(Count(2)), ExitCode::kOk);
  EXPECT_THAT(PrintedSequences(), ElementsAre(11, 12));
  EXPECT_EQ(other_.service().WatchRequests()[0].after_sequence(), 11U);
}

TEST_F(TwoNodesTest, TakesTheFirstAddressThatAnswers) {
  server_.Stop();
  other_.service().streams.push_back(
      {{ProgressMessage(10), EventsMessage({11})}, grpc::Status::OK, true});
  EXPECT_EQ(Follow(Count(1)), ExitCode::kOk);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("node2 at nodes:")));
  EXPECT_THAT(waits_, IsEmpty());
}

TEST_F(TwoNodesTest, OneAddressOfEachFamilyIsOneNode) {
  resolved_ = std::vector<std::string>{"::1", "127.0.0.1"};
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  EXPECT_EQ(Follow(Count(1)), ExitCode::kOk);
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(TwoNodesTest, ANodeWithANewJournalIsTheSame) {
  Serve({ProgressMessage(10), EventsMessage({11})});
  Serve({}, kOutOfRange);
  ServeAndHoldOpen({ProgressMessage(0, "journal-c"), EventsMessage({1})});
  on_wait_ = [this] {
    Name(&server_, "node1", "journal-c");
    return false;
  };
  EXPECT_EQ(Follow(Count(2)), ExitCode::kOk);
  EXPECT_THAT(PrintedSequences(), ElementsAre(11, 1));
  EXPECT_THAT(notes_, testing::Contains(HasSubstr("GAP: events may be missing")));
}

TEST_F(TwoNodesTest, ANodeThatWasRenamedIsTheSame) {
  server_.service().info.set_node_id("id-1");
  Serve({ProgressMessage(10), EventsMessage({11})});
  ServeAndHoldOpen({ProgressMessage(20, "journal-c"), EventsMessage({21})});
  on_wait_ = [this] {
    Name(&server_, "renamed", "journal-c");
    return false;
  };
  EXPECT_EQ(Follow(Count(2)), ExitCode::kOk);
  EXPECT_THAT(PrintedSequences(), ElementsAre(11, 21));
}

TEST_F(TwoNodesTest, AnotherNodeAtTheSameAddressIsNotFollowed) {
  server_.service().info.set_node_id("id-1");
  resolved_ = std::vector<std::string>{"127.0.0.1"};
  Serve({ProgressMessage(10), EventsMessage({11})});
  on_wait_ = [this] {
    server_.service().info.set_node_id("id-2");
    Name(&server_, "node2", "journal-b");
    return waits_.size() > 2;
  };
  Follow({});
  EXPECT_THAT(PrintedSequences(), ElementsAre(11));
  EXPECT_THAT(server_.service().WatchRequests(), SizeIs(1));
}

TEST_F(TwoNodesTest, WithWaitAnUnknownNameIsWaitedFor) {
  resolved_ = absl::UnavailableError("the host nodes is not known");
  ServeAndHoldOpen({ProgressMessage(10), EventsMessage({11})});
  on_wait_ = [this] {
    resolved_ = std::vector<std::string>{"127.0.0.1"};
    return false;
  };
  CountedWatch command = Count(1);
  command.wait = true;
  EXPECT_EQ(Follow(command), ExitCode::kOk);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("host of nodes:"), HasSubstr("connected")));
}

}  // namespace
}  // namespace vmeventd::client
