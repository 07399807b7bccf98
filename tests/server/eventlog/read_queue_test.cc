#include "server/eventlog/read_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

// A queue whose turns the test takes.
class JournalReadQueueTest : public ::testing::Test {
 protected:
  void Stream(const std::string& peer, const std::string& name) {
    read_queue_.PostForStream(peer, [this, name](const absl::StatusOr<JournalReader*>& reader) {
      Note(name, reader.status());
      return reader.status();
    });
  }
  // A query that takes `turns`.
  void Query(const std::string& peer, const std::string& name, int turns = 1) {
    read_queue_.PostQuery(
        peer, {[this, name, left = std::make_shared<int>(turns)](
                   const absl::StatusOr<JournalReader*>& reader) -> absl::StatusOr<bool> {
                 Note(name, reader.status());
                 if (!reader.ok()) return reader.status();
                 return --*left == 0;
               },
               [this, name] { return name == gone_; }});
  }
  void Note(const std::string& name, const absl::Status& status) {
    done_.push_back(status.ok() ? name
                                : absl::StrCat(name, " ", absl::StatusCodeToString(status.code())));
    last_ = status;
  }
  std::vector<std::string> RunAll() {
    while (read_queue_.RunTurn()) {
    }
    return std::exchange(done_, {});
  }

  PumpedState pumped_;
  JournalReadQueue read_queue_{pumped_.journal_options().path, &pumped_.live_state(),
                               [](const std::string&, const absl::Status&) {}};
  std::vector<std::string> done_;
  absl::Status last_;
  std::string gone_;
};

TEST_F(JournalReadQueueTest, StreamsGoBeforeQueries) {
  Query("a", "query1");
  Query("a", "query2");
  Stream("b", "stream1");
  Stream("b", "stream2");
  EXPECT_THAT(RunAll(), ElementsAre("stream1", "stream2", "query1", "query2"));
}

TEST_F(JournalReadQueueTest, ManyStreamsLeaveEveryEighthTurnToQueries) {
  for (int i = 0; i < 20; ++i) Stream("a", "stream");
  Query("b", "query");
  Query("b", "query");
  const std::vector<std::string> done = RunAll();
  ASSERT_EQ(done.size(), 22u);
  EXPECT_EQ(done[7], "query");
  EXPECT_EQ(done[15], "query");
}

TEST_F(JournalReadQueueTest, PeersAlternate) {
  for (int i = 0; i < 3; ++i) Query("a", absl::StrCat("a", i));
  Query("b", "b0");
  EXPECT_THAT(RunAll(), ElementsAre("a0", "b0", "a1", "a2"));
  for (int i = 0; i < 3; ++i) Stream("a", absl::StrCat("a", i));
  Stream("b", "b0");
  EXPECT_THAT(RunAll(), ElementsAre("a0", "b0", "a1", "a2"));
}

TEST_F(JournalReadQueueTest, ALongQueryHoldsNobodyUp) {
  Query("a", "long", 4);
  Query("a", "short");
  Query("b", "other");
  EXPECT_THAT(RunAll(), ElementsAre("long", "other", "short", "long", "long", "long"));
}

TEST_F(JournalReadQueueTest, OnePeerCannotTakeAllPlaces) {
  for (size_t i = 0; i <= EventLog::kMaxQueriesPerPeer; ++i) Query("a", "a");
  EXPECT_THAT(std::exchange(done_, {}), ElementsAre("a RESOURCE_EXHAUSTED"));
  EXPECT_THAT(last_, Says("500 from a"));
  Query("b", "b");
  const std::vector<std::string> done = RunAll();
  ASSERT_EQ(done.size(), EventLog::kMaxQueriesPerPeer + 1);
  EXPECT_EQ(done[1], "b");
}

TEST_F(JournalReadQueueTest, WhereAllPlacesAreTakenThePeerWithTheMostLosesOne) {
  for (size_t i = 0; i < EventLog::kMaxQueriesPerPeer; ++i) Query("a", "a");
  for (size_t i = 0; i < EventLog::kMaxQueries - EventLog::kMaxQueriesPerPeer - 1; ++i) {
    Query("b", "b");
  }
  Query("c", "c");
  EXPECT_THAT(done_, ElementsAre());
  Query("d", "d");
  EXPECT_THAT(std::exchange(done_, {}), ElementsAre("a RESOURCE_EXHAUSTED"));
  const std::vector<std::string> done = RunAll();
  EXPECT_THAT(std::vector<std::string>(done.begin(), done.begin() + 4),
              ElementsAre("a", "b", "c", "d"));
}

TEST_F(JournalReadQueueTest, WhatNobodyWaitsForIsNotRun) {
  Query("a", "gone", 5);
  Query("a", "kept", 2);
  gone_ = "gone";
  EXPECT_THAT(RunAll(), ElementsAre("gone CANCELLED", "kept", "kept"));
}

TEST_F(JournalReadQueueTest, AfterAStopNothingIsRead) {
  Query("a", "query", 5);
  Stream("a", "stream");
  read_queue_.Stop();
  read_queue_.Run();
  EXPECT_THAT(std::exchange(done_, {}), ElementsAre("stream UNAVAILABLE", "query UNAVAILABLE"));
  Query("a", "query");
  Stream("a", "stream");
  EXPECT_THAT(done_, ElementsAre("query UNAVAILABLE", "stream UNAVAILABLE"));
}

}  // namespace
}  // namespace vmeventd
