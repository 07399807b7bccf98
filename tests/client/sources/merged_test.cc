#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "client/commands/events.h"
#include "client/commands/health.h"
#include "client/commands/info.h"
#include "client/commands/intents.h"
#include "client/commands/stats.h"
#include "client/commands/status.h"
#include "client/commands/streams.h"
#include "client/commands/vms.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/delivery.h"
#include "client/sinks/print.h"
#include "client/sources/ask_all.h"
#include "client/sources/daemon_lists.h"
#include "client/sources/event_merger.h"
#include "client/sources/make_source.h"
#include "client/sources/merged_lists.h"
#include "client/sources/merged_source.h"
#include "client/sources/servers.h"
#include "client/sources/watch_start.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"
#include "tests/support/formatters.h"
#include "tests/support/proto_text.h"
#include "tests/support/server_messages.h"
#include "tests/support/string_output.h"
#include "tests/support/vm_paths.h"
#include "tests/support/wait.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class EventMergerTest : public testing::Test {
 protected:
  // An event that was observed at the second `observed`, which is also its sequence.
  void Add(size_t node, int observed) {
    v1::Event event = MakeEvent(static_cast<uint64_t>(observed));
    event.mutable_observe_time()->set_seconds(observed);
    merger_->Add({node, NodeEvents{{event}}}, {});
  }
  void AddPosition(size_t node, uint64_t sequence) {
    merger_->Add({node, ServerPosition{node, {sequence, "journal"}}}, {});
  }
  void End(size_t node) { merger_->Add({node, Source::Ended{}}, {}); }
  // Returns the sequences of the items that need not wait.
  std::vector<uint64_t> Ready() {
    std::vector<uint64_t> sequences;
    for (const auto& item : merger_->Take(1000, {}, absl::ZeroDuration())) {
      if (const auto* events = std::get_if<NodeEvents>(&item.what)) {
        sequences.push_back(events->front().event.sequence());
      } else if (const auto* position = std::get_if<ServerPosition>(&item.what)) {
        sequences.push_back(position->position.sequence);
      }
    }
    return sequences;
  }

  std::unique_ptr<EventMerger> MakeMerger(EventMerger::Order order) {
    return std::make_unique<EventMerger>(2, order, [this] { return now_; });
  }

  absl::Time now_ = absl::UnixEpoch();
  std::unique_ptr<EventMerger> merger_ = MakeMerger({});
};

TEST_F(EventMergerTest, OrdersByTimeWhileAllHaveEvents) {
  for (const int observed : {1, 4, 6}) Add(0, observed);
  for (const int observed : {2, 3, 5}) Add(1, observed);
  EXPECT_THAT(Ready(), ElementsAre(1, 2, 3, 4, 5));
  now_ += EventMerger::Order().window;
  EXPECT_THAT(Ready(), ElementsAre(6));
}

TEST_F(EventMergerTest, AnEventWaitsABoundedTimeForTheOtherNodes) {
  Add(0, 5);
  EXPECT_THAT(Ready(), IsEmpty());
  now_ += EventMerger::Order().window / 2;
  Add(1, 4);
  EXPECT_THAT(Ready(), ElementsAre(4));
  now_ += EventMerger::Order().window / 2;
  EXPECT_THAT(Ready(), ElementsAre(5));
}

TEST_F(EventMergerTest, EventsOfANodeKeepTheirOrderEvenIfItsClockIsSetBack) {
  Add(0, 9);
  Add(0, 1);
  Add(1, 5);
  now_ += EventMerger::Order().window;
  EXPECT_THAT(Ready(), ElementsAre(5, 9, 1));
}

TEST_F(EventMergerTest, ALongHistoryOfOneNodeDoesNotHoldUpTheOther) {
  Add(1, 1000);
  std::vector<uint64_t> all;
  for (int second = 0; second < 100; ++second) {
    Add(0, second);
    now_ += absl::Milliseconds(100);
    for (const uint64_t sequence : Ready()) all.push_back(sequence);
    if (!all.empty() && all.back() == 1000) break;
  }
  EXPECT_LE(now_, absl::UnixEpoch() + EventMerger::Order().longest_wait + absl::Milliseconds(200));
  EXPECT_THAT(all, testing::Contains(1000));
}

