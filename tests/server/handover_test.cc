#include "server/handover.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/kept_runs.h"

namespace vmeventd {
namespace {

// A daemon with three runs, the second of which libvirt reports: it has a process alone.
class HandoverTest : public testing::Test {
 protected:
  HandoverTest() {
    for (int i = 0; i < 3; ++i) {
      kept_->Keep(RunId(i), {.connection = i == 1 ? -1 : socket_.get(),
                             .process = i == 2 ? -1 : socket_.get()});
      said_.emplace_back();
      said_.back().run_id = RunId(i);
      said_.back().saved = static_cast<uint64_t>(i);
    }
    kept_->EndTurn({});
  }

  static std::string RunId(int i) { return absl::StrCat("run ", i); }
  std::string Said() const { return WriteHandover({"journal", 7}, kept_->descriptor(), said_); }
  // As the next daemon has them of the parcel, completed by `text`, where its journal is `journal`.
  std::vector<HandedRun> Complete(const std::string& text, const JournalEnd& journal) {
    const UniqueFd parcel(dup(kept_->descriptor()));
    std::vector<HandedRun> runs = OpenKeptRuns(parcel, nullptr).value();
    status_ = ReadHandover(text, journal, parcel.get(), &runs);
    std::sort(runs.begin(), runs.end(),
              [](const HandedRun& a, const HandedRun& b) { return a.run_id < b.run_id; });
    return runs;
  }

  const UniqueFd socket_{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  const std::unique_ptr<KeptRuns> kept_ = KeptRuns::Create().value();
  std::vector<HandedRun> said_;
  absl::Status status_;
};

TEST_F(HandoverTest, RunsComeWithTheirDescriptors) {
  const std::vector<HandedRun> runs = Complete(Said(), {"journal", 7});
  ASSERT_TRUE(status_.ok()) << status_;
  ASSERT_EQ(runs.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(runs[i].run_id, RunId(i));
    EXPECT_EQ(runs[i].saved, static_cast<uint64_t>(i));
    EXPECT_FALSE(runs[i].after_crash);
    EXPECT_EQ(runs[i].connection.valid(), i != 1);
    EXPECT_EQ(runs[i].process.valid(), i != 2);
  }
}

TEST_F(HandoverTest, OneOfWhichNothingIsSaidIsClosed) {
  said_.pop_back();
  said_.emplace_back();
  said_.back().run_id = "one that was not kept";
  const std::vector<HandedRun> runs = Complete(Said(), {"journal", 7});
  ASSERT_TRUE(status_.ok()) << status_;
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0].run_id, "");
  EXPECT_TRUE(runs[0].connection.valid());
  EXPECT_EQ(runs[1].run_id, RunId(0));
  EXPECT_EQ(runs[2].run_id, RunId(1));
}

TEST_F(HandoverTest, AnotherJournalKnowsNoneOfThem) {
  const std::vector<HandedRun> runs = Complete(Said(), {"other", 7});
  EXPECT_EQ(status_.code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_EQ(runs.size(), 3u);
  int connected = 0;
  for (const HandedRun& run : runs) {
    EXPECT_EQ(run.run_id, "");
    connected += run.connection.valid() ? 1 : 0;
  }
  EXPECT_EQ(connected, 2) << "their descriptors are still to be closed";
}

TEST_F(HandoverTest, AnOlderCopyOfTheJournalKnowsNoneOfThem) {
  EXPECT_EQ(Complete(Said(), {"journal", 6})[2].run_id, "");
  EXPECT_EQ(status_.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(HandoverTest, WhatIsNotSaidOfThemLeavesThemAsAfterACrash) {
  const auto other = KeptRuns::Create().value();
  const std::string first = WriteHandover({"journal", 7}, kept_->descriptor(), {});
  for (const std::string& text :
       {std::string(), std::string("vmeventd-handover 1 journal 7\n"), first + "x", first + "x\n",
        WriteHandover({"journal", 7}, other->descriptor(), said_)}) {
    std::vector<HandedRun> runs(1);
    runs[0].run_id = RunId(0);
    runs[0].after_crash = true;
    const absl::Status status = ReadHandover(text, {"journal", 7}, kept_->descriptor(), &runs);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(runs[0].run_id, RunId(0));
    EXPECT_TRUE(runs[0].after_crash);
  }
}

}  // namespace
}  // namespace vmeventd
