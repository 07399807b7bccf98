#include "client/sources/fleet_position.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/time/time.h"
#include "client/fleet/clock_skew.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const absl::Time kBegin = absl::FromUnixSeconds(1'782'907'200);  // 2026-07-01T12:00:00Z

// A stream that the test fills, a message each minute, and a watch of it.
class FleetPositionTest : public testing::Test {
 protected:
  void Watch(WatchStart start) { position_ = FleetPosition(std::move(start)); }

  void Store(int count) {
    for (int i = 0; i < count; ++i) messages_[++last_] = now_ += absl::Minutes(1);
  }
  // The stream's limits delete its oldest messages.
  void DeleteThrough(uint64_t sequence) {
    messages_.erase(messages_.begin(), messages_.upper_bound(sequence));
  }
  // An earlier copy of the stream takes its place.
  void RollBackTo(uint64_t sequence) {
    messages_.erase(messages_.upper_bound(sequence), messages_.end());
    last_ = sequence;
  }
  void DeleteStream() {
    RollBackTo(0);
    created_ = "tuesday";
  }
  StreamState State() const {
    StreamState state = {.created = created_, .first = last_ + 1, .last = last_};
    if (!messages_.empty()) {
      state.first = messages_.begin()->first;
      state.first_time = messages_.begin()->second;
      state.last_time = messages_.rbegin()->second;
    }
    return state;
  }

  // Connects; returns what the watch does.
  FleetPosition::Step Connect() {
    std::optional<absl::Time> stored;
    if (const auto wanted = position_.WantedMessage(State())) {
      const auto message = messages_.find(*wanted);
      if (message != messages_.end()) stored = message->second;
    }
    FleetPosition::Step step = position_.OnConnected(State(), stored);
    BeginReading();
    return step;
  }
  void BeginReading() {
    const ReadStart from = position_.ReadFrom();
    const auto* const time = std::get_if<absl::Time>(&from);
    next_ = time != nullptr ? last_ + 1 : std::get<uint64_t>(from);
    if (time == nullptr) return;
    const auto first =
        absl::c_find_if(messages_, [time](const auto& message) { return message.second >= *time; });
    if (first != messages_.end()) next_ = first->first;
  }
  // Reads what the stream has, but for what the filter leaves out. Returns what is not dropped.
  std::vector<uint64_t> Read() {
    std::vector<uint64_t> taken;
    for (auto message = messages_.lower_bound(next_); message != messages_.end(); ++message) {
      next_ = message->first + 1;
      if (left_out_.contains(message->first)) continue;
      if (position_.OnMessage(message->first, message->second)) taken.push_back(message->first);
    }
    return taken;
  }

  static bool Continues(const FleetPosition::Step& step) {
    return std::holds_alternative<FleetPosition::Continue>(step);
  }
  // Connects, which must be a gap.
  FleetPosition::Gap ConnectWithGap() {
    const FleetPosition::Step step = Connect();
    const auto* gap = std::get_if<FleetPosition::Gap>(&step);
    EXPECT_NE(gap, nullptr);
    return gap == nullptr ? FleetPosition::Gap() : *gap;
  }
  // Connects, after which the watch must go on by time.
  FleetPosition::ByTime ConnectByTime() {
    const FleetPosition::Step step = Connect();
    const auto* by_time = std::get_if<FleetPosition::ByTime>(&step);
    EXPECT_NE(by_time, nullptr);
    return by_time == nullptr ? FleetPosition::ByTime() : *by_time;
  }
  // A watch has read five messages, and its connection is lost.
  void ReadFiveAndLose() {
    Store(5);
    EXPECT_TRUE(Continues(Connect()));
    EXPECT_THAT(Read(), ElementsAre(1, 2, 3, 4, 5));
  }

  FleetPosition position_{FromOldest{}};
  std::string created_ = "monday";
  absl::Time now_ = kBegin;
  std::map<uint64_t, absl::Time> messages_;  // when each was stored
  uint64_t last_ = 0;
  uint64_t next_ = 1;  // where the present connection reads on
  std::set<uint64_t> left_out_;
};

