// Stories of a backlog, its journal and its disk, made up from a seed: turns of events, writes that
// succeed, fail or take long, ends without warning and new starts. What the log promises must hold
// in each of them.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/eventlog/backlog.h"
#include "server/events/logged_event.h"

namespace vmeventd {
namespace {

using Work = Backlog::Work;

constexpr size_t kBound = 16 << 10;
constexpr size_t kTurn = 8 << 10;  // more than the largest turn takes

// The content of the disk.
struct Disk {
  std::set<uint64_t> events;
  std::vector<Hole> named;            // the holes that the GAPs among the events name
  uint64_t refused = 0;               // sum of the GAPs that count
  std::map<std::string, int> states;  // the saved state of each run
  Hole hole;                          // the journal's own, that no GAP names
  uint64_t mark = 0;
  absl::Time alive = absl::InfinitePast();
  JournalBounds bounds;

  bool HasOrNames(uint64_t sequence) const {
    if (events.count(sequence) != 0) return true;
    for (const Hole& each : named) {
      if (sequence >= each.first && sequence <= each.last) return true;
    }
    return false;
  }
};

class Story {
 public:
  explicit Story(uint64_t seed) : random_(seed) { Begin(); }

  void Run() {
    const int steps = Between(20, 300);
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
      Step();
      CheckBounds();
    }
    if (testing::Test::HasFatalFailure()) return;
    Settle();
    CheckThatNothingIsMissing();
    Close();
  }

 private:
  bool OneIn(int n) { return Between(1, n) == 1; }
  int Between(int from, int to) { return std::uniform_int_distribution<int>(from, to)(random_); }

  // A start, after an end without warning: what waited is lost.
  void Begin() {
    lost_.insert(waiting_.begin(), waiting_.end());
    waiting_.clear();
    gaps_.clear();
    counts_.clear();
    task_.reset();
    turn_ = 0;
    watched_turn_events_.reset();
    assigned_ = std::max(disk_.mark, disk_.bounds.newest);
    disk_.mark = assigned_ + kReservedSequences;
    refused_before_ = counted_ = refused_;
    backlog_ = std::make_unique<Backlog>(kBound, assigned_, JournalBounds());
    unwritten_states_.clear();
  }

  void Step() {
    switch (Between(0, 9)) {
      case 0:
        now_ += absl::Milliseconds(Between(1, 1500));
        break;
      case 1:
      case 2:
        BeginWrite();
        break;
      case 3:
      case 4:
        EndWrite();
        break;
      case 5:
        Pump();
        break;
      case 6:
        if (OneIn(20)) fails_ = !fails_;
        if (OneIn(60)) Begin();
        break;
      case 7:
        watched_ += absl::Seconds(1);
        backlog_->Watched(watched_, turn_);
        watched_turn_events_ = waiting_;
        break;
      default:
        AddTurn();
        break;
    }
  }

  void AddTurn() {
    Backlog::Changes changes{.turn = ++turn_, .added = now_};
    for (int i = Between(1, 4); i > 0; --i) {
      const bool dropped_last = OneIn(3);
      const size_t before = backlog_->bytes();
      const bool accepted = backlog_->Accept(dropped_last);
      ASSERT_EQ(accepted, before < (dropped_last ? 4 : 2) * kBound);
      if (accepted) {
        PutEvent(&changes);
      } else {
        ++refused_;
      }
      if (!OneIn(2)) continue;
      // The state of a run is saved whether or not its event is dropped.
      const std::string run = absl::StrCat("run-", Between(1, 5));
      states_[run] = ++state_;
      unwritten_states_.insert(run);
      changes.batch.Put(run, {absl::StrCat(state_), assigned_});
    }
    if (changes.batch.empty()) return;
    backlog_->Add(changes);
    backlog_->Reserve(assigned_);
  }

  void PutEvent(Backlog::Changes* changes) {
    v1::Event event;
    event.set_sequence(++assigned_);
    event.set_message(std::string(static_cast<size_t>(Between(1, 1500)), 'x'));
    changes->batch.Put(Logged(std::move(event)));
    waiting_.insert(assigned_);
  }