TEST_F(EventMergerTest, APositionWaitsOnlyForEarlierEventsOfItsNode) {
  Add(0, 5);
  AddPosition(0, 77);
  AddPosition(1, 88);
  EXPECT_THAT(Ready(), ElementsAre(88));
  now_ += EventMerger::Order().window;
  EXPECT_THAT(Ready(), ElementsAre(5, 77));
}

TEST_F(EventMergerTest, NothingWaitsForANodeThatHasEnded) {
  Add(0, 5);
  EXPECT_THAT(Ready(), IsEmpty());
  End(1);
  EXPECT_THAT(Ready(), ElementsAre(5));
}

TEST_F(EventMergerTest, AnExactOrderWaitsForEachNodeWithoutATimeLimit) {
  merger_ = MakeMerger({absl::InfiniteDuration(), absl::InfiniteDuration(), true});
  Add(0, 5);
  now_ += absl::Hours(1);
  EXPECT_THAT(Ready(), IsEmpty());
  Add(1, 6);
  EXPECT_THAT(Ready(), ElementsAre(6));
  End(1);
  EXPECT_THAT(Ready(), ElementsAre(5));
}

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
    std::vector<NodeLists> nodes;
    for (size_t i = 0; i < 2; ++i) {
      nodes.push_back(
          {i == 0 ? "n0" : "n1", std::make_unique<DaemonLists>(DaemonNode(servers_[i].address()))});
    }
    const auto lists =
        MergeLists(std::move(nodes), [this](const std::string& note) { notes_.push_back(note); });
    std::string empty;
    std::optional<Failure> failure;
    if constexpr (std::is_same_v<Command, StatusCommand>) {
      failure = RunList(command, lists.get(), &formatter_, &output_);
    } else {
      failure = RunList(command, lists.get(), &formatter_, &output_, &empty);
    }
    if (!failure) return ExitCode::kOk;
    notes_.push_back(failure->sentence);
    return failure->code;
  }

  FakeServer servers_[2];
  JsonFormatter formatter_;
  StringOutput output_;
  std::vector<std::string> notes_;
};

TEST_F(MergedListsTest, EventsAreMergedByTimeInEitherOrderUpToTheLimit) {
  Serve(0, {1, 4, 6, 7});
  Serve(1, {2, 3, 5});
  const auto newest_first = FromText<v1::ListEventsRequest>("newest_first: true");
  const std::pair<EventsCommand, const char*> rows[] = {
      {{}, "n0/1\nn1/2\nn1/3\nn0/4\nn1/5\nn0/6\nn0/7\n"},
      {{.request = newest_first, .limit = 3}, "n0/7\nn0/6\nn1/5\n"},
      {{.last = 3}, "n1/5\nn0/6\nn0/7\n"}};
  for (const auto& [command, text] : rows) {
    output_.text.clear();
    EXPECT_EQ(Run(command), ExitCode::kOk);
    EXPECT_EQ(PathsOf(output_.text), text);
  }
}

TEST_F(MergedListsTest, ANodeThatIsDownIsReportedAndTheOthersAreListed) {
  Serve(0, {1, 4});
  servers_[1].Stop();
  EXPECT_EQ(Run(EventsCommand{}), ExitCode::kUnreachable);
  EXPECT_EQ(PathsOf(output_.text), "n0/1\nn0/4\n");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr(servers_[1].address().path)));
}

