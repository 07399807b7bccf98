#include "watcher/qmp/slot_table.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "watcher/core/problem.h"
#include "watcher/qmp/socket_file.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

// The socket of inode `inode`, made at `made_ns`.
SeenSocket SeenSocketOf(uint64_t inode, int64_t made_ns, uint32_t owner = 0) {
  SeenSocket seen;
  seen.identity.device = 1;
  seen.identity.inode = inode;
  seen.identity.made_ns = made_ns;
  seen.owner = owner;
  return seen;
}

class SlotTableTest : public testing::Test {
 protected:
  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kAlice = 1000;

  // "PATH of NAME: PROBLEM" of each listed socket, and the Unix time since which it is listed.
  std::vector<std::pair<std::string, int64_t>> Unfollowed() const {
    v1::GetServerInfoResponse info;
    table_.unfollowed().Describe(&info);
    std::vector<std::pair<std::string, int64_t>> listed;
    for (const v1::UnfollowedSocket& one : info.unfollowed_sockets()) {
      listed.emplace_back(one.path() + " of " + one.name() + ": " + one.problem().text(),
                          one.since().seconds());
    }
    return listed;
  }

  const Problem refused_ = {ProblemCode::kRefused, "nobody listens"};
  const Problem not_qmp_ = {ProblemCode::kNotQmp, "no greeting"};
  SlotTable table_;
  RunSockets old_run_;
  RunSockets new_run_;
};

TEST_F(SlotTableTest, APathHasOneSlot) {
  EXPECT_EQ(table_.Find("/run/a"), nullptr);
  SocketSlot* const slot = table_.At("/run/a");
  EXPECT_EQ(slot->path, "/run/a");
  EXPECT_EQ(table_.At("/run/a"), slot);
  EXPECT_EQ(table_.Find("/run/a"), slot);
  EXPECT_NE(table_.At("/run/b"), slot);
}

TEST_F(SlotTableTest, ADroppedSlotExistsUntilTheEndOfTheTurnWhileItsPathMayGetANewOne) {
  SocketSlot* const slot = table_.At("/run/a");
  table_.Drop(slot);
  EXPECT_EQ(table_.Find("/run/a"), nullptr);
  EXPECT_EQ(slot->path, "/run/a");
  SocketSlot* const next = table_.At("/run/a");
  EXPECT_NE(next, slot);
  table_.Drop(slot);  // once more
  EXPECT_EQ(table_.Find("/run/a"), next);
  table_.FreeDropped();
  EXPECT_EQ(table_.Find("/run/a"), next);
}

TEST_F(SlotTableTest, ASlotLeadsToOneRunAndARunMayHaveSeveral) {
  SocketSlot* const a = table_.At("/run/a");
  SocketSlot* const b = table_.At("/run/b");
  table_.Lead(a, &old_run_);
  table_.Lead(b, &old_run_);
  EXPECT_THAT(old_run_.slots, ElementsAre(a, b));
  table_.Lead(a, &old_run_);  // as it does already
  EXPECT_THAT(old_run_.slots, ElementsAre(a, b));
  table_.Lead(a, &new_run_);
  EXPECT_THAT(old_run_.slots, ElementsAre(b));
  EXPECT_THAT(new_run_.slots, ElementsAre(a));
  EXPECT_EQ(a->leads_to, &new_run_);
  table_.Lead(a, nullptr);
  EXPECT_THAT(new_run_.slots, IsEmpty());
  EXPECT_EQ(a->leads_to, nullptr);
}

TEST_F(SlotTableTest, ADroppedSlotLeadsToNoRun) {
  SocketSlot* const slot = table_.At("/run/a");
  table_.Lead(slot, &old_run_);
  table_.Drop(slot);
  EXPECT_THAT(old_run_.slots, IsEmpty());
}

TEST_F(SlotTableTest, ARunIsFoundByTheLastSocketThroughWhichItWasAttached) {
  SocketSlot* const slot = table_.At("/run/a");
  table_.AddRun(slot, kRoot, &old_run_);
  table_.Lead(slot, &old_run_);
  const SeenSocket first = SeenSocketOf(7, 100);
  const SeenSocket second = SeenSocketOf(8, 200, kAlice);
  table_.SetAttached(&old_run_, slot, first);
  EXPECT_EQ(table_.AttachedBy(InodeOf(first.identity)), &old_run_);
  table_.SetAttached(&old_run_, slot, second);
  EXPECT_EQ(table_.AttachedBy(InodeOf(first.identity)), nullptr);
  EXPECT_EQ(table_.AttachedBy(InodeOf(second.identity)), &old_run_);
  EXPECT_EQ(old_run_.attached_by, slot);
  EXPECT_EQ(old_run_.owner, kAlice);
  table_.Lead(slot, nullptr);
  EXPECT_EQ(old_run_.attached_by, nullptr);
}