// Where a watch begins.

TEST_F(FleetPositionTest, TheFirstConnectionBeginsWhereTheWatchDoes) {
  Store(5);
  const std::pair<WatchStart, std::vector<uint64_t>> rows[] = {
      {FromOldest{}, {1, 2, 3, 4, 5, 6}},
      {FromNow{}, {6}},
      {FromSequence{3, ""}, {4, 5, 6}},
      {FromTime{kBegin + absl::Minutes(3) + kMaxSkew}, {3, 4, 5, 6}}};
  for (const auto& [start, read] : rows) {
    Watch(start);
    EXPECT_TRUE(Continues(Connect()));
    Store(1);
    EXPECT_EQ(Read(), read);
    RollBackTo(5);
  }
}

TEST_F(FleetPositionTest, ATimeWhoseMessagesAreDeletedIsAGapOfNoPosition) {
  Store(5);
  DeleteThrough(3);
  Watch(FromTime{kBegin + absl::Minutes(4)});
  EXPECT_TRUE(Continues(Connect())) << "the fourth is there";
  Watch(FromTime{kBegin + absl::Minutes(3)});
  const FleetPosition::Gap gap = ConnectWithGap();
  EXPECT_THAT(gap.why, HasSubstr("no longer has the messages of that time"));
  EXPECT_EQ(gap.behind, std::nullopt);
  EXPECT_THAT(Read(), ElementsAre(4, 5));
}

TEST_F(FleetPositionTest, WhatIsStoredBeforeTheSecondConnectionIsNotMissedByAWatchFromNow) {
  Store(2);
  Watch(FromNow{});
  Connect();
  EXPECT_THAT(Read(), IsEmpty());
  Store(2);
  EXPECT_TRUE(Continues(Connect()));
  EXPECT_THAT(Read(), ElementsAre(3, 4));
}

TEST_F(FleetPositionTest, ASnapshotIsTakenOnceAndFollowedByWhatItMayNotHave) {
  Watch(FromSnapshot{});
  Store(20);
  EXPECT_TRUE(position_.AwaitsSnapshot());
  position_.OnSnapshot(State());
  EXPECT_FALSE(position_.AwaitsSnapshot());
  EXPECT_EQ(std::get<absl::Time>(position_.ReadFrom()), messages_[20] - kMaxSkew);
  EXPECT_TRUE(Continues(Connect())) << "where the first connection ended before it read";
  EXPECT_THAT(Read(), ElementsAre(15, 16, 17, 18, 19, 20));
}

TEST_F(FleetPositionTest, ASnapshotBesideAnEmptyStreamIsFollowedByItsNextMessage) {
  Watch(FromSnapshot{});
  Store(3);
  DeleteThrough(3);
  position_.OnSnapshot(State());
  BeginReading();
  Store(1);
  EXPECT_THAT(Read(), ElementsAre(4));
}

// The same stream.

TEST_F(FleetPositionTest, AfterALostConnectionItReadsOnAndRepeatsNothing) {
  ReadFiveAndLose();
  Store(2);
  EXPECT_TRUE(Continues(Connect()));
  EXPECT_THAT(Read(), ElementsAre(6, 7));
  EXPECT_EQ(position_.position(),
            (WatchPosition{7, "VMEVENTS of monday", kBegin + absl::Minutes(7)}));
}

