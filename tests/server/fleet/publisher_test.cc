#include "server/fleet/publisher.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/events/event_codec.h"
#include "tests/support/fake_fleet.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_events.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::vector<uint64_t> UpTo(uint64_t last) {
  std::vector<uint64_t> out;
  for (uint64_t sequence = 1; sequence <= last; ++sequence) out.push_back(sequence);
  return out;
}

class FleetPublisherTest : public testing::Test {
 protected:
  explicit FleetPublisherTest(JournalOptions journal = {}) : state_({}, std::move(journal)) {}

  void Push(int count) {
    state_.Push(
        std::vector<VmUpdate>(static_cast<size_t>(count), Update("vm1", EventType::kReset)));
  }

  // As after a start of the daemon.
  void Start(double events_per_second = 1e9, absl::Duration heartbeat = absl::ZeroDuration()) {
    publisher_.reset();
    publisher_ = std::make_unique<FleetPublisher>(
        PublisherOptions{.cluster = "c",
                         .node = "n",
                         .events_per_second = events_per_second,
                         .heartbeat = heartbeat},
        &sink_, &outbox_, PositionFile::Open(directory_ / "fleet", "c.n").value(), &state_.clock(),
        [this] { return random_; });
  }
  // A daemon that starts publishes so many events more, of which the stream drops these.
  void StartLosing(int count, std::set<size_t> lost) {
    PushAndStart(count);
    sink_.lost = std::move(lost);
    publisher_->Step();
  }
  // Publishes six events more, of which the stream drops the first and the fourth.
  void PushWithHoles() {
    Push(6);
    sink_.lost = {0, 3};
    publisher_->Step();
  }
  // Sends three events that nobody acknowledges; returns their messages.
  std::vector<FakeSink::Stored> SendThree() {
    Push(3);
    sink_.acknowledge_only = 0;
    publisher_->Step();
    return {sink_.stream.end() - 3, sink_.stream.end()};
  }
  // The sequences of the stream once these two have come late, after `last` others.
  static std::vector<uint64_t> WithHolesFilledAfter(uint64_t last) {
    std::vector<uint64_t> out = UpTo(last);
    for (const uint64_t nth : {2, 3, 5, 6, 1, 4}) out.push_back(last + nth);
    return out;
  }
  // Steps, and lets the time pass, until there is nothing to do.
  void Settle() {
    for (int i = 0; i < 1000; ++i) {
      const absl::Duration wait = publisher_->Step();
      const bool connected = publisher_->meters().connected.value() == 1;
      if (connected && wait >= FleetPublisher::kIdleCheck) return;
      state_.clock().Advance(wait);
    }
    FAIL() << "it never comes to rest";
  }
  void Restart() {
    Start();
    Settle();
  }
  void RestartWithoutFile() {
    std::filesystem::remove(directory_ / "fleet");
    Restart();
  }
  void PushAndStart(int count) {
    Push(count);
    Start();
  }
  void PushAndSettle(int count) {
    Push(count);
    Settle();
  }
  // The stream is again as it was after so many messages.
  void RestoreStream(size_t messages) {
    sink_.stream.resize(messages);
    sink_.last_stream_sequence = messages;
  }
  // Publishes so many events more, by a daemon that has just started.
  void Publish(int count) {
    Push(count);
    Restart();
  }
  void LookAgain() {
    state_.clock().Advance(kLookInterval);
    Settle();
  }
  // The first and the last event that each GAP of the stream names.
  std::vector<std::pair<uint64_t, uint64_t>> Gaps() const {
    std::vector<std::pair<uint64_t, uint64_t>> gaps;
    for (const FakeSink::Stored& stored : sink_.stream) {
      v1::Event event;
      EXPECT_TRUE(event.ParseFromString(stored.message.payload));
      if (!event.has_missing()) continue;
      EXPECT_EQ(event.type(), v1::EVENT_TYPE_GAP);
      gaps.emplace_back(event.missing().first(), event.missing().last());
    }
    return gaps;
  }

  PumpedState state_;
  FakeSink sink_;
  DirectOutbox outbox_{&state_};
  const TemporaryDirectory directory_;
  double random_ = 1;
  std::unique_ptr<FleetPublisher> publisher_;
};

TEST_F(FleetPublisherTest, PublishesWhatTheJournalHasAndWhatComes) {
  Publish(3);
  EXPECT_EQ(sink_.sequences(), UpTo(3));
  PushAndSettle(2);
  EXPECT_EQ(sink_.sequences(), UpTo(5));
  EXPECT_EQ(sink_.connects, 1);
  EXPECT_EQ(publisher_->meters().published_events.value(), 5u);
  EXPECT_EQ(publisher_->meters().position.value(), 5u);
  EXPECT_EQ(publisher_->meters().connected.value(), 1u);
}

TEST_F(FleetPublisherTest, ABatchHasABound) {
  Publish(3000);
  EXPECT_EQ(sink_.sequences(), UpTo(3000));
  EXPECT_GE(sink_.batches.size(), 3u);
}