  // What a pump does: it adds the GAPs that are due, and drops what there is no room for.
  void Pump() {
    while (std::optional<NodeGap> gap = backlog_->TakeGap(assigned_ + 1)) {
      Backlog::Changes changes{.turn = ++turn_, .added = now_};
      PutEvent(&changes);
      if (gap->reason == GapReason::kNotWritten) {
        ASSERT_FALSE(gap->missing.empty());
        for (const auto& [sequence, missing] : gaps_) {
          const bool grew = missing.first > gap->missing.first || missing.last < gap->missing.last;
          ASSERT_TRUE(grew) << "named twice, by " << sequence << " and " << assigned_;
        }
        gaps_[assigned_] = gap->missing;
      } else {
        ASSERT_EQ(gap->reason, GapReason::kQueueFull);
        counts_[assigned_] = refused_ - counted_;
        ASSERT_TRUE(absl::StartsWith(gap->message, absl::StrCat(refused_ - counted_, " events")));
        counted_ = refused_;
      }
      backlog_->Add(changes);
      backlog_->Reserve(assigned_);
    }
    while (const std::optional<Backlog::Dropped> dropped = backlog_->DropOldest(now_)) {
      size_t events = 0;
      for (uint64_t i = dropped->sequences.first; dropped->events > 0; ++i) {
        if (i > dropped->sequences.last) break;
        events += waiting_.erase(i);
        lost_.insert(i);
        gaps_.erase(i);
        counts_.erase(i);
      }
      ASSERT_EQ(events, dropped->events);
      dropped_ = true;
    }
    if (!backlog_->IsWritable(now_) && dropped_) ASSERT_LE(backlog_->bytes(), kBound + kTurn);
  }

  void BeginWrite() {
    if (task_.has_value()) {
      ASSERT_EQ(backlog_->Begin(now_, false).work, Work::kNone) << "one task at a time";
      return;
    }
    const Backlog::Task task = backlog_->Begin(now_, OneIn(4));
    if (task.work == Work::kNone) return;
    task_ = task;
    needed_by_task_ = watched_turn_events_.value_or(std::set<uint64_t>());
  }

  void EndWrite() {
    if (!task_.has_value()) return;
    if (may_be_slow_ && OneIn(5)) now_ += absl::Seconds(3);
    const Backlog::Task task = *std::exchange(task_, std::nullopt);
    Backlog::Done done{.at = now_};
    const bool always_works = task.work == Work::kRetain || task.work == Work::kAlive;
    if (fails_ && !always_works) {
      done.status = absl::UnavailableError("I/O error");
    } else {
      Do(task);
    }
    done.bounds = disk_.bounds;
    if (task.work == Work::kRetain) done.retains_at_once = OneIn(3);
    backlog_->End(task, done);
  }

  // Carries out the task on the disk.
  void Do(const Backlog::Task& task) {
    switch (task.work) {
      case Work::kNone:
      case Work::kRetain:
        break;
      case Work::kOpen:
        backlog_->TakeJournal(disk_.bounds, !std::exchange(is_created_, true), disk_.hole, {},
                              now_);
        break;
      case Work::kMark:
        ASSERT_GE(task.mark, assigned_) << "a sequence that was given is not reserved";
        disk_.mark = task.mark;
        break;
      case Work::kAlive:
        // All that happened before is written, or is in the hole.
        for (const uint64_t sequence : needed_by_task_) {
          ASSERT_TRUE(disk_.events.count(sequence) != 0 || lost_.count(sequence) != 0) << sequence;
        }
        disk_.alive = task.alive;
        break;
      case Work::kAppend:
        Append(*task.batch);
        break;
    }
  }

  void Append(const JournalBatch& batch) {
    for (const EventPtr& event : batch.events) {
      const uint64_t sequence = event->sequence;
      ASSERT_GT(sequence, disk_.bounds.newest) << "not in order";
      ASSERT_LE(sequence, disk_.mark) << "written before it was reserved";
      disk_.bounds.newest = sequence;
      disk_.events.insert(sequence);
      ASSERT_EQ(waiting_.erase(sequence), 1);
      if (const auto gap = gaps_.find(sequence); gap != gaps_.end()) {
        disk_.named.push_back(gap->second);
        gaps_.erase(gap);
      }
      if (const auto count = counts_.find(sequence); count != counts_.end()) {
        disk_.refused += count->second;
      }
    }
    for (const auto& [run, saved] : batch.runs) {
      int state = 0;
      ASSERT_TRUE(absl::SimpleAtoi(saved.payload, &state));
      ASSERT_GT(state, disk_.states[run]) << "an older state replaces a newer one";
      disk_.states[run] = state;
    }
    disk_.hole = batch.hole_is_named ? Hole() : batch.hole;
    // If the daemon ends now, the next one can name all that is missing.
    for (const uint64_t sequence : lost_) {
      const bool in_hole = sequence >= disk_.hole.first && sequence <= disk_.hole.last;
      ASSERT_TRUE(disk_.HasOrNames(sequence) || in_hole || sequence > disk_.bounds.newest)
          << sequence << " is neither named nor in the hole " << disk_.hole.first << " to "
          << disk_.hole.last;
    }
  }

