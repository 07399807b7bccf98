#include "watcher/node/intent_requests.h"

#include "gtest/gtest.h"
#include "tests/watcher/runs/fake_run.h"
#include "tests/watcher/runs/run_table_fixture.h"

namespace vmeventd {
namespace {

class IntentRequestsTest : public RunTableFixture {};

// Each makes two events, which no limit of events holds back.
TEST_F(IntentRequestsTest, IntentsBeyondTheNodesRateAreRefused) {
  options_.event_limits = false;  // nor does the limit of a run
  FakeRun* const run = Add("vm1", "run-1");
  IntentRequests intents(loop_.get(), &table_, &sink_, true);
  const auto declare = [&] {
    absl::Status result = absl::UnknownError("not called");
    intents.Declare(
        {"vm1", "run-1", "id", "ops", "why", absl::Minutes(10), ""},
        [&result](const absl::StatusOr<v1::Intent>& intent) { result = intent.status(); });
    intents.Handle();
    if (run->session().open_intent() != nullptr) {
      sink_.entries().back().update.on_public();
      run->WithdrawIntent([] {});
    }
    return result;
  };
  for (int i = 0; i < kNodeIntents.burst; ++i) ASSERT_TRUE(declare().ok()) << i;
  EXPECT_TRUE(absl::IsResourceExhausted(declare()));
  clock_.Advance(absl::Seconds(1));
  for (int i = 0; i < kNodeIntents.per_second; ++i) EXPECT_TRUE(declare().ok());
  EXPECT_TRUE(absl::IsResourceExhausted(declare()));
}

}  // namespace
}  // namespace vmeventd