// Somebody has copied the messages of a backup into a new stream: they have other places.
TEST_F(FleetPublisherTest, ALongCopyOfTheStreamGetsWhatItLacks) {
  Publish(5'000);
  ASSERT_EQ(sink_.sequences(), UpTo(5'000));
  sink_.stream.resize(4'500);
  ++sink_.streams_created;
  LookAgain();
  EXPECT_EQ(sink_.sequences(), UpTo(5'000));
}

// A long way is no overload: at 16 events a batch they would be 50 a second.
TEST_F(FleetPublisherTest, BatchesGrowOverALongNetwork) {
  Push(200);
  sink_.round_trip = absl::Milliseconds(300);
  sink_.on_publish = [this] { state_.clock().Advance(absl::Milliseconds(310)); };
  Restart();
  EXPECT_THAT(sink_.batches, ElementsAre(16, 32, 64, 88));
}

TEST_F(FleetPublisherTest, BatchesGrowWhileTheServersAreQuickAndShrinkWhileTheyAreSlow) {
  PushAndStart(3000);
  for (int i = 0; i < 3; ++i) publisher_->Step();
  sink_.on_publish = [this] { state_.clock().Advance(absl::Seconds(2)); };
  for (int i = 0; i < 4; ++i) publisher_->Step();
  EXPECT_THAT(sink_.batches, ElementsAre(16, 32, 64, 128, 64, 32, 16));
  sink_.on_publish = nullptr;
  Settle();
  EXPECT_EQ(sink_.sequences(), UpTo(3000));
  EXPECT_LE(*std::max_element(sink_.batches.begin(), sink_.batches.end()),
            FleetPublisher::kMaxBatchEvents);
}

// A snapshot of its file system was restored: the journal gives the sequences to other events.
TEST_F(FleetPublisherTest, AJournalThatWasRolledBackHidesNoEventBehindThoseThatTheStreamHas) {
  Publish(3);
  FleetMessage lost = sink_.stream.back().message;
  for (auto& [name, value] : lost.headers) {
    if (name == kMessageIdHeader) value = absl::StrCat(kJournal, ":5");
  }
  sink_.Store(lost);
  Start();
  for (int i = 0; i < 3; ++i) {
    state_.clock().Advance(publisher_->Step());
    EXPECT_THAT(publisher_->state().problem(),
                HasSubstr("has events of this journal up to 5, which ends with 3: "));
    Push(2);
  }
  EXPECT_EQ(sink_.sequences(), (std::vector<uint64_t>{1, 2, 3, 5}));
}

TEST_F(FleetPublisherTest, ANewDaemonGoesOnAfterThePosition) {
  Publish(3);
  sink_.stream.clear();  // the stream's own limits have deleted them
  Publish(2);
  EXPECT_THAT(sink_.sequences(), ElementsAre(4, 5));
}

TEST_F(FleetPublisherTest, WhatIsNotAcknowledgedButStoredIsNotPublishedAgain) {
  PushAndStart(10);
  sink_.acknowledge_only = 4;
  Settle();
  EXPECT_EQ(sink_.sequences(), UpTo(10));
  EXPECT_EQ(sink_.connects, 2);
  EXPECT_EQ(publisher_->meters().failures.value(), 1u);
  EXPECT_EQ(publisher_->meters().position.value(), 10u);
}

TEST_F(FleetPublisherTest, ADaemonThatIsKilledBeforeTheAcknowledgementPublishesNothingTwice) {
  PushAndStart(10);
  sink_.acknowledge_only = 0;
  publisher_->Step();
  EXPECT_EQ(sink_.sequences(), UpTo(10));
  Publish(5);
  EXPECT_EQ(sink_.sequences(), UpTo(15));
}

TEST_F(FleetPublisherTest, ThePositionDoesNotGoBackWhileNothingIsLost) {
  StartLosing(5, {1, 2, 3, 4});
  EXPECT_EQ(publisher_->meters().position.value(), 1u);
  Start();
  sink_.lost = {0, 1, 2, 3};
  publisher_->Step();
  EXPECT_EQ(publisher_->meters().position.value(), 1u);
  EXPECT_EQ(PositionFile::Open(directory_ / "fleet", "c.n").value()->value().sequence, 1u);
  Settle();
  EXPECT_EQ(sink_.sequences(), UpTo(5));
}

TEST_F(FleetPublisherTest, WhatTheStreamLacksInTheMiddleOfABatchIsPublishedLater) {
  StartLosing(10, {2, 3, 7});
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 5, 6, 7, 9, 10));
  PushAndSettle(2);
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 5, 6, 7, 9, 10, 3, 4, 8, 11, 12));
  EXPECT_EQ(publisher_->meters().late_events.value(), 3u);
}

TEST_F(FleetPublisherTest, ADaemonThatIsKilledThenDoesTheSame) {
  StartLosing(10, {2, 3, 7});
  Publish(2);
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 5, 6, 7, 9, 10, 3, 4, 8, 11, 12));
}

