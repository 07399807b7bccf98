#include "server/handover.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/host/parcel.h"
#include "server/kept_runs.h"

namespace vmeventd {
namespace {

UniqueFd Socket() { return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

std::vector<HandedRun> Runs(int count) {
  std::vector<HandedRun> runs(count);
  for (int i = 0; i < count; ++i) {
    runs[i].run_id = absl::StrCat("run ", i);
    runs[i].connection = Socket();
    if (i % 2 == 0) runs[i].process = Socket();
  }
  return runs;
}

absl::StatusOr<Handover> Open(absl::StatusOr<UniqueFd> parcel, const JournalEnd& journal) {
  EXPECT_TRUE(parcel.ok()) << parcel.status();
  return OpenHandover(*std::move(parcel), journal);
}

TEST(HandoverTest, RunsComeWithTheirDescriptors) {
  const std::vector<HandedRun> runs = Runs(3);
  const absl::StatusOr<Handover> handover =
      Open(PackHandover({"journal", 7}, runs), {"journal", 7});
  ASSERT_TRUE(handover.ok()) << handover.status();
  EXPECT_EQ(handover->problem, "");
  ASSERT_EQ(handover->runs.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(handover->runs[i].run_id, runs[i].run_id);
    EXPECT_TRUE(handover->runs[i].connection.valid());
    EXPECT_EQ(handover->runs[i].process.valid(), runs[i].process.valid());
  }
}

TEST(HandoverTest, OneThatLibvirtReportsHasItsProcessAlone) {
  std::vector<HandedRun> runs = Runs(3);
  runs[0].connection.Reset();
  const absl::StatusOr<Handover> handover =
      Open(PackHandover({"journal", 7}, runs), {"journal", 7});
  ASSERT_TRUE(handover.ok()) << handover.status();
  ASSERT_EQ(handover->runs.size(), 3u);
  EXPECT_FALSE(handover->runs[0].connection.valid());
  EXPECT_TRUE(handover->runs[0].process.valid());
  EXPECT_TRUE(handover->runs[1].connection.valid());
}

TEST(HandoverTest, AnotherJournalOrAnOlderCopyKnowsNoneOfThem) {
  for (const JournalEnd& journal : {JournalEnd{"other", 7}, JournalEnd{"journal", 6}}) {
    const absl::StatusOr<Handover> handover = Open(PackHandover({"journal", 7}, Runs(1)), journal);
    ASSERT_TRUE(handover.ok()) << handover.status();
    EXPECT_NE(handover->problem, "");
    ASSERT_EQ(handover->runs.size(), 1u);
    EXPECT_EQ(handover->runs[0].run_id, "");
    EXPECT_TRUE(handover->runs[0].connection.valid());
  }
}

TEST(HandoverTest, DescriptorsThatAreNotItsOwnMakeItUseless) {
  const UniqueFd socket = Socket();
  const std::string run = WriteHandedRun({});
  for (const std::string& text :
       {std::string(), std::string("vmeventd-handover 2 journal 7\n"),
        std::string("vmeventd-handover 1 journal 7\n"),
        absl::StrCat("vmeventd-handover 1 journal 7\n12345 0 ", run, "\n"),
        absl::StrCat("vmeventd-handover 1 journal 7\n12345 1 ", run, "\n"),
        absl::StrCat("vmeventd-handover 1 journal 7\n0 0 ", run, "\n"),
        std::string("vmeventd-handover 1 journal 7\nx")}) {
    EXPECT_FALSE(Open(PackParcel(text, {socket.get()}), {"journal", 7}).ok()) << text;
  }
}

TEST(HandoverTest, AnyOtherErrorLeavesWhatIsKeptForACrash) {
  const auto kept = KeptRuns::Create().value();
  const UniqueFd socket = Socket();
  kept->Keep("run 0", {socket.get(), -1, 0});
  kept->EndTurn({});
  std::vector<HandedRun> runs(1);
  runs[0].connection = UniqueFd(1'000'000);  // not open
  EXPECT_FALSE(PackHandover({"journal", 7}, runs, kept.get()).ok());
  const UniqueFd stored(dup(kept->descriptor()));
  const absl::StatusOr<std::vector<HandedRun>> left = OpenKeptRuns(stored, nullptr);
  ASSERT_TRUE(left.ok()) << left.status();
  EXPECT_EQ(left->size(), 1u);
}

// The packing thread is a user of its own, for whom the kernel counts what is under way, without
// the rights that lift the limit.
TEST(HandoverTest, AFewDescriptorsUnderWayLeaveWhatIsHandedOver) {
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  rlimit few = limit;
  few.rlim_cur = 150;
  const std::vector<HandedRun> runs = Runs(1);
  const auto kept = KeptRuns::Create().value();
  const UniqueFd socket = Socket();
  bool another_user = false;
  absl::StatusOr<UniqueFd> parcel;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  std::thread([&] {
    const auto user = static_cast<uid_t>(100'000'000 + getpid());
    if (syscall(SYS_setresuid, user, user, user) != 0) return;  // of this thread alone
    another_user = true;
    for (int i = 0; i < 200; ++i) kept->Keep(absl::StrCat("run ", i), {socket.get(), -1, 0});
    kept->EndTurn({});
    EXPECT_EQ(kept->kept(), 200u);
    EXPECT_FALSE(PackHandover({"journal", 7}, runs).ok());
    parcel = PackHandover({"journal", 7}, runs, kept.get());
  }).join();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  if (!another_user) GTEST_SKIP() << "needs root";
  const absl::StatusOr<Handover> handover = Open(std::move(parcel), {"journal", 7});
  ASSERT_TRUE(handover.ok()) << handover.status();
  EXPECT_EQ(handover->runs.size(), 1u);
}

}  // namespace
}  // namespace vmeventd
