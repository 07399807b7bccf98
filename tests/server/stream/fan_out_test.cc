#include "server/stream/fan_out.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;

class Task : public FanOutTask {
 public:
  explicit Task(std::function<void()> turn) : turn_(std::move(turn)) {}
  void Turn() override { turn_(); }

 private:
  const std::function<void()> turn_;
};

// What happened, in order, and a gate that holds a turn until it is opened.
class Record {
 public:
  void Add(const std::string& what) {
    const MutexLock lock(&mutex_);
    done_.push_back(what);
    changed_.NotifyAll();
  }
  std::vector<std::string> WaitFor(size_t count) {
    const MutexLock lock(&mutex_);
    while (done_.size() < count) changed_.Wait(&mutex_);
    return done_;
  }
  void WaitUntilOpen() {
    const MutexLock lock(&mutex_);
    while (!open_) changed_.Wait(&mutex_);
  }
  void Open() {
    const MutexLock lock(&mutex_);
    open_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::string> done_;
  bool open_ = false;
};

TEST(FanOut, WorksOnThreadsOfItsOwnAndInTurnsOfTheOwners) {
  Record record;
  FanOut fan_out(1, [] {});
  fan_out.Add("a", std::make_shared<Task>([&record, caller = std::this_thread::get_id()] {
                record.WaitUntilOpen();
                record.Add(std::this_thread::get_id() == caller ? "mine" : "its own");
              }));
  const auto add = [&](const std::string& owner, const std::string& name) {
    fan_out.Add(owner, std::make_shared<Task>([&record, name] { record.Add(name); }));
  };
  add("a", "a1");
  add("a", "a2");
  add("b", "b1");
  record.Open();
  const std::vector<std::string> done = record.WaitFor(4);
  EXPECT_EQ(done[0], "its own");
  // Whether the first task was taken before the others came decides whose turn is next.
  EXPECT_TRUE(done[1] == "b1" || done[2] == "b1");
}

TEST(FanOut, AddsAllWithoutWaiting) {
  Record record;
  FanOut fan_out(1, [&record] { record.Add("all"); });
  fan_out.Add("a", std::make_shared<Task>([&record] {
                record.Add("begun");
                record.WaitUntilOpen();
              }));
  record.WaitFor(1);
  for (int i = 0; i < 1000; ++i) fan_out.AddAll();  // while its thread is busy
  record.Open();
  EXPECT_THAT(record.WaitFor(2), ElementsAre("begun", "all"));
  fan_out.AddAll();
  EXPECT_THAT(record.WaitFor(3), ElementsAre("begun", "all", "all"));
}

TEST(FanOut, WithoutThreadsItsTurnsAreTheCallers) {
  std::vector<std::string> done;
  FanOut fan_out(0, [&done] { done.emplace_back("all"); });
  EXPECT_FALSE(fan_out.RunTurn());
  fan_out.Add("a", std::make_shared<Task>([&done] { done.emplace_back("a"); }));
  fan_out.Add("a", std::make_shared<Task>([&done] { done.emplace_back("a again"); }));
  fan_out.AddAll();
  EXPECT_TRUE(fan_out.RunTurn());
  EXPECT_THAT(done, ElementsAre("all", "a"));
  EXPECT_TRUE(fan_out.RunTurn());
  EXPECT_THAT(done, ElementsAre("all", "a", "a again"));
  EXPECT_FALSE(fan_out.RunTurn());
}

TEST(FanOut, EndsWithoutTheTurnsThatWait) {
  Record record;
  auto waiting = std::make_shared<Task>([&record] { record.Add("waiting"); });
  {
    FanOut fan_out(1, [] {});
    fan_out.Add("a", std::make_shared<Task>([&record] {
                  record.Add("begun");
                  record.WaitUntilOpen();
                }));
    record.WaitFor(1);
    for (int i = 0; i < 100; ++i) fan_out.Add("a", waiting);
    record.Open();
  }
  EXPECT_EQ(waiting.use_count(), 1);
}

}  // namespace
}  // namespace vmeventd
