// The intents of a run.

#include "watcher/session/run_intents.h"

#include <string>

#include "gtest/gtest.h"
#include "watcher/core/proto_time.h"

namespace vmeventd {
namespace {

class RunIntentsTest : public testing::Test {
 protected:
  void Open(const std::string& request_id, absl::Duration time = absl::Minutes(1)) {
    v1::Intent intent;
    intent.set_request_id(request_id);
    *intent.mutable_expire_time() = ToTimestamp(now_.wall + time);
    intents_.Open(intent, now_);
    intents_.Reconsider(&facts_);
  }
  void Close() {
    intents_.Close(facts_);
    intents_.Reconsider(&facts_);
  }

  const Instant now_{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  Evidence facts_;
  RunIntents intents_;
};

TEST_F(RunIntentsTest, AnIntentExpiresOnTheMonotonicClock) {
  EXPECT_EQ(intents_.Deadline(), absl::InfiniteDuration());
  Open("a", absl::Minutes(5));
  EXPECT_EQ(intents_.Deadline(), now_.monotonic + absl::Minutes(5));
}

TEST_F(RunIntentsTest, AnOpenIntentCountsAndAClosedOneDoesNot) {
  Open("a");
  EXPECT_TRUE(facts_.intended);
  Close();
  EXPECT_FALSE(facts_.intended);
  EXPECT_EQ(intents_.OfRequest("a"), nullptr);
}

TEST_F(RunIntentsTest, AnIntentOfADecidedEndCountsEvenAfterItIsClosed) {
  Open("a");
  facts_.panic = Fact::kStands;
  Close();
  Open("b");
  EXPECT_TRUE(facts_.intended);
  EXPECT_EQ(intents_.Shown()->intent.request_id(), "a");
  EXPECT_NE(intents_.OfRequest("a"), nullptr);
  EXPECT_NE(intents_.OfRequest("b"), nullptr);
}

TEST_F(RunIntentsTest, AnIntentAfterTheDecisionDoesNotCount) {
  facts_.panic = Fact::kStands;
  Open("a");
  EXPECT_FALSE(facts_.intended);
  Close();
  EXPECT_FALSE(intents_.counted.has_value());
}

TEST_F(RunIntentsTest, AnIntentForAnEndThatWasRevokedIsDropped) {
  Open("a");
  facts_.panic = Fact::kStands;
  Close();
  facts_.panic = Fact::kNone;
  intents_.Reconsider(&facts_);
  EXPECT_FALSE(facts_.intended);
  EXPECT_FALSE(intents_.Shown().has_value());
}

TEST_F(RunIntentsTest, AnEmptyRequestIdMatchesNoIntent) {
  Open("");
  EXPECT_EQ(intents_.OfRequest(""), nullptr);
}

}  // namespace
}  // namespace vmeventd