  void CheckBounds() {
    ASSERT_LT(backlog_->bytes(), 4 * kBound + kTurn);
    ASSERT_EQ(backlog_->CountEvents(), waiting_.size());
    ASSERT_EQ(backlog_->refused() + refused_before_, refused_);
  }

  // The disk works from now on, and all that waits is written.
  void Settle() {
    fails_ = may_be_slow_ = false;
    for (int i = 0; i < 10'000; ++i) {
      now_ += absl::Seconds(1);
      Pump();
      BeginWrite();
      EndWrite();
      const bool is_done = !task_.has_value() && waiting_.empty() && !backlog_->GapIsDue() &&
                           backlog_->open() && backlog_->First() == nullptr;
      if (is_done && i > 20) return;
    }
    FAIL() << "the backlog has no end";
  }

  void CheckThatNothingIsMissing() {
    ASSERT_TRUE(backlog_->hole().empty());
    for (const uint64_t sequence : lost_) {
      ASSERT_TRUE(disk_.HasOrNames(sequence)) << sequence << " is lost, and no GAP names it";
    }
    ASSERT_EQ(backlog_->bytes(), 0);
    for (const auto& [run, state] : states_) {
      if (unwritten_states_.count(run) != 0) ASSERT_EQ(disk_.states[run], state) << run;
    }
    ASSERT_TRUE(backlog_->IsSettled(now_));
  }

  void Close() {
    backlog_->CloseAt(assigned_);
    for (int i = 0; i < 10 && !backlog_->closed(); ++i) {
      BeginWrite();
      if (task_.has_value()) {
        const Backlog::Task task = *std::exchange(task_, std::nullopt);
        if (task.work == Work::kMark) disk_.mark = task.mark;
        if (task.work == Work::kAlive) disk_.alive = task.alive;
        backlog_->End(task, {.at = now_, .bounds = disk_.bounds});
      }
    }
    ASSERT_TRUE(backlog_->closed());
    ASSERT_EQ(disk_.mark, assigned_);
    if (watched_turn_events_.has_value()) ASSERT_EQ(disk_.alive, watched_);
  }

  std::mt19937_64 random_;
  Disk disk_;
  bool is_created_ = false;
  bool fails_ = false;
  bool may_be_slow_ = true;
  absl::Duration now_ = absl::Seconds(100);
  absl::Time watched_ = absl::UnixEpoch();
  std::unique_ptr<Backlog> backlog_;
  std::optional<Backlog::Task> task_;

  uint64_t assigned_ = 0;
  uint64_t turn_ = 0;
  std::set<uint64_t> waiting_;  // sequences that were given, neither written nor dropped
  std::set<uint64_t> lost_;     // dropped, or waiting as the daemon ended
  std::map<uint64_t, Hole> gaps_;
  std::map<uint64_t, uint64_t> counts_;
  // The sequences that were waiting when Watched() was last called.
  std::optional<std::set<uint64_t>> watched_turn_events_;
  std::set<uint64_t> needed_by_task_;  // the same, as the task began
  uint64_t refused_ = 0;
  uint64_t refused_before_ = 0;  // under earlier daemons
  uint64_t counted_ = 0;         // events that GAPs count, or that were lost with a daemon
  bool dropped_ = false;
  int state_ = 0;
  std::map<std::string, int> states_;       // the newest state of each run
  std::set<std::string> unwritten_states_;  // given in this life
};

TEST(BacklogStoriesTest, WhateverTheDiskDoesEachEventIsWrittenOrNamedByAGap) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Story story(seed);
    story.Run();
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace vmeventd