// The failing server has newer events than the other, and fails after its first page.
TEST_F(MergedListsTest, AServerThatFailsDuringTheListIsWatchedFromWhereTheOthersBegin) {
  Serve(0, {7, 8, 9});
  Serve(1, {1, 2, 3});
  const auto pages = servers_[0].service().list_events;
  servers_[0].service().list_events = [pages](const auto& request, auto* response) {
    if (request.page_token().empty()) return pages(request, response);
    return grpc::Status(grpc::StatusCode::INTERNAL, "the disk");
  };
  for (FakeServer& server : servers_) {
    server.service().streams.push_back({{ProgressMessage(9)}, grpc::Status::OK, true});
  }
  const Servers both = {{servers_[0].address(), servers_[1].address()}, {}, {}};
  WatchCommand command;
  const auto note = [](const std::string& /*note*/) {};
  StopSource stop;
  {
    EXPECT_FALSE(SetStart(both, {}, /*last=*/3, note, &command).has_value());
    const auto source = MakeSource(command, both, {}, &stop, note);
    e2e::WaitUntil("both are watched", [this] {
      return !servers_[0].service().WatchRequests().empty() &&
             !servers_[1].service().WatchRequests().empty();
    });
    stop.Stop();
  }
  // The newest three that came are 9, 8 and 3.
  for (FakeServer& server : servers_) {
    EXPECT_EQ(server.service().WatchRequests()[0].since().seconds(), 3);
  }
}

TEST_F(MergedListsTest, AReaderThatHasGoneEndsTheListQuietly) {
  Serve(0, std::vector<int>(500, 1));
  Serve(1, std::vector<int>(500, 2));
  output_.status = absl::CancelledError("gone");
  EXPECT_EQ(Run(EventsCommand{}), ExitCode::kOk);
}

TEST_F(MergedListsTest, VmsAreSortedByNameAndThenByNode) {
  ServeVms(0, {"a", "c"});
  ServeVms(1, {"a", "b"});
  EXPECT_EQ(Run(VmsCommand{}), ExitCode::kOk);
  EXPECT_EQ(PathsOf(output_.text), "n0/a\nn1/a\nn1/b\nn0/c\n");
}

TEST_F(MergedListsTest, AnUnreachableNodeIsReportedAndTheVmsOfTheOthersAreListed) {
  servers_[0].Stop();
  ServeVms(1, {"b"});
  EXPECT_EQ(Run(VmsCommand{}), ExitCode::kUnreachable);
  EXPECT_EQ(PathsOf(output_.text), "n1/b\n");
  EXPECT_THAT(notes_, testing::SizeIs(1));
}

// Commands that ask each of two nodes.
class AskedNodesTest : public MergedListsTest {
 protected:
  template <typename Command>
  ExitCode Ask(const Command& command) {
    std::vector<DaemonNode> nodes;
    for (size_t i = 0; i < 2; ++i) {
      nodes.emplace_back(servers_[i].address()).name = i == 0 ? "n0" : "n1";
    }
    const auto failure = RunCommand(
        command, CommandContext(std::move(nodes), &formatter_, &output_,
                                [this](const std::string& note) { notes_.push_back(note); }));
    if (!failure) return ExitCode::kOk;
    notes_.push_back(failure->sentence);
    return failure->code;
  }
  // Counts the intents that are declared on the node.
  void TakeIntents(size_t node) {
    servers_[node].service().declare_intent = [this, node](const v1::DeclareIntentRequest& request,
                                                           v1::DeclareIntentResponse* response) {
      ++declared_[node];
      response->mutable_intent()->set_actor(request.actor());
      return grpc::Status::OK;
    };
  }

  int declared_[2] = {};
};

TEST_F(AskedNodesTest, AnUnreachableNodeHasARow) {
  servers_[1].Stop();
  EXPECT_EQ(Ask(HealthCommand{}), ExitCode::kUnreachable);
  EXPECT_EQ(output_.text,
            "{\"node\":\"n0\",\"status\":\"SERVING\"}\n{\"node\":\"n1\",\"status\":\"UNKNOWN\"}\n");
  EXPECT_THAT(notes_, ElementsAre(HasSubstr(servers_[1].address().path)));
}

TEST_F(AskedNodesTest, InfoShowsEachNodeThatAnswers) {
  servers_[0].service().info.set_node("n0");
  servers_[1].Stop();
  EXPECT_EQ(Ask(InfoCommand{}), ExitCode::kUnreachable);
  EXPECT_THAT(output_.text, HasSubstr("\"node\":\"n0\""));
}

