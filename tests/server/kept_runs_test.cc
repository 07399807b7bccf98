#include "server/kept_runs.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/host/parcel.h"
#include "server/host/shared_memory.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

UniqueFd NewSocket() { return UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); }

uint64_t InodeOf(const UniqueFd& fd) {
  struct stat status {};
  return fstat(fd.get(), &status) == 0 ? status.st_ino : 0;
}

class KeptRunsTest : public testing::Test {
 protected:
  void Keep(const std::string& run_id, bool tracked = true) {
    std::pair<UniqueFd, UniqueFd>& run = runs_[run_id];
    run = {NewSocket(), tracked ? NewSocket() : UniqueFd()};
    kept_->Keep(run_id, {run.first.get(), run.second.get(), 1000});
  }
  void Forget(const std::string& run_id) {
    kept_->Forget(run_id);
    runs_.erase(run_id);
  }
  // What the next daemon finds after a crash, of each run the inode of its connection.
  std::map<std::string, uint64_t> Crash() {
    const UniqueFd stored(dup(kept_->descriptor()));
    kept_.reset();
    absl::StatusOr<std::vector<HandedRun>> runs = OpenKeptRuns(stored, nullptr);
    EXPECT_TRUE(runs.ok()) << runs.status();
    std::map<std::string, uint64_t> found;
    for (const HandedRun& run : *runs) {
      EXPECT_TRUE(run.after_crash);
      EXPECT_EQ(run.socket_owner, 1000u);
      found[run.run_id] = InodeOf(run.connection);
      const auto own = runs_.find(run.run_id);
      if (own == runs_.end()) continue;
      EXPECT_EQ(found[run.run_id], InodeOf(own->second.first));
      EXPECT_EQ(InodeOf(run.process), InodeOf(own->second.second));
    }
    return found;
  }

  std::unique_ptr<KeptRuns> kept_ = KeptRuns::Create().value();
  std::map<std::string, std::pair<UniqueFd, UniqueFd>> runs_;
};

TEST_F(KeptRunsTest, ACrashLeavesThemWithTheirDescriptors) {
  for (int i = 0; i < 300; ++i) {
    Keep(absl::StrCat("run ", i), i % 3 != 0);
    if (i == 100) kept_->EndTurn({});
  }
  kept_->EndTurn({});
  EXPECT_EQ(kept_->kept(), 300u);
  EXPECT_EQ(Crash().size(), 300u);
}

TEST_F(KeptRunsTest, OneThatLibvirtReportsHasItsProcessAlone) {
  const UniqueFd process = NewSocket();
  EXPECT_EQ(kept_->Keep("domain", {.process = process.get()}), nullptr);
  for (int i = 0; i < 200; ++i) {  // it is sent again among them
    Keep("goes");
    kept_->EndTurn({});
    Forget("goes");
    kept_->EndTurn({});
  }
  const UniqueFd stored(dup(kept_->descriptor()));
  kept_.reset();
  const absl::StatusOr<std::vector<HandedRun>> runs = OpenKeptRuns(stored, nullptr);
  ASSERT_TRUE(runs.ok()) << runs.status();
  const auto domain = std::find_if(runs->begin(), runs->end(),
                                   [](const HandedRun& run) { return run.run_id == "domain"; });
  ASSERT_NE(domain, runs->end());
  EXPECT_FALSE(domain->connection.valid());
  EXPECT_EQ(InodeOf(domain->process), InodeOf(process));
}

TEST_F(KeptRunsTest, WhatATurnHasAddedIsKeptAtItsEnd) {
  Keep("run");
  EXPECT_THAT(Crash(), IsEmpty());
}

TEST_F(KeptRunsTest, TheNewestConnectionOfARunCounts) {
  for (int i = 0; i < 3; ++i) {
    Keep("run");
    kept_->EndTurn({});
  }
  EXPECT_EQ(kept_->kept(), 1u);
  const uint64_t newest = InodeOf(runs_["run"].first);
  EXPECT_THAT(Crash(), ElementsAre(Pair("run", newest)));
}

// Each turn begins and ends one VM, beside those that stay.
TEST_F(KeptRunsTest, WhatHasEndedIsLetGoOf) {
  for (int i = 0; i < 200; ++i) {
    Keep(absl::StrCat("stays ", i));
    kept_->EndTurn({});
  }
  for (int i = 0; i < 2000; ++i) {
    Keep(absl::StrCat("goes ", i));
    kept_->EndTurn({});
    Forget(absl::StrCat("goes ", i));
    kept_->EndTurn({});
  }
  EXPECT_EQ(kept_->left_out(), 0u);
  EXPECT_EQ(kept_->kept(), 200u);
  const std::map<std::string, uint64_t> found = Crash();
  for (int i = 0; i < 200; ++i) EXPECT_TRUE(found.contains(absl::StrCat("stays ", i))) << i;
  EXPECT_LE(found.size(), 500u);
}