TEST_F(FleetPublisherTest, WhatIsLateMayFailAgain) {
  StartLosing(10, {2, 3, 7});
  state_.clock().Advance(absl::Hours(1));
  sink_.lost = {0};            // of 3, 4 and 8
  sink_.acknowledge_only = 0;  // and no acknowledgement comes
  publisher_->Step();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 5, 6, 7, 9, 10, 4, 8));
  Publish(2);
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 5, 6, 7, 9, 10, 4, 8, 3, 11, 12));
}

TEST_F(FleetPublisherTest, ALateMessageAtTheEndOfTheStreamRepeatsNothing) {
  StartLosing(5, {2});
  Settle();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 4, 5, 3));
  Restart();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 4, 5, 3));
}

TEST_F(FleetPublisherTest, WithoutItsFileItGoesOnAfterTheStreamsLastMessage) {
  Publish(6000);
  std::filesystem::remove(directory_ / "fleet");
  Publish(1);
  EXPECT_EQ(sink_.sequences(), UpTo(6001));
}

TEST_F(FleetPublisherTest, WithoutItsFileItPublishesWhatTheLastBatchLacks) {
  Publish(6000);
  PushWithHoles();
  RestartWithoutFile();
  EXPECT_EQ(sink_.sequences(), WithHolesFilledAfter(6000));
}

// A loss of the host's power takes the file back.
TEST_F(FleetPublisherTest, WithAnOldFileItPublishesWhatTheLastBatchLacks) {
  Publish(10);
  std::filesystem::copy_file(directory_ / "fleet", directory_ / "old");
  PushAndSettle(6000);
  PushWithHoles();
  std::filesystem::rename(directory_ / "old", directory_ / "fleet");
  Restart();
  EXPECT_EQ(sink_.sequences(), WithHolesFilledAfter(6010));
}

// Another version's messages do not say behind what they were sent.
TEST_F(FleetPublisherTest, AMessageThatDoesNotSayWhereItWasSentOutranksNoFile) {
  Publish(10);
  PushWithHoles();
  for (FakeSink::Stored& stored : sink_.stream) {
    std::erase_if(stored.message.headers, [](const auto& header) {
      return header.first == kSentAfterHeader || header.first == kSentToHeader;
    });
  }
  ASSERT_EQ(HeaderOf(sink_.stream.back().message, kSentAfterHeader), "");
  Restart();
  EXPECT_EQ(sink_.sequences(), WithHolesFilledAfter(10));
}

TEST_F(FleetPublisherTest, AStreamThatWasRestoredGetsWhatItsLastBatchLacks) {
  Publish(10);
  PushWithHoles();
  const std::vector<FakeSink::Stored> backup = sink_.stream;
  Settle();
  PushAndSettle(10);
  sink_.stream = backup;
  sink_.last_stream_sequence = backup.back().stream_sequence;
  Restart();
  std::vector<uint64_t> expected = WithHolesFilledAfter(10);
  for (uint64_t sequence = 17; sequence <= 26; ++sequence) expected.push_back(sequence);
  EXPECT_EQ(sink_.sequences(), expected);
}

TEST_F(FleetPublisherTest, AStreamThatWasRestoredGetsWhatItLacks) {
  Publish(10);
  RestoreStream(6);
  Restart();
  EXPECT_EQ(sink_.sequences(), UpTo(10));
}

// They came late into the stream that was made again, whose file is gone too.
TEST_F(FleetPublisherTest, MessagesForAnotherStreamSayNothingOfWhatIsBeforeThem) {
  Publish(10);
  const std::vector<FakeSink::Stored> late = SendThree();
  sink_.LoseStream();
  sink_.last_stream_sequence = 100;  // other nodes publish too
  for (const FakeSink::Stored& stored : late) sink_.Store(stored.message);
  RestartWithoutFile();
  EXPECT_THAT(sink_.sequences(), ElementsAre(11, 12, 13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10));
}

TEST_F(FleetPublisherTest, MessagesForAStreamBeforeItWasRestoredSayNothingEither) {
  Publish(10);
  const std::vector<FakeSink::Stored> late = SendThree();
  RestoreStream(4);
  for (const FakeSink::Stored& stored : late) sink_.Store(stored.message);
  RestartWithoutFile();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 3, 4, 11, 12, 13, 5, 6, 7, 8, 9, 10));
}

// The stream's message at the position is gone, and others follow.
TEST_F(FleetPublisherTest, AStreamThatWasRestoredWithoutTheNodeGetsEverything) {
  Publish(5);
  sink_.stream.clear();
  sink_.first_of_others = 2;
  sink_.last_stream_sequence = 20;
  Restart();
  EXPECT_EQ(sink_.sequences(), UpTo(5));
}

// The message that shows that the stream is another one says a position of the one that is gone.
TEST_F(FleetPublisherTest, AConnectionThatIsLostWhileItPublishesAgainLosesNothing) {
  for (const uint64_t restarts : {0, 1}) {
    const uint64_t last = 101 * (restarts + 1);
    Publish(100);
    sink_.LoseStream();
    Push(1);
    publisher_->Step();
    ASSERT_EQ(sink_.sequences(), std::vector<uint64_t>{last});
    const int connects = sink_.connects;
    sink_.on_publish = [this] {
      for (size_t i = 0; i < FleetPublisher::kFirstBatchEvents; ++i) sink_.lost.insert(i);
    };
    while (sink_.connects < connects + 2) state_.clock().Advance(publisher_->Step());
    sink_.on_publish = nullptr;
    if (restarts > 0) Start();
    Settle();
    std::vector<uint64_t> sequences = sink_.sequences();
    std::sort(sequences.begin(), sequences.end());
    EXPECT_EQ(sequences, UpTo(last));
  }
}