TEST_F(FleetPositionTest, AConnectionReadsAThousandMessagesBeforeItsPositionAgain) {
  Store(1'500);
  Connect();
  Read();
  EXPECT_EQ(std::get<uint64_t>(position_.ReadFrom()), 501);
}

TEST_F(FleetPositionTest, AStoredPositionOfTheSameStreamContinues) {
  Store(5);
  for (const absl::Time stored : {messages_[3], absl::InfinitePast()}) {
    Watch(FromSequence{3, "VMEVENTS of monday", stored});
    EXPECT_TRUE(Continues(Connect())) << stored;
    EXPECT_THAT(Read(), ElementsAre(4, 5));
  }
}

TEST_F(FleetPositionTest, OnlyAPositionWhoseTimeIsKnownNeedsItsMessage) {
  Store(5);
  EXPECT_EQ(position_.WantedMessage(State()), std::nullopt);
  Watch(FromSequence{3, "VMEVENTS of monday", messages_[3]});
  EXPECT_EQ(position_.WantedMessage(State()), 3);
  for (const WatchPosition& position :
       {WatchPosition{3, "VMEVENTS of monday"}, WatchPosition{0, "VMEVENTS of monday", kBegin},
        WatchPosition{6, "VMEVENTS of monday", kBegin},
        WatchPosition{3, "VMEVENTS of tuesday", kBegin}}) {
    Watch(position);
    EXPECT_EQ(position_.WantedMessage(State()), std::nullopt);
  }
}

TEST_F(FleetPositionTest, WhatTheLimitsDeleteUpToThePositionIsNoGap) {
  ReadFiveAndLose();
  Store(2);
  DeleteThrough(5);
  EXPECT_TRUE(Continues(Connect()));
  EXPECT_THAT(Read(), ElementsAre(6, 7));
}

TEST_F(FleetPositionTest, WhatTheLimitsDeleteInAnOutageIsOneGap) {
  ReadFiveAndLose();
  Store(5);
  DeleteThrough(7);
  const FleetPosition::Gap gap = ConnectWithGap();
  EXPECT_THAT(gap.why, HasSubstr("no longer has the messages after 5, its oldest is 8"));
  EXPECT_EQ(gap.behind->sequence, 5);
  EXPECT_THAT(Read(), ElementsAre(8, 9, 10));
  EXPECT_FALSE(position_.HasSkipped());
  EXPECT_TRUE(Continues(Connect()));
}

TEST_F(FleetPositionTest, AStreamOfWhichAllWasDeletedInAnOutageIsOneGap) {
  ReadFiveAndLose();
  Store(2);
  DeleteThrough(7);
  EXPECT_THAT(ConnectWithGap().why, HasSubstr("after 5, its oldest is 8"));
  EXPECT_TRUE(Continues(Connect()));
  Store(1);
  EXPECT_THAT(Read(), ElementsAre(8));
}

TEST_F(FleetPositionTest, WhatTheLimitsDeleteBeforeASlowWatchReadsItIsOneGap) {
  ReadFiveAndLose();
  Connect();
  Store(5);
  DeleteThrough(7);
  EXPECT_THAT(Read(), ElementsAre(8, 9, 10));
  EXPECT_TRUE(position_.HasSkipped());
  EXPECT_THAT(position_.OnState(State())->why, HasSubstr("after 5, its oldest is 8"));
  EXPECT_FALSE(position_.HasSkipped());
  EXPECT_FALSE(position_.OnState(State()).has_value());
}

TEST_F(FleetPositionTest, ALossOfWhichNobodyHeardBeforeTheConnectionEndedIsReportedOnTheNext) {
  ReadFiveAndLose();
  Connect();
  Store(5);
  DeleteThrough(7);
  Read();
  EXPECT_THAT(ConnectWithGap().why, HasSubstr("after 5, its oldest is 8"));
}

// The server sends no message that cannot pass the filter.

TEST_F(FleetPositionTest, WhatTheFilterLeavesOutIsNoGap) {
  left_out_ = {2, 3};
  Store(5);
  Connect();
  EXPECT_THAT(Read(), ElementsAre(1, 4, 5));
  EXPECT_TRUE(position_.HasSkipped());
  EXPECT_FALSE(position_.OnState(State()).has_value());
  DeleteThrough(4);
  EXPECT_FALSE(position_.OnState(State()).has_value()) << "it was read before";
}

TEST_F(FleetPositionTest, ThePositionPassesWhatTheFilterLeavesOutOnceAllIsRead) {
  left_out_ = {4, 5};
  Store(5);
  Connect();
  EXPECT_THAT(Read(), ElementsAre(1, 2, 3));
  position_.OnAllRead(State());
  EXPECT_EQ(position_.position(),
            (WatchPosition{5, "VMEVENTS of monday", kBegin + absl::Minutes(5)}));
  Store(1);
  DeleteThrough(5);
  EXPECT_TRUE(Continues(Connect()));
  EXPECT_THAT(Read(), ElementsAre(6));
}

TEST_F(FleetPositionTest, AStateThatIsOlderThanTheLastMessageDoesNotMoveThePositionBack) {
  const StreamState empty = State();
  Connect();
  position_.OnAllRead(empty);
  EXPECT_EQ(position_.position(), std::nullopt);
  Store(3);
  const StreamState older = State();
  Store(2);
  Read();
  position_.OnAllRead(older);
  EXPECT_EQ(position_.position()->sequence, 5);
}

// Another stream: nodes publish again what it lacks.

TEST_F(FleetPositionTest, AStreamThatTookThePlaceOfTheOneReadIsReadByTimeWithOneGap) {
  ReadFiveAndLose();
  const absl::Time since = messages_[5] - kMaxSkew;
  const FleetPosition read = position_;
  const std::map<uint64_t, absl::Time> messages = messages_;
  const auto expect_by_time = [&](const char* what) {
    const FleetPosition::ByTime by_time = ConnectByTime();
    EXPECT_EQ(by_time.since, since) << what;
    EXPECT_THAT(by_time.gap.why, HasSubstr("the position 5 is of another stream")) << what;
    EXPECT_EQ(by_time.gap.behind->sequence, 5) << what;
    EXPECT_EQ(std::get<absl::Time>(position_.ReadFrom()), since) << what;
    EXPECT_EQ(position_.position(), std::nullopt) << what;
    Read();
    EXPECT_FALSE(position_.OnState(State()).has_value()) << what;
    EXPECT_TRUE(Continues(Connect())) << what;
    position_ = read;
    messages_ = messages;
    last_ = 5;
    created_ = "monday";
  };
  now_ += absl::Hours(1);
  DeleteStream();
  Store(7);
  expect_by_time("created again, with as many messages");
  DeleteStream();
  Store(2);
  expect_by_time("created again, with fewer messages");
  RollBackTo(3);
  Store(1);
  expect_by_time("rolled back behind the position");
  RollBackTo(3);
  Store(4);
  expect_by_time("rolled back, and other messages came");
  created_ = "tuesday";
  expect_by_time("restored with all of its messages");
}

TEST_F(FleetPositionTest, MessagesThatWereSkippedInAStreamThatIsGoneAreNoSecondGap) {
  left_out_ = {2};
  Store(5);
  Connect();
  Read();
  EXPECT_TRUE(position_.HasSkipped());
  DeleteStream();
  Store(3);
  DeleteThrough(2);
  ConnectByTime();
  EXPECT_FALSE(position_.HasSkipped());
}

TEST_F(FleetPositionTest, APositionWithoutATimeInAnotherStreamIsReadFromItsOldest) {
  Store(2);
  Watch(FromSequence{7, "VMEVENTS of sunday"});
  EXPECT_EQ(ConnectByTime().since, absl::UnixEpoch() - kMaxSkew);
  EXPECT_THAT(Read(), ElementsAre(1, 2));
}

TEST_F(FleetPositionTest, AStreamThatIsCreatedAgainBeforeAnythingWasReadIsNoGap) {
  Watch(FromNow{});
  Connect();
  DeleteStream();
  Store(2);
  EXPECT_TRUE(Continues(Connect()));
  EXPECT_THAT(Read(), ElementsAre(1, 2));
}

}  // namespace
}  // namespace vmeventd::client
