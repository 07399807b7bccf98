#include <mutex>
#include <string>
#include <vector>

#include "client/commands/merged.h"
#include "client/consume/delivery.h"
#include "client/output/formatter.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_server.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Two nodes: the events of the first are of "a", those of the second of "b".
class MergedWatchTest : public testing::Test {
 protected:
  MergedWatchTest() {
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
    Printer printer(&names_, &output_);
    MergedWatch::Environment environment;
    environment.clock = [this] { return Now(); };
    environment.stop = &stop_;
    const auto note = [this](const std::string& sentence) {
      const std::lock_guard<std::mutex> lock(mutex_);
      notes_.push_back(sentence);
    };
    environment.note = note;
    Delivery delivery({&printer, cursor_.get(), {"s0", "s1"}, count, counts_gaps_});
    return delivery.CodeOf(MergedWatch(std::move(nodes), std::move(environment)).Run(&delivery),
                           note);
  }

  // Any thread. It stands still, so that no event gives up waiting for one of the other node; once
  // the test has its note, each look at it takes long.
  absl::Time Now() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (passes_after_a_note_ && !notes_.empty()) now_ += EventMerger::kWindow;
    return now_;
  }

  FakeServer servers_[2];
  NameFormatter names_;
  StringOutput output_;
  StopSource stop_;
  TemporaryDirectory directory_;
  std::unique_ptr<CursorFile> cursor_ = *CursorFile::Open(directory_ / "cursor", {"s0", "s1"});
  std::mutex mutex_;
  std::vector<std::string> notes_;      // under mutex_
  absl::Time now_ = absl::UnixEpoch();  // under mutex_
  bool passes_after_a_note_ = false;
  bool wait_ = true;
  bool counts_gaps_ = true;
};

TEST_F(MergedWatchTest, MergesByTimeAndNamesTheNode) {
  Serve(0, {1, 4, 9});
  Serve(1, {2, 3, 8});
  EXPECT_EQ(Run(4), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n0/a\nn1/b\nn1/b\nn0/a\n");
}

TEST_F(MergedWatchTest, KeepsThePositionOfEachNode) {
  Serve(0, {1, 4, 9});
  Serve(1, {2, 3, 8});
  EXPECT_EQ(Run(4), ExitCode::kOk);
  EXPECT_EQ(cursor_->Find("s0"), (WatchPosition{12, "journal-a"}));
  EXPECT_EQ(cursor_->Find("s1"), (WatchPosition{12, "journal-b"}));
}

TEST_F(MergedWatchTest, CountsTheEventsOfAllNodes) {
  Serve(0, {1, 4});
  Serve(1, {2, 3});
  EXPECT_EQ(Run(3), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n0/a\nn1/b\nn1/b\n");
  EXPECT_EQ(cursor_->Find("s0")->sequence, 11U);
}

TEST_F(MergedWatchTest, AGapThatWasNotAskedForDoesNotCount) {
  counts_gaps_ = false;
  Serve(0, {1, 4});
  Serve(1, {2, 3});
  for (FakeServer& server : servers_) {
    auto& first = server.service().streams.front().messages[1];
    first.mutable_events(0)->set_type(v1::EVENT_TYPE_GAP);
  }
  EXPECT_EQ(Run(1), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n0/a\nn1/b\nn1/b\n");
}

TEST_F(MergedWatchTest, ANodeThatIsDownHoldsUpNobody) {
  servers_[0].Stop();
  Serve(1, {2, 3});
  passes_after_a_note_ = true;
  EXPECT_EQ(Run(2), ExitCode::kOk);
  EXPECT_EQ(output_.text, "n1/b\nn1/b\n");
  ASSERT_FALSE(notes_.empty());
  EXPECT_THAT(notes_[0], HasSubstr(servers_[0].address().path));
}

TEST_F(MergedWatchTest, EndsWhenAllNodesHaveFailed) {
  wait_ = false;
  servers_[0].Stop();
  servers_[1].Stop();
  EXPECT_EQ(Run(std::nullopt), ExitCode::kUnreachable);
  EXPECT_THAT(notes_, testing::SizeIs(2));
}

TEST_F(MergedWatchTest, AStopEndsIt) {
  Serve(0, {1});
  Serve(1, {2});
  output_.after_write = [this] {
    if (!output_.text.empty()) stop_.Stop();
  };
  EXPECT_EQ(Run(std::nullopt), ExitCode::kOk);
}

TEST_F(MergedWatchTest, AFailingOutputEndsIt) {
  Serve(0, {1});
  Serve(1, {2});
  output_.status = absl::UnavailableError("cannot write to standard output: No space left");
  EXPECT_EQ(Run(std::nullopt), ExitCode::kFailed);
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("No space left")));
}

}  // namespace
}  // namespace vmeventd::client