TEST_F(FleetPublisherTest, AnIdleNodeNoticesAStreamThatWasMadeAgain) {
  Publish(10);
  sink_.LoseStream();
  Settle();
  EXPECT_EQ(sink_.sequences(), std::vector<uint64_t>()) << "it looks once a minute";
  LookAgain();
  EXPECT_EQ(sink_.sequences(), UpTo(10));
  EXPECT_EQ(publisher_->meters().streams_lost.value(), 1u);
  EXPECT_EQ(sink_.connects, 1);
}

TEST_F(FleetPublisherTest, ADaemonThatWasAwayNoticesAStreamThatWasMadeAgain) {
  Publish(10);
  sink_.LoseStream();
  // Other nodes publish; the place alone says nothing.
  sink_.last_stream_sequence = 1'000;
  Restart();
  EXPECT_EQ(sink_.sequences(), UpTo(10));
}

TEST_F(FleetPublisherTest, AnAcknowledgementBelowThePositionMeansAnotherStream) {
  Publish(10);
  sink_.LoseStream();
  PushAndSettle(3);
  // The first batch comes before it is noticed.
  std::vector<uint64_t> expected = {11, 12, 13};
  for (const uint64_t sequence : UpTo(10)) expected.push_back(sequence);
  EXPECT_EQ(sink_.sequences(), expected);
  EXPECT_EQ(publisher_->meters().position.value(), 13u);
  Restart();
  EXPECT_EQ(sink_.sequences(), expected);
}

TEST_F(FleetPublisherTest, WhatAnOperatorPurgesIsNotPublishedAgain) {
  Publish(10);
  sink_.stream.clear();
  state_.clock().Advance(kLookInterval);
  PushAndSettle(1);
  EXPECT_THAT(sink_.sequences(), ElementsAre(11));
}

TEST_F(FleetPublisherTest, WhatTheStreamRefusesForGoodIsAGap) {
  PushAndStart(10);
  sink_.refused[4] = FleetSink::Answer::kUnfit;
  sink_.refused[7] = FleetSink::Answer::kUnfit;
  publisher_->Step();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 3, 5, 6, 8, 9, 10));
  sink_.refused.clear();  // a GAP is small
  Push(1);
  sink_.refused[7] = FleetSink::Answer::kUnfit;
  publisher_->Step();
  sink_.refused.clear();
  Settle();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 3, 5, 6, 8, 9, 10, 4, 7, 11));
  EXPECT_THAT(Gaps(), ElementsAre(Pair(4, 4)));
  EXPECT_EQ(sink_.connects, 1) << "the connection is kept";
}

// Somebody has set a limit that is far too low.
TEST_F(FleetPublisherTest, WhatRefusesEvenAGapLosesNothing) {
  PushAndStart(3);
  sink_.refused[2] = FleetSink::Answer::kUnfit;
  publisher_->Step();
  publisher_->Step();
  sink_.refused.clear();
  Settle();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 3, 2));
  EXPECT_THAT(Gaps(), ElementsAre());
}

// Of a stream that was made again everything before it is published once more, in several blocks.
TEST_F(FleetPublisherTest, WhatTheStreamRefusedForGoodHidesNothingFromTheNextStream) {
  constexpr int kEvents = 1000;
  PushAndStart(10);
  sink_.refused[4] = FleetSink::Answer::kUnfit;
  publisher_->Step();
  sink_.refused.clear();  // a GAP is small
  PushAndSettle(kEvents - 10);
  sink_.LoseStream();
  LookAgain();
  EXPECT_EQ(sink_.sequences(), UpTo(kEvents));
}

TEST_F(FleetPublisherTest, WithoutItsFileItFindsItsOwnBeforeAnotherNodesOfItsName) {
  Publish(5);
  sink_.stream.push_back({{"another-journal", 9}, ++sink_.last_stream_sequence, {}});
  publisher_.reset();
  RestartWithoutFile();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 3, 4, 5, 9));
}

// What follows a hole is acknowledged, and the position stands before the hole.
TEST_F(FleetPublisherTest, AStreamThatWasRestoredBehindAHoleGetsWhatItLacks) {
  PushAndStart(10);
  sink_.refused[8] = FleetSink::Answer::kRefused;
  publisher_->Step();
  ASSERT_THAT(sink_.sequences(), ElementsAre(1, 2, 3, 4, 5, 6, 7, 9, 10));
  RestoreStream(5);
  sink_.refused.clear();
  LookAgain();
  EXPECT_EQ(sink_.sequences(), UpTo(10));
}

