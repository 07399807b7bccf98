// Retention while events arrive.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/wait.h"
#include "tests/system/chatty_vm.h"
#include "tests/system/journal_test_base.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;

class RetentionTest : public JournalTestBase {
 protected:
  void Start(const std::string& flag, const std::string& value) {
    DaemonOptions options = Options();
    options.arguments.insert(options.arguments.end(), {flag, value});
    StartDaemon(options);
  }
  uint64_t newest() { return daemon().GetServerInfo().newest_sequence(); }
  uint64_t oldest() { return daemon().GetServerInfo().oldest_sequence(); }
};

TEST_F(RetentionTest, OldCursorsGetTheOldestSequenceAndLiveStreamsLoseNothing) {
  constexpr uint64_t kKept = 2000;
  constexpr int kBursts = 20;
  constexpr int kBurst = 1000;
  Start("--retention-events", absl::StrCat(kKept));
  const std::string journal_id = daemon().GetServerInfo().journal_id();
  EventStream live(daemon().channel(), FromOldest());
  live.WaitProgress();
  ChattyVm vm(watch_dir(), "vm1");
  uint64_t last_oldest = 1;
  for (int i = 1; i <= kBursts; ++i) {
    vm.Speak(kBurst);
    const uint64_t expected = static_cast<uint64_t>(i) * kBurst;
    WaitUntil("the burst is published", [&] { return newest() >= expected; });
    EXPECT_GE(oldest(), last_oldest) << "it only grows";
    last_oldest = oldest();
  }
  const uint64_t all = newest();
  WaitUntil("retention has caught up", [&] { return all - oldest() < kKept; });

  const uint64_t first = oldest();
  for (const uint64_t cursor : {uint64_t{0}, uint64_t{1}, first - 2}) {
    const grpc::Status status = TryCursor(cursor, journal_id);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE) << cursor;
    EXPECT_THAT(status.error_message(), HasSubstr(absl::StrCat(oldest())));
  }
  EXPECT_TRUE(TryCursor(oldest() - 1, journal_id).ok());
  EXPECT_TRUE(TryCursor(all, journal_id).ok());

  const auto kept = ListEvents();
  EXPECT_EQ(kept.front().sequence(), oldest());
  EXPECT_EQ(kept.back().sequence(), newest());
  ExpectInOrder(kept);
  EXPECT_EQ(CountGaps(kept), 0u);

  live.Wait("the newest event", [&](const v1::Event& event) { return event.sequence() == all; });
  const auto seen = live.events();
  EXPECT_EQ(seen.front().sequence(), 1u);
  EXPECT_EQ(seen.size(), all);
  ExpectInOrder(seen);
  EXPECT_EQ(CountGaps(seen), 0u);
}

}  // namespace
}  // namespace vmeventd::e2e