TEST_F(KeptRunsTest, BeyondTheBoundIsCounted) {
  kept_ = KeptRuns::Create(2).value();
  for (const char* run_id : {"1", "2", "3"}) Keep(run_id);
  kept_->EndTurn({});
  EXPECT_EQ(kept_->left_out(), 1u);
  Forget("1");
  Keep("4");
  kept_->EndTurn({});
  EXPECT_EQ(kept_->left_out(), 1u);
  EXPECT_EQ(Crash().count("3"), 0u);
}

TEST_F(KeptRunsTest, AProcessThatEndsInTheSameTurnCostsItsOwnRun) {
  Keep("1");
  Keep("2");
  Keep("3");
  runs_["2"].second.Reset();
  kept_->EndTurn({});
  EXPECT_EQ(kept_->left_out(), 1u);
  EXPECT_EQ(kept_->kept(), 2u);
  runs_.erase("2");
  const std::map<std::string, uint64_t> found = Crash();
  EXPECT_EQ(found.size(), 2u);
  EXPECT_EQ(found.count("2"), 0u);
}

TEST_F(KeptRunsTest, AFullQueueIsCounted) {
  const std::string long_id(900, 'x');
  const UniqueFd socket = NewSocket();
  for (int i = 0; i < 14'000; ++i) {
    kept_->Keep(absl::StrCat(long_id, i), {socket.get(), -1, 0});
    if (i % 100 == 0) kept_->EndTurn({});
  }
  EXPECT_GT(kept_->left_out(), 0u);
}

TEST_F(KeptRunsTest, WhatWasReadIsThereByTheirMemory) {
  const UniqueFd connection = NewSocket();
  const auto stream = kept_->Keep("run", {connection.get(), -1, 0});
  kept_->EndTurn({});
  stream->Begin(3, "unhandled");
  const UniqueFd parcel(dup(kept_->descriptor()));
  const auto notes = SharedMemory::Open(UniqueFd(dup(kept_->notes_descriptor())));
  ASSERT_TRUE(notes.ok()) << notes.status();
  // The memory of another parcel says nothing of this one.
  const auto other = KeptRuns::Create();
  const UniqueFd copy(dup((*other)->descriptor()));
  EXPECT_TRUE(OpenKeptRuns(copy, notes->get()).ok());
  const absl::StatusOr<std::vector<HandedRun>> runs = OpenKeptRuns(parcel, notes->get());
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_EQ(runs->size(), 1u);
  ASSERT_TRUE(runs->front().noted.has_value());
  EXPECT_EQ(runs->front().noted->After(3), "unhandled");
}

TEST(SharedMemoryTest, AnythingElseIsRefused) {
  EXPECT_FALSE(SharedMemory::Open(NewSocket()).ok());
  EXPECT_FALSE(SharedMemory::Open(UniqueFd(open("/dev/zero", O_RDWR | O_CLOEXEC))).ok());
}

TEST(SharedMemoryTest, ItOutlivesWhoMadeItAndKeepsItsSize) {
  auto made = SharedMemory::Create("test", 10'000, 100);
  ASSERT_TRUE(made.ok()) << made.status();
  (*made)->bytes()[9'999] = 'x';
  UniqueFd held(dup((*made)->descriptor()));
  made->reset();
  EXPECT_NE(ftruncate(held.get(), 0), 0);
  const auto opened = SharedMemory::Open(std::move(held));
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ((*opened)->bytes().size(), 10'000u);
  EXPECT_EQ((*opened)->bytes()[9'999], 'x');
}

TEST(OpenKeptRunsTest, OneThatSomebodyFillsIsRefused) {
  const ParcelSockets sockets = MakeParcelSockets().value();
  const UniqueFd socket = NewSocket();
  const int number = socket.get();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(
        SendToParcel(sockets.sender.get(), "vmeventd-kept 1\n1 0 1 run\n", {&number, 1}).ok());
  }
  EXPECT_EQ(OpenKeptRuns(sockets.parcel, nullptr, 2).status().message(), "it has no end");
}

TEST(OpenKeptRunsTest, AnythingElseIsRefused) {
  EXPECT_FALSE(OpenKeptRuns(NewSocket(), nullptr).ok());
  EXPECT_FALSE(OpenKeptRuns(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)), nullptr).ok());
  const UniqueFd socket = NewSocket();
  const int number = socket.get();
  for (const char* text : {"vmeventd-kept 2\n1 0 1 run\n", "vmeventd-kept 1\n1 0 2 run\n",
                           "vmeventd-kept 1\n1 0 3 run\n", "vmeventd-kept 1\nx 0 1 run\n",
                           "vmeventd-kept 1\n1 0\n", "x"}) {
    const ParcelSockets sockets = MakeParcelSockets().value();
    ASSERT_TRUE(SendToParcel(sockets.sender.get(), text, {&number, 1}).ok());
    EXPECT_FALSE(OpenKeptRuns(sockets.parcel, nullptr).ok()) << text;
  }
}

}  // namespace
}  // namespace vmeventd
