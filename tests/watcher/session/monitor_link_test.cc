// The connection to a run's monitor: when it is lost, and what nobody may have seen.

#include "watcher/session/monitor_link.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

using LinkState = MonitorLink::State;

class MonitorLinkTest : public testing::Test {
 protected:
  Instant After(absl::Duration time) const { return {now_.wall + time, now_.monotonic + time}; }

  const Instant now_{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  MonitorLink link_{now_};
};

TEST_F(MonitorLinkTest, AClosedLinkIsLostAfterASecondOrLaterIfTheEndIsDecided) {
  link_.Attach();
  EXPECT_EQ(link_.LostAt(false), absl::InfiniteDuration());
  link_.Close("EOF", now_);
  EXPECT_TRUE(link_.closed());
  EXPECT_EQ(link_.close_reason(), "EOF");
  EXPECT_EQ(link_.LostAt(false), now_.monotonic + MonitorLink::kLostGrace);
  EXPECT_EQ(link_.LostAt(true), now_.monotonic + MonitorLink::kLostGraceOfAnEnd);
  link_.Lose();
  EXPECT_EQ(link_.LostAt(false), absl::InfiniteDuration());
  EXPECT_EQ(link_.Attach(), LinkState::kLost);
  EXPECT_TRUE(link_.ready());
}

TEST_F(MonitorLinkTest, ARestoredLinkIsLostAfterTenSeconds) {
  link_ = MonitorLink::Restored(/*lost=*/false, now_);
  EXPECT_EQ(link_.state(), LinkState::kUnseen);
  EXPECT_EQ(link_.LostAt(false), now_.monotonic + MonitorLink::kAwayGrace);
  EXPECT_TRUE(link_.unattached_since_restore());
  link_.Attach();
  EXPECT_FALSE(link_.unattached_since_restore());
}

TEST_F(MonitorLinkTest, ARestoredLinkThatWasLostStaysLost) {
  link_ = MonitorLink::Restored(/*lost=*/true, now_);
  EXPECT_TRUE(link_.lost());
  EXPECT_EQ(link_.LostAt(false), absl::InfiniteDuration());
}

TEST_F(MonitorLinkTest, ALinkThatClosesInItsFirstHandshakeIsLostAtOnce) {
  link_.Close("EOF", now_);
  EXPECT_TRUE(link_.lost());
  EXPECT_TRUE(link_.closed_in_first_handshake());
  EXPECT_FALSE(link_.WasLost(After(absl::Milliseconds(999)).monotonic));
  EXPECT_TRUE(link_.WasLost(After(absl::Seconds(1)).monotonic));
  link_.Attach();
  link_.Close("EOF", now_);
  EXPECT_FALSE(link_.closed_in_first_handshake());
}

TEST_F(MonitorLinkTest, TheFirstInputOfEachConnectionFollowsUnobservedTime) {
  EXPECT_TRUE(link_.TakeInput());
  EXPECT_FALSE(link_.TakeInput());
  link_.Attach();
  EXPECT_FALSE(link_.TakeInput());
  link_.Close("EOF", now_);
  EXPECT_TRUE(link_.TakeInput());
}

TEST_F(MonitorLinkTest, NoEventIsMissedInANewQemuAndWhileAttached) {
  EXPECT_TRUE(link_.MissedNothing(/*new_qemu=*/true));
  EXPECT_FALSE(link_.MissedNothing(/*new_qemu=*/false));
  link_.Attach();
  EXPECT_TRUE(link_.MissedNothing(/*new_qemu=*/false));
  link_.Close("EOF", now_);
  EXPECT_FALSE(link_.MissedNothing(/*new_qemu=*/true));
}

TEST_F(MonitorLinkTest, AShutdownInTheHandshakeIsKnownUntilItIsOver) {
  link_.OnShutdown();
  EXPECT_TRUE(link_.TakeDownInHandshake());
  EXPECT_FALSE(link_.TakeDownInHandshake());
  link_.OnShutdown();
  link_.Close("EOF", now_);
  EXPECT_FALSE(link_.TakeDownInHandshake()) << "it was another connection's";
  link_.Attach();
  link_.OnShutdown();
  EXPECT_FALSE(link_.TakeDownInHandshake());
}

TEST_F(MonitorLinkTest, ASignOfLifeCountsOnlySinceTheMonitorClosed) {
  link_.Attach();
  link_.MarkMaybeAlive();
  link_.Close("EOF", now_);
  EXPECT_FALSE(link_.maybe_alive()) << "it was attached when this was reported";
  link_.MarkMaybeAlive();
  EXPECT_TRUE(link_.maybe_alive());
  link_.Attach();
  link_.Close("EOF", now_);
  EXPECT_FALSE(link_.maybe_alive());
}

TEST_F(MonitorLinkTest, AnAttachedConnectionShowsTheEnd) {
  EXPECT_FALSE(link_.ShowsEnd(/*has_manager=*/false, now_.monotonic));
  link_.Attach();
  EXPECT_TRUE(link_.ShowsEnd(/*has_manager=*/true, now_.monotonic));
  link_.Close("EOF", now_);
  EXPECT_TRUE(link_.ShowsEnd(/*has_manager=*/false, now_.monotonic));
  EXPECT_FALSE(link_.ShowsEnd(/*has_manager=*/true, now_.monotonic)) << "the manager has ended";
}

TEST_F(MonitorLinkTest, AnEndThatWaitedForThisDaemonIsNotObserved) {
  link_ = MonitorLink::Restored(/*lost=*/false, now_);
  link_.TakeOver(/*answered_all=*/true, now_.monotonic);
  EXPECT_TRUE(link_.answered_all());
  EXPECT_FALSE(link_.unattached_since_restore());
  EXPECT_FALSE(link_.TakeInput()) << "nothing was missed";
  EXPECT_FALSE(link_.ShowsEnd(/*has_manager=*/false, After(absl::Milliseconds(999)).monotonic));
  EXPECT_TRUE(link_.ShowsEnd(/*has_manager=*/false, After(absl::Seconds(1)).monotonic));
}

TEST_F(MonitorLinkTest, QemusTimeIsUsedOnlyForEventsThatWaitedForThisDaemon) {
  const absl::Time start = now_.wall - absl::Seconds(1);
  const absl::Time waited = now_.wall - absl::Seconds(20);
  EXPECT_EQ(link_.SentAt(waited, start, now_).wall, now_.wall);
  link_.TakeOver(/*answered_all=*/true, now_.monotonic);
  EXPECT_EQ(link_.SentAt(waited, start, now_).wall, waited);
  EXPECT_EQ(link_.SentAt(waited, start, now_).monotonic, now_.monotonic - absl::Seconds(20));
  EXPECT_EQ(link_.SentAt(start, start, now_).wall, now_.wall);
  EXPECT_EQ(link_.SentAt(std::nullopt, start, now_).wall, now_.wall);
  // The clock was set back since the start.
  const absl::Time ahead = now_.wall + absl::Seconds(5);
  EXPECT_EQ(link_.SentAt(ahead, ahead + absl::Seconds(1), now_).monotonic, now_.monotonic);
  link_.Attach();
  EXPECT_EQ(link_.SentAt(waited, start, now_).wall, now_.wall);
}

TEST_F(MonitorLinkTest, EachAttachedConnectionAnswersAllQueriesOnce) {
  link_.Attach();
  EXPECT_FALSE(link_.answered_all());
  EXPECT_TRUE(link_.TakeAllAnswers());
  EXPECT_FALSE(link_.TakeAllAnswers());
  EXPECT_TRUE(link_.answered_all());
  link_.Close("EOF", now_);
  EXPECT_FALSE(link_.answered_all());
  link_.Attach();
  EXPECT_FALSE(link_.answered_all());
}

}  // namespace
}  // namespace vmeventd