TEST_F(SlotTableTest, ALaterRunMayHaveTheInodeOfAnEndedOne) {
  SocketSlot* const slot = table_.At("/run/a");
  table_.AddRun(slot, kRoot, &old_run_);
  table_.SetAttached(&old_run_, slot, SeenSocketOf(7, 100));
  table_.AddRun(slot, kRoot, &new_run_);
  table_.SetAttached(&new_run_, slot, SeenSocketOf(7, 200));
  table_.RemoveRun(&old_run_, SeenSocketOf(7, 100).identity);
  EXPECT_EQ(table_.AttachedBy(InodeOf(SeenSocketOf(7, 0).identity)), &new_run_);
  table_.RemoveRun(&new_run_, SeenSocketOf(7, 200).identity);
  EXPECT_EQ(table_.AttachedBy(InodeOf(SeenSocketOf(7, 0).identity)), nullptr);
}

TEST_F(SlotTableTest, ASlotIsInUseWhileItHasASocketOrARunThatWasFoundThere) {
  SocketSlot* const slot = table_.At("/run/a");
  EXPECT_TRUE(slot->unused());
  slot->present = true;
  EXPECT_FALSE(slot->unused());
  table_.AddRun(slot, kRoot, &old_run_);
  slot->present = false;
  EXPECT_FALSE(slot->unused());
  EXPECT_EQ(old_run_.home, slot);
  table_.RemoveRun(&old_run_, {});
  EXPECT_TRUE(slot->unused());
}

TEST_F(SlotTableTest, RemovingARunMarksTheSlotOfItsSocketAsEnded) {
  SocketSlot* const its = table_.At("/run/a");
  SocketSlot* const replaced = table_.At("/run/b");
  SlotTable::SetSeen(its, SeenSocketOf(7, 100).identity);
  SlotTable::SetSeen(replaced, SeenSocketOf(8, 200).identity);
  table_.AddRun(its, kRoot, &old_run_);
  table_.Lead(its, &old_run_);
  table_.Lead(replaced, &old_run_);
  table_.RemoveRun(&old_run_, SeenSocketOf(7, 100).identity);
  EXPECT_TRUE(its->end_seen);
  EXPECT_FALSE(replaced->end_seen);
  EXPECT_EQ(its->leads_to, nullptr);
  EXPECT_EQ(replaced->leads_to, nullptr);
}

TEST_F(SlotTableTest, AnotherSocketAtThePathIsCheckedAgain) {
  SocketSlot* const slot = table_.At("/run/a");
  SlotTable::SetSeen(slot, SeenSocketOf(7, 100).identity);
  const auto judge = [slot] {
    slot->end_seen = slot->left_alone = true;
    slot->silent_until = absl::Seconds(60);
  };
  judge();
  SlotTable::SetSeen(slot, SeenSocketOf(7, 100).identity);
  EXPECT_TRUE(slot->end_seen && slot->left_alone);
  EXPECT_EQ(slot->silent_until, absl::Seconds(60));
  SlotTable::SetSeen(slot, SeenSocketOf(7, 200).identity);  // an inode is used again
  EXPECT_FALSE(slot->end_seen || slot->left_alone);
  EXPECT_EQ(slot->silent_until, absl::ZeroDuration());
}

TEST_F(SlotTableTest, AProblemIsListedOnceUntilItIsCleared) {
  SocketSlot* const a = table_.At("/run/a");
  SocketSlot* const b = table_.At("/run/b");
  EXPECT_TRUE(table_.SetProblem(a, "web1", refused_, absl::FromUnixSeconds(10)));
  EXPECT_FALSE(table_.SetProblem(a, "web1", refused_, absl::FromUnixSeconds(11)));
  EXPECT_TRUE(table_.SetProblem(b, "web2", refused_, absl::FromUnixSeconds(12)));
  // Another problem of a socket that is listed already.
  EXPECT_TRUE(table_.SetProblem(a, "web1", not_qmp_, absl::FromUnixSeconds(13)));
  EXPECT_THAT(Unfollowed(), UnorderedElementsAre(Pair("/run/a of web1: no greeting", 10),
                                                 Pair("/run/b of web2: nobody listens", 12)));
  table_.ClearProblem(a);
  table_.ClearProblem(a);
  EXPECT_THAT(Unfollowed(), ElementsAre(Pair("/run/b of web2: nobody listens", 12)));
  EXPECT_TRUE(table_.SetProblem(a, "web1", not_qmp_, absl::FromUnixSeconds(14)));
}

}  // namespace
}  // namespace vmeventd