// Likewise where nobody looks before the next start.
TEST_F(FleetPublisherTest, AStreamThatWasRestoredBehindAHoleGetsWhatItLacksFromTheNextDaemon) {
  Publish(10);
  Push(10);
  sink_.refused[18] = FleetSink::Answer::kRefused;
  publisher_->Step();
  ASSERT_EQ(sink_.sequences().size(), 19u);
  RestoreStream(15);
  sink_.refused.clear();
  Restart();
  EXPECT_EQ(sink_.sequences(), UpTo(20));
}

TEST_F(FleetPublisherTest, WhatIsRefusedForNowIsTriedAgainLaterAndLater) {
  PushAndStart(10);
  for (uint64_t sequence = 6; sequence <= 10; ++sequence) {
    sink_.refused[sequence] = FleetSink::Answer::kRefused;
  }
  for (int i = 0; i < 10; ++i) {
    const absl::Duration wait = publisher_->Step();
    EXPECT_EQ(wait, std::min(FleetPublisher::kFirstRetry * (1 << i), FleetPublisher::kMaxRetry));
    state_.clock().Advance(wait);
  }
  EXPECT_EQ(sink_.sequences(), UpTo(5));
  EXPECT_EQ(publisher_->meters().position.value(), 5u);
  EXPECT_EQ(sink_.connects, 1) << "the connection is kept";
  EXPECT_EQ(sink_.searches, 0) << "every message has an answer";
  sink_.refused.clear();
  Settle();
  EXPECT_EQ(sink_.sequences(), UpTo(10));
}

// A connection that stands says nothing of the batches that fail on it.
TEST_F(FleetPublisherTest, AnAcknowledgedBatchAloneEndsTheWaits) {
  PushAndStart(1);
  for (int i = 0; i < 5; ++i) {
    sink_.lost = {0};
    EXPECT_EQ(publisher_->Step(), FleetPublisher::kFirstRetry * (1 << i));
    state_.clock().Advance(FleetPublisher::kMaxRetry);
  }
  Settle();
  Push(1);
  sink_.lost = {0};
  EXPECT_EQ(publisher_->Step(), FleetPublisher::kFirstRetry);
}

// What was sent and not acknowledged is found behind the messages of the other one.
TEST_F(FleetPublisherTest, ANodeOfTheSameNameLosesNothing) {
  Publish(2);
  Push(4);
  sink_.lost = {1};
  sink_.acknowledge_only = 0;
  publisher_->Step();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 3, 5, 6));
  sink_.stream.push_back({{"another", 7}, ++sink_.last_stream_sequence, {}});
  Settle();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 3, 5, 6, 7, 4));
}