TEST_F(AskedNodesTest, AnIntentIsDeclaredOnTheOneNodeThatRunsTheVm) {
  for (const size_t node : {0U, 1U}) TakeIntents(node);
  ServeVms(0, {"web4", "both"});
  ServeVms(1, {"web5", "both"});
  EXPECT_EQ(Ask(DeclareIntentCommand{.name = "web5", .actor = "alice"}), ExitCode::kOk);
  EXPECT_EQ(declared_[0], 0);
  EXPECT_EQ(declared_[1], 1);
  EXPECT_THAT(output_.text, HasSubstr("\"node\":\"n1\""));
  EXPECT_EQ(Ask(DeclareIntentCommand{.name = "both"}), ExitCode::kFailed);
  EXPECT_EQ(Ask(DeclareIntentCommand{.name = "none"}), ExitCode::kNotFound);
  servers_[0].Stop();
  EXPECT_EQ(Ask(DeclareIntentCommand{.name = "web4"}), ExitCode::kUnreachable);
  EXPECT_EQ(declared_[0], 0);
  EXPECT_EQ(declared_[1], 1);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("is on 2 nodes, n0 and n1"),
                                  HasSubstr("is on none of the nodes n0, n1"),
                                  HasSubstr("on no node that answers; ")));
}

TEST_F(AskedNodesTest, StatusHasARowForEachNode) {
  Serve(0, {});
  ServeVms(0, {"a"});
  servers_[0].service().info.set_vms(1);
  servers_[1].Stop();
  EXPECT_EQ(Run(StatusCommand{}), ExitCode::kUnreachable);
  EXPECT_THAT(output_.text, testing::AllOf(HasSubstr("\"vms\":1"), HasSubstr("\"reachable\":true"),
                                           HasSubstr("{\"node\":\"n1\",\"reachable\":false")));
}

TEST(AskAll, AsksEachNodeOnceAndABoundedNumberAtATime) {
  std::mutex mutex;
  std::vector<int> asked(100);
  size_t now = 0;
  size_t most = 0;
  AskAll(
      asked.size(),
      [&](size_t i) {
        {
          const std::lock_guard<std::mutex> lock(mutex);
          ++asked[i];
          most = std::max(most, ++now);
        }
        const std::lock_guard<std::mutex> lock(mutex);
        --now;
      },
      8);
  EXPECT_THAT(asked, testing::Each(1));
  EXPECT_LE(most, 8U);
}

// Two nodes: the events of the first are of "a", those of the second of "b".
class MergedSourceTest : public testing::Test {
 protected:
  MergedSourceTest() {
    for (FakeServer& server : servers_) server.Start();
  }

  // Node `node` sends these events, observed at these seconds.
  void Serve(size_t node, const std::vector<int>& seconds) {
    v1::WatchEventsResponse events;
    uint64_t sequence = 10;
    for (const int second : seconds) {
      v1::Event* event = events.add_events();
      *event = MakeEvent(++sequence, node == 0 ? "a" : "b");
      event->mutable_observe_time()->set_seconds(second);
    }
    servers_[node].service().streams.push_back(
        {{ProgressMessage(10, node == 0 ? "journal-a" : "journal-b"), events},
         grpc::Status::OK,
         true});
  }

  ExitCode Run(std::optional<uint64_t> count) {
    std::vector<WatchedNode> nodes;
    for (size_t i = 0; i < 2; ++i) {
      WatchedNode node = {i == 0 ? "n0" : "n1", {}, servers_[i].address()};
      node.command.wait = wait_;
      nodes.push_back(node);
    }
    Printer printer(&formatter_, &output_);
    const auto note = [this](const std::string& sentence) {
      const std::lock_guard<std::mutex> lock(mutex_);
      notes_.push_back(sentence);
    };
    Delivery delivery({&printer, cursor_.get(), {"s0", "s1"}, count});
    const auto source = WatchNodes(std::move(nodes), &stop_, note, [this] { return Now(); });
    return delivery.Run(source.get(), note);
  }

  // Any thread. The time stands still, so that no event stops waiting for one of the other node.
  // Once the test has its note, each call adds the whole window.
  absl::Time Now() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (passes_after_a_note_ && !notes_.empty()) now_ += EventMerger::Order().window;
    return now_;
  }

  FakeServer servers_[2];
  JsonFormatter formatter_;
  StringOutput output_;
  StopSource stop_;
  TemporaryDirectory directory_;
  std::unique_ptr<CursorFile> cursor_ = *CursorFile::Open(directory_ / "cursor", {"s0", "s1"});
  std::mutex mutex_;
  std::vector<std::string> notes_;      // under mutex_
  absl::Time now_ = absl::UnixEpoch();  // under mutex_
  bool passes_after_a_note_ = false;
  bool wait_ = true;
};

