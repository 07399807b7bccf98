#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/test_util.h"
#include "watcher/qmp/owner_budget.h"
#include "watcher/qmp/run_limits.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;

constexpr uid_t kAlice = 1000;
constexpr uid_t kBob = 1001;

class OwnerBudgetTest : public testing::Test {
 protected:
  // Works for a slice when it has its turn, and then waits for the next one.
  class Client : public OwnerBudget::Client {
   public:
    Client(OwnerBudgetTest* test, std::string name, uid_t owner)
        : test_(test), name_(std::move(name)), owner_(owner) {}
    ~Client() override { test_->budget_.Forget(this); }

    void Wait(bool urgent = false) { test_->budget_.Wait(this, owner_, urgent); }
    void Hold(size_t bytes) { test_->budget_.Hold(this, owner_, bytes); }

    bool gave_up = false;

   private:
    void OnTurn() override {
      test_->turns_.push_back(name_);
      test_->clock_.Advance(OwnerBudget::kSlice);
      Wait();
    }
    void OnHeldTooMuch() override { gave_up = true; }

    OwnerBudgetTest* const test_;
    const std::string name_;
    const uid_t owner_;
  };

  std::vector<std::string> Turns(size_t count) {
    turns_.clear();
    EXPECT_TRUE(StepUntil(
        [this] {
          loop_->RunOnce(absl::ZeroDuration());
          clock_.Advance(absl::Microseconds(100));
        },
        [&] { return turns_.size() == count; }));
    return turns_;
  }
  absl::Duration Now() const { return clock_.Now().monotonic; }

  ManualClock clock_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  OwnerBudget budget_{loop_.get()};
  std::vector<std::string> turns_;
};

TEST_F(OwnerBudgetTest, AllWhoWaitHaveAQuarterOfTheTimeTogether) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(std::make_unique<Client>(this, std::to_string(i), kAlice));
    clients.back()->Wait();
  }
  const absl::Duration began = Now();
  constexpr int kTurns = 100;
  Turns(kTurns);
  EXPECT_GE(Now() - began, (kTurns - 1) * OwnerBudget::kSlice * (1 + OwnerBudget::kPausePerWork));
}

TEST_F(OwnerBudgetTest, OwnersAlternateAndSoDoTheMonitorsOfOne) {
  Client alice1(this, "alice1", kAlice);
  Client alice2(this, "alice2", kAlice);
  Client alice3(this, "alice3", kAlice);
  Client bob(this, "bob", kBob);
  for (Client* client : {&alice1, &alice2, &alice3, &bob}) client->Wait();
  EXPECT_THAT(Turns(7), ElementsAre("alice1", "bob", "alice2", "bob", "alice3", "bob", "alice1"));
}

TEST_F(OwnerBudgetTest, AnUrgentOneIsNext) {
  Client flood(this, "flood", kAlice);
  Client ended(this, "ended", kBob);
  flood.Wait();
  ended.Wait();
  ended.Wait(true);
  EXPECT_THAT(Turns(2), ElementsAre("ended", "flood"));
}

TEST_F(OwnerBudgetTest, OneThatIsForgottenHasNoTurn) {
  Client stays(this, "stays", kAlice);
  {
    Client goes(this, "goes", kAlice);
    goes.Hold(1);
    goes.Wait();
    stays.Wait();
  }
  EXPECT_THAT(Turns(2), ElementsAre("stays", "stays"));
  EXPECT_EQ(budget_.held(), 0u);
}

TEST_F(OwnerBudgetTest, WhoHoldsMostLosesWhatIsLargest) {
  constexpr size_t kMost = OwnerBudget::kMaxHeldBytes;
  Client bob(this, "bob", kBob);
  Client large(this, "large", kAlice);
  Client small(this, "small", kAlice);
  bob.Hold(kMost / 3);
  small.Hold(kMost / 8);
  large.Hold(kMost / 4);
  EXPECT_EQ(budget_.given_up(), 0u);
  small.Hold(kMost / 6);
  bob.Hold(kMost / 3 + kMost / 4);
  EXPECT_FALSE(large.gave_up);
  large.Hold(kMost / 4 + kMost / 8);
  EXPECT_TRUE(bob.gave_up);
  EXPECT_FALSE(large.gave_up || small.gave_up);
  EXPECT_LE(budget_.held(), kMost);
  large.Hold(kMost / 2);
  small.Hold(kMost / 2 + 1);
  EXPECT_TRUE(small.gave_up);
  EXPECT_EQ(budget_.given_up(), 2u);
}

TEST(RunLimiterTest, EachOwnerHasABurstAndThenARate) {
  RunLimiter limiter;
  const absl::Duration start = absl::Seconds(1000);
  for (int i = 0; i < static_cast<int>(RunLimiter::kBurst); ++i) {
    ASSERT_TRUE(limiter.Admit(1, start));
  }
  EXPECT_FALSE(limiter.Admit(1, start));
  EXPECT_TRUE(limiter.Admit(2, start));
  int admitted = 0;
  for (int i = 0; i < 1000; ++i) admitted += limiter.Admit(1, start + absl::Seconds(1)) ? 1 : 0;
  EXPECT_EQ(admitted, static_cast<int>(RunLimiter::kPerSecond));
}

TEST(RunLimiterTest, ItsTableIsBounded) {
  RunLimiter limiter;
  const absl::Duration start = absl::Seconds(1000);
  int admitted = 0;
  for (uint32_t owner = 0; owner < 100'000; ++owner)
    admitted += limiter.Admit(owner, start) ? 1 : 0;
  EXPECT_EQ(admitted, static_cast<int>(RunLimiter::kMaxOwners + RunLimiter::kBurst));
}

TEST(RunSharesTest, AnOwnerLeavesAQuarterToOthers) {
  RunShares shares(80, 1);
  for (int run = 0; run < 30; ++run) {
    ASSERT_TRUE(shares.HasRoom(1000, 0)) << run;
    shares.Count(1000, 0, RunShares::kDescriptorsOfRun);
  }
  EXPECT_FALSE(shares.HasRoom(1000, 0));
  EXPECT_TRUE(shares.HasRoom(1001, 0)) << "one directory has all of it";
  shares.Count(1000, 0, -1);
  EXPECT_FALSE(shares.HasRoom(1000, 0)) << "a run takes two";
  shares.Count(1000, 0, -1);
  EXPECT_TRUE(shares.HasRoom(1000, 0));
}

TEST(RunSharesTest, OneOfSeveralDirectoriesLeavesAQuarterToOthers) {
  RunShares shares(80, 2);
  for (uint32_t owner = 0; owner < 30; ++owner) {
    shares.Count(owner, 0, RunShares::kDescriptorsOfRun);
  }
  EXPECT_FALSE(shares.HasRoom(1000, 0));
  EXPECT_TRUE(shares.HasRoom(1000, 1));
}

}  // namespace
}  // namespace vmeventd