// Others write on in a stream that was restored from a copy, before this node looks.
class OtherNodeTest : public FleetPublisherTest {
 protected:
  // Ten events, of which the stream has six after the restoration.
  void LoseFour() {
    Publish(10);
    LookAgain();
    RestoreStream(6);
  }
  // Another node with this one's name.
  void PublishOther(int count) {
    for (int i = 0; i < count; ++i) {
      sink_.stream.push_back({{"another", 1'000}, ++sink_.last_stream_sequence, {}});
    }
  }
  // This node's own.
  std::vector<uint64_t> Own() const {
    std::vector<uint64_t> own;
    for (const FakeSink::Stored& stored : sink_.stream) {
      if (stored.id.sequence != 1'000) own.push_back(stored.id.sequence);
    }
    return own;
  }
};

TEST_F(OtherNodeTest, HidesNoLossWhileTheDaemonIsAway) {
  LoseFour();
  PublishOther(4);
  Publish(1);
  EXPECT_EQ(Own(), UpTo(11));
}

TEST_F(OtherNodeTest, HidesNoLossWhileItIsConnected) {
  LoseFour();
  PublishOther(20);
  for (int i = 0; i < 2; ++i) {
    LookAgain();
    EXPECT_EQ(Own(), UpTo(10));
    EXPECT_EQ(publisher_->meters().streams_lost.value(), 1u) << "once";
  }
}

// The node itself writes on before it looks: its event is acknowledged at a place that says
// nothing, and itself says a position of the stream that is gone.
class WritesOnTest : public OtherNodeTest {
 protected:
  WritesOnTest() {
    LoseFour();
    sink_.last_stream_sequence = 1'000;  // of other nodes
    PushAndSettle(1);
    EXPECT_THAT(Own(), ElementsAre(1, 2, 3, 4, 5, 6, 11));
  }
  void TearDown() override { EXPECT_THAT(Own(), ElementsAre(1, 2, 3, 4, 5, 6, 11, 7, 8, 9, 10)); }
};

TEST_F(WritesOnTest, HidesNoLossFromTheNextLook) { LookAgain(); }
TEST_F(WritesOnTest, HidesNoLossFromTheNextDaemon) { Restart(); }
TEST_F(WritesOnTest, WithoutItsFileAMessageIsBelievedOnlyIfTheStreamHasWhatItSays) {
  RestartWithoutFile();
}

// To find the last message under a node's name an old server may read all of its stream.
TEST_F(FleetPublisherTest, WithoutADoubtTheLastMessageIsNotSearchedFor) {
  Restart();
  state_.clock().Advance(kLookInterval);
  PushAndSettle(10);
  EXPECT_EQ(sink_.tails, 1);
  for (int i = 0; i < 3; ++i) {
    PushAndSettle(1);
    LookAgain();
    sink_.check = absl::UnavailableError("the connection is lost");
    publisher_->Step();
    sink_.check = absl::OkStatus();
    state_.clock().Advance(FleetPublisher::kMaxRetry);
    Settle();
  }
  EXPECT_EQ(sink_.tails, 1);
  EXPECT_EQ(sink_.sequences(), UpTo(13));
}

// As the server's own answers, which a hostile node makes it write there.
TEST_F(OtherNodeTest, AForeignMessageUnderTheNodesNameRepeatsNothing) {
  Publish(10);
  sink_.stream.push_back({{"", 1'000}, ++sink_.last_stream_sequence, {}});
  LookAgain();
  Restart();
  EXPECT_EQ(publisher_->meters().name_conflicts.value(), 0u);
  EXPECT_EQ(publisher_->meters().streams_lost.value(), 0u);
  RestartWithoutFile();
  EXPECT_EQ(Own(), UpTo(10));
}

// Its server writes as many of its answers there as a hostile node asks for.
TEST_F(OtherNodeTest, AFloodUnderTheNodesNameLosesNothing) {
  Publish(2);
  Push(4);
  sink_.lost = {1};
  sink_.acknowledge_only = 0;
  publisher_->Step();
  PublishOther(static_cast<int>(2 * FleetPublisher::kMaxSearched));
  Settle();
  EXPECT_THAT(Own(), ElementsAre(1, 2, 3, 5, 6, 4));
}

TEST_F(FleetPublisherTest, AnotherTargetIsAnotherPosition) {
  Publish(3);
  const auto file = PositionFile::Open(directory_ / "fleet", "c.other").value();
  EXPECT_EQ(file->value().journal_id, "");
}

TEST_F(FleetPublisherTest, AttemptsToConnectAreSpreadOut) {
  PushAndStart(1);
  sink_.connect_error = absl::UnavailableError("nobody is there");
  random_ = 0;
  EXPECT_EQ(publisher_->Step(), FleetPublisher::kFirstRetry / 2);
  EXPECT_EQ(publisher_->Step(), FleetPublisher::kFirstRetry / 2) << "it is not due";
  EXPECT_EQ(sink_.connects, 1);
  random_ = 1;
  for (int i = 1; i < 20; ++i) {
    state_.clock().Advance(absl::Hours(1));
    const absl::Duration wait = publisher_->Step();
    EXPECT_EQ(wait, std::min(FleetPublisher::kFirstRetry * (1 << i), FleetPublisher::kMaxRetry));
  }
  EXPECT_EQ(publisher_->meters().connected.value(), 0u);
  sink_.connect_error = absl::OkStatus();
  Settle();
  EXPECT_EQ(sink_.sequences(), UpTo(1));
}

class LargeFleetTest : public FleetPublisherTest {
 protected:
  const absl::Duration interval_ = 8'000 * kLookANode;

  LargeFleetTest() {
    for (int node = 1; node < 8'000; ++node) {
      const std::string key = NodeBucketKey("c", absl::StrCat("other", node));
      sink_.Write({.subject = KeySubject(kNodesBucket, key), .payload = "x"});
    }
    Start(1e9, absl::Seconds(30));
    Settle();
    Pass(interval_);
    EXPECT_EQ(publisher_->meters().nodes.value(), 8'000u);
  }
  void Pass(absl::Duration time) {
    for (absl::Duration step = absl::Seconds(10); time > absl::ZeroDuration(); time -= step) {
      state_.clock().Advance(step);
      Settle();
    }
  }
};

// Ten thousand nodes whose servers were away for a moment.
TEST_F(LargeFleetTest, ComesBackOverAMinute) {
  const auto first_wait = [&](double random) {
    sink_.check = absl::UnavailableError("the connection is lost");
    random_ = random;
    const absl::Duration wait = publisher_->Step();
    sink_.check = absl::OkStatus();
    state_.clock().Advance(wait);
    Settle();
    return wait;
  };
  EXPECT_EQ(first_wait(0), FleetPublisher::kFirstRetry / 2);
  EXPECT_EQ(first_wait(0.5), absl::Seconds(20.25));
  EXPECT_EQ(first_wait(1), absl::Seconds(40));
}

// All of its nodes together ask the servers as often as those of a smaller one.
TEST_F(LargeFleetTest, LooksLessOften) {
  sink_.looks = 0;
  Pass(20 * interval_);
  EXPECT_LE(sink_.looks, 3 * 21);
}

// The servers have enough to do with what waits.
TEST_F(LargeFleetTest, LooksAtItsBucketsLaterThanItComesBack) {
  sink_.check = absl::UnavailableError("the connection is lost");
  sink_.looks = 0;
  publisher_->Step();
  sink_.check = absl::OkStatus();
  const uint64_t heartbeats = publisher_->meters().heartbeats.value();
  Pass(absl::Minutes(1));
  EXPECT_EQ(sink_.looks, 1) << "at the stream";
  EXPECT_GT(publisher_->meters().heartbeats.value(), heartbeats);
  Pass(interval_);
  EXPECT_EQ(sink_.looks, 4);
}

// Servers of NATS 2.9 that are killed one after the other do so.
TEST_F(FleetPublisherTest, WhatTheServersLoseOfTheMiddleOfTheStreamIsPublishedAgain) {
  Publish(2);
  uint64_t newest = 2;
  std::vector<uint64_t> expected = {1, 2};
  for (const std::vector<uint64_t>& lost :
       {std::vector<uint64_t>{1}, std::vector<uint64_t>{3}, std::vector<uint64_t>{1, 2, 3}}) {
    PushAndSettle(3);
    PushAndSettle(1);
    for (uint64_t nth = 1; nth <= 4; ++nth) {
      if (std::find(lost.begin(), lost.end(), nth) == lost.end()) expected.push_back(newest + nth);
    }
    for (const uint64_t nth : lost) {
      std::erase_if(sink_.stream, [&](const auto& it) { return it.id.sequence == newest + nth; });
      expected.push_back(newest + nth);
    }
    newest += 4;
    LookAgain();
    EXPECT_EQ(sink_.sequences(), expected);
  }
  EXPECT_EQ(publisher_->meters().streams_lost.value(), 3u);
}

// Some of a hundred batches are looked at.
TEST_F(FleetPublisherTest, ALookAsksForABoundedNumberOfMessages) {
  Restart();
  for (int i = 0; i < 200; ++i) {
    PushAndSettle(2);
  }
  sink_.places_asked = 0;
  LookAgain();
  EXPECT_LE(sink_.places_asked, kMaxAsked + 2);
  EXPECT_GE(sink_.places_asked, kMaxAsked / 2);
  sink_.places_asked = 0;
  LookAgain();
  EXPECT_LE(sink_.places_asked, 2u);
}

TEST_F(FleetPublisherTest, AConnectionThatIsLostIsNoticedWithoutAnEvent) {
  Restart();
  EXPECT_EQ(publisher_->meters().connected.value(), 1u);
  sink_.check = absl::UnavailableError("the connection is lost");
  publisher_->Step();
  EXPECT_EQ(publisher_->meters().connected.value(), 0u);
  sink_.check = absl::OkStatus();
  state_.clock().Advance(FleetPublisher::kMaxRetry);
  Settle();
  EXPECT_EQ(publisher_->meters().connected.value(), 1u);
}

TEST_F(FleetPublisherTest, TheStateSaysHowPublishingGoes) {
  Push(3);
  const absl::Time begin = state_.clock().Now().wall;
  Start();
  EXPECT_FALSE(publisher_->state().connected());
  EXPECT_EQ(publisher_->state().problem(), "no server has answered yet");
  EXPECT_EQ(FromTimestamp(publisher_->state().since()), begin);
  state_.clock().Advance(absl::Seconds(1));
  Settle();
  EXPECT_TRUE(publisher_->state().connected());
  EXPECT_EQ(publisher_->state().problem(), "");
  EXPECT_EQ(FromTimestamp(publisher_->state().since()), begin + absl::Seconds(1));
  EXPECT_EQ(publisher_->state().sequence(), 3u);
  sink_.check = absl::UnavailableError("the connection is lost");
  state_.clock().Advance(absl::Seconds(1));
  publisher_->Step();
  EXPECT_FALSE(publisher_->state().connected());
  EXPECT_EQ(publisher_->state().problem(), "the connection is lost");
  EXPECT_EQ(FromTimestamp(publisher_->state().since()), begin + absl::Seconds(2));
}

TEST_F(FleetPublisherTest, CatchesUpAtABoundedRate) {
  Push(10'000);
  Start(1000);
  const absl::Time begin = state_.clock().Now().wall;
  Settle();
  EXPECT_EQ(sink_.sequences(), UpTo(10'000));
  EXPECT_GE(state_.clock().Now().wall - begin, absl::Seconds(8));
  EXPECT_LE(state_.clock().Now().wall - begin, absl::Seconds(11));
}

class FleetRetentionTest : public FleetPublisherTest {
 protected:
  FleetRetentionTest() : FleetPublisherTest({.retention_events = 10}) {}

  // Pushes a hundred events; returns the oldest that the journal has then.
  uint64_t PushPastRetention() {
    for (int i = 0; i < 100; ++i) Push(1);
    const uint64_t oldest = state_.live_state().range().oldest;
    EXPECT_GT(oldest, 10u);
    return oldest;
  }
};

TEST_F(FleetRetentionTest, WhatRetentionDeletedBeforeItsTimeIsAGap) {
  Publish(5);
  sink_.connect_error = absl::UnavailableError("nobody is there");
  Start();
  publisher_->Step();
  const uint64_t oldest = PushPastRetention();
  sink_.connect_error = absl::OkStatus();
  Settle();
  std::vector<uint64_t> expected = UpTo(5);
  for (uint64_t sequence = oldest - 1; sequence <= 105; ++sequence) expected.push_back(sequence);
  EXPECT_EQ(sink_.sequences(), expected);
  EXPECT_THAT(sink_.stream[5].message.subject, testing::EndsWith(".=.gap"));
  EXPECT_THAT(Gaps(), ElementsAre(Pair(6, oldest - 1)));
  EXPECT_EQ(publisher_->meters().lost_events.value(), oldest - 6);
}

// Of what was sent and not acknowledged before retention came, the stream has a part.
TEST_F(FleetRetentionTest, AGapNamesOnlyWhatTheStreamLacks) {
  for (int i = 0; i < 9; ++i) Push(1);
  Start();
  sink_.acknowledge_only = 0;
  sink_.lost = {1, 2, 5};
  publisher_->Step();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 4, 5, 7, 8, 9));
  const uint64_t oldest = PushPastRetention();
  Settle();
  EXPECT_THAT(Gaps(), ElementsAre(Pair(2, 3), Pair(6, 6), Pair(10, oldest - 1)));
  EXPECT_EQ(publisher_->meters().lost_events.value(), 3 + oldest - 10);
}

TEST_F(FleetRetentionTest, WithoutItsFileAGapNamesWhatWasDeletedAfterTheStreamsLastEvent) {
  Publish(5);
  std::filesystem::remove(directory_ / "fleet");
  const uint64_t oldest = PushPastRetention();
  Restart();
  std::vector<uint64_t> expected = UpTo(5);
  for (uint64_t sequence = oldest - 1; sequence <= 105; ++sequence) expected.push_back(sequence);
  EXPECT_EQ(sink_.sequences(), expected);
  EXPECT_THAT(Gaps(), ElementsAre(Pair(6, oldest - 1)));
}

TEST_F(FleetRetentionTest, WithoutItsFileAGapNamesWhatTheLastBatchLacksToo) {
  for (int i = 0; i < 5; ++i) Push(1);
  Restart();
  for (int i = 0; i < 4; ++i) Push(1);
  sink_.lost = {0, 2};
  publisher_->Step();
  EXPECT_THAT(sink_.sequences(), ElementsAre(1, 2, 3, 4, 5, 7, 9));
  std::filesystem::remove(directory_ / "fleet");
  const uint64_t oldest = PushPastRetention();
  Restart();
  EXPECT_THAT(Gaps(), ElementsAre(Pair(6, 6), Pair(8, 8), Pair(10, oldest - 1)));
}

TEST_F(FleetRetentionTest, AStreamThatWasMadeAgainGetsAGapForWhatTheJournalNoLongerHas) {
  for (int i = 0; i < 100; ++i) Push(1);
  Restart();
  const uint64_t oldest = state_.live_state().range().oldest;
  sink_.LoseStream();
  LookAgain();
  EXPECT_THAT(Gaps(), ElementsAre(Pair(1, oldest - 1)));
  EXPECT_EQ(sink_.sequences().back(), 100u);
  EXPECT_EQ(sink_.sequences().size(), 100 - oldest + 2);
}

TEST_F(FleetRetentionTest, WhatWasDeletedBeforeTheFirstStartIsNone) {
  for (int i = 0; i < 100; ++i) Push(1);
  Restart();
  EXPECT_EQ(sink_.sequences().front(), state_.live_state().range().oldest);
  EXPECT_EQ(publisher_->meters().lost_events.value(), 0u);
}

TEST_F(FleetPublisherTest, AStopEndsTheThread) {
  Start();
  std::thread thread([this] { publisher_->Run(); });
  publisher_->Wake();
  publisher_->Stop();
  thread.join();
  EXPECT_TRUE(sink_.interrupted);
}

TEST_F(FleetPublisherTest, AStopSaysSoInALastHeartbeat) {
  Push(3);
  Start(1e9, absl::Seconds(30));
  Settle();
  v1::NodeHeartbeat heartbeat = sink_.Heartbeat();
  EXPECT_EQ(heartbeat.interval().seconds(), 30);
  publisher_->Stop();
  publisher_->Run();
  heartbeat = sink_.Heartbeat();
  EXPECT_FALSE(heartbeat.has_interval());
  EXPECT_EQ(heartbeat.published_sequence(), 3u);
}

TEST_F(FleetPublisherTest, AStopInTheMiddleOfABatchSaysSoToo) {
  Push(3);
  Start(1e9, absl::Seconds(30));
  sink_.acknowledge_only = 0;
  publisher_->Step();
  publisher_->Stop();
  publisher_->Run();
  EXPECT_FALSE(sink_.Heartbeat().has_interval());
}

TEST_F(FleetPublisherTest, BucketsThatFailHoldNoEventUp) {
  sink_.bucket_error = absl::UnavailableError("not permitted");
  Push(3);
  Start(1e9, absl::Seconds(30));
  for (int i = 0; i < 5; ++i) publisher_->Step();
  EXPECT_EQ(sink_.sequences(), UpTo(3));
  EXPECT_EQ(publisher_->meters().connected.value(), 1u);
  EXPECT_EQ(publisher_->meters().bucket_failures.value(), 2u) << "not with each step";
}

}  // namespace
}  // namespace vmeventd