TEST_F(MergedSourceTest, MergesByTimeAndSavesThePositionOfEachNode) {
  Serve(0, {1, 4, 9});
  Serve(1, {2, 3, 8});
  EXPECT_EQ(Run(4), ExitCode::kOk);
  EXPECT_EQ(PathsOf(output_.text), "n0/a\nn1/b\nn1/b\nn0/a\n");
  EXPECT_EQ(cursor_->Find("s0"), (WatchPosition{12, "journal-a"}));
  EXPECT_EQ(cursor_->Find("s1"), (WatchPosition{12, "journal-b"}));
}

TEST_F(MergedSourceTest, ReportsAnOpenStreamBeforeTheFirstEvent) {
  Serve(0, {});
  Serve(1, {});
  const auto source =
      WatchNodes({{"n0", {}, servers_[0].address()}, {"n1", {}, servers_[1].address()}}, &stop_,
                 [](const std::string& /*sentence*/) {});
  Source::Item item = Source::Nothing{};
  while (!std::holds_alternative<Source::Opened>(item)) {
    item = source->Next(absl::InfiniteDuration());
    ASSERT_FALSE(std::holds_alternative<Source::Ended>(item));
  }
}

TEST_F(MergedSourceTest, APositionFromBeforeAnEventDoesNotFollowIt) {
  Serve(0, {1});
  Serve(1, {2});
  std::atomic<int> asked_for_the_time = 0;
  const auto source = WatchNodes(
      {{"n0", {}, servers_[0].address()}, {"n1", {}, servers_[1].address()}}, &stop_,
      [](const std::string& /*sentence*/) {},
      [&asked_for_the_time] {
        ++asked_for_the_time;
        return absl::UnixEpoch();
      });
  // Each node's Opened, position and event have arrived, and are taken together.
  ASSERT_TRUE(Eventually([&] { return asked_for_the_time == 6; }));
  std::optional<uint64_t> reached;
  while (true) {
    const Source::Item item = source->Next(absl::ZeroDuration());
    if (std::holds_alternative<Source::Nothing>(item)) break;
    ASSERT_FALSE(std::holds_alternative<Source::Ended>(item));
    if (const auto* events = std::get_if<NodeEvents>(&item)) {
      ASSERT_EQ(events->front().node.name, "n0");
      reached = events->front().event.sequence();
    } else if (const auto* position = std::get_if<ServerPosition>(&item)) {
      EXPECT_TRUE(position->server == 1 || position->position.sequence >= reached.value_or(0));
    }
  }
  EXPECT_EQ(reached, 11);
}

TEST_F(MergedSourceTest, ANodeThatIsDownHoldsUpNobody) {
  servers_[0].Stop();
  Serve(1, {2, 3});
  passes_after_a_note_ = true;
  EXPECT_EQ(Run(2), ExitCode::kOk);
  EXPECT_EQ(PathsOf(output_.text), "n1/b\nn1/b\n");
  ASSERT_FALSE(notes_.empty());
  EXPECT_THAT(notes_[0], HasSubstr(servers_[0].address().path));
}

TEST_F(MergedSourceTest, EndsWhenAllNodesHaveFailed) {
  wait_ = false;
  servers_[0].Stop();
  servers_[1].Stop();
  EXPECT_EQ(Run(std::nullopt), ExitCode::kUnreachable);
  EXPECT_THAT(notes_, testing::SizeIs(2));
}

TEST_F(MergedSourceTest, AStopEndsIt) {
  Serve(0, {1});
  Serve(1, {2});
  output_.after_write = [this] {
    if (!output_.text.empty()) stop_.Stop();
  };
  EXPECT_EQ(Run(std::nullopt), ExitCode::kOk);
}

}  // namespace
}  // namespace vmeventd::client
