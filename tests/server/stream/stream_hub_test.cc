#include "server/stream/stream_hub.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "server/stream/watch_stream.h"
#include "tests/support/busy_clock.h"
#include "tests/support/pumped_state.h"
#include "tests/support/vm_updates.h"

namespace vmeventd {
namespace {

// A call whose client reads at once.
class Call final : public StreamCall {
 public:
  explicit Call(std::function<void()> before_answer = [] {})
      : before_answer_(std::move(before_answer)) {}

  void AnswerBy(WatchStream* stream) override {
    before_answer_();
    const MutexLock lock(&mutex_);
    stream_ = stream;
  }
  absl::Status Hold(size_t) override { return absl::OkStatus(); }
  void Write(const grpc::ByteBuffer*) override {
    WatchStream* answered_by = nullptr;
    {
      const MutexLock lock(&mutex_);
      ++writes_;
      answered_by = stream_;
      if (answered_by == nullptr) ++lost_;
      changed_.NotifyAll();
    }
    if (answered_by != nullptr) answered_by->OnWriteDone(true);
  }
  void End(const absl::Status&) override {
    stream_->OnDone();
    const MutexLock lock(&mutex_);
    ended_ = true;
    changed_.NotifyAll();
  }
  void Abort(const absl::Status&) override {}

  void Leave() { stream_->OnCancel(); }
  // Returns once the stream is gone: until then it writes.
  void Cancel() {
    Leave();
    const MutexLock lock(&mutex_);
    while (!ended_) changed_.Wait(&mutex_);
  }
  int writes() const {
    const MutexLock lock(&mutex_);
    return writes_;
  }
  // Waits until there are more than `before`.
  void WaitForMore(int before) {
    const MutexLock lock(&mutex_);
    while (writes_ <= before) changed_.Wait(&mutex_);
  }
  int lost() const {
    const MutexLock lock(&mutex_);
    return lost_;
  }

 private:
  const std::function<void()> before_answer_;
  mutable Mutex mutex_;
  CondVar changed_;
  WatchStream* stream_ = nullptr;
  int writes_ = 0;
  int lost_ = 0;  // writes whose end would not be reported
  bool ended_ = false;
};

// A write whose end gets lost would be the stream's last.
TEST(StreamHubTest, AStreamOpenedDuringEventsWritesNothingBeforeOpenReturns) {
  PumpedState pumped;
  StreamHub hub(&pumped.log(), &pumped.clock(), {});
  v1::EventFilter named;
  named.add_vm_names("vm1");
  for (const v1::EventFilter& filter : {named, v1::EventFilter()}) {
    Call witness;
    hub.Open(&witness, {}, {filter}, {"a"});
    witness.WaitForMore(0);
    Call call([&] {
      for (int i = 0; i < 5; ++i) {
        const int before = witness.writes();
        pumped.PushEach("vm1", 1);
        witness.WaitForMore(before);
      }
    });
    hub.Open(&call, {}, {filter}, {"b"});
    call.WaitForMore(0);
    EXPECT_EQ(call.lost(), 0);
    witness.Cancel();
    call.Cancel();
  }
}

TEST(StreamHubTest, AStreamWhoseClientLeavesWhileTheDiskHangsIsOverAtOnce) {
  PumpedState pumped(RingOf(1));
  pumped.PushEach("a", 10);
  BusyClock clock;
  StreamHub hub(&pumped.log(), &clock, {}, /*threads=*/0);
  Call call;
  hub.Open(&call, {.start = AfterSequence{0, kJournal}}, {}, {"a"});
  while (hub.RunTurn()) {
  }
  EXPECT_EQ(call.writes(), 1) << "it waits for a page of the journal";
  int streams = -1;
  clock.Do(1, [&] {
    call.Leave();
    while (hub.RunTurn()) {
    }
    streams = hub.stream_count();
  });
  EXPECT_TRUE(pumped.log().StepHistory());
  EXPECT_EQ(streams, 0);
  EXPECT_EQ(call.writes(), 1);
}

TEST(StreamHubTest, AStreamEndedByAJournalErrorIsCountedAsAnErrorAndNotAsAShutdown) {
  PumpedState pumped(RingOf(1));
  pumped.PushEach("a", 10);
  StreamHub hub(&pumped.log(), &pumped.clock(), {}, /*threads=*/0);
  Call call;
  hub.Open(&call, {.start = AfterSequence{0, kJournal}}, {}, {"a"});
  pumped.log().Stop();  // nothing reads the journal from now on
  while (hub.RunTurn()) {
  }
  EXPECT_EQ(hub.meters().ends(StreamEnd::kError), 1u);
}

// A call whose client reads the first message, a Progress, and then never again.
class StalledCall final : public StreamCall {
 public:
  void AnswerBy(WatchStream* stream) override { stream_ = stream; }
  absl::Status Hold(size_t) override { return absl::OkStatus(); }
  void Write(const grpc::ByteBuffer* message) override {
    if (std::exchange(greeted_, true)) {
      bytes_ = message->Length();
    } else {
      stream_->OnWriteDone(true);
    }
  }
  void End(const absl::Status&) override { stream_->OnDone(); }
  void Abort(const absl::Status&) override {}

  // Bytes of the message that it has not read.
  size_t bytes() const { return bytes_; }
  void Leave() {
    stream_->OnCancel();
    stream_->OnWriteDone(false);
  }

 private:
  WatchStream* stream_ = nullptr;
  bool greeted_ = false;
  size_t bytes_ = 0;
};

TEST(StreamHubTest, TheMessagesOfManyStreamsThatNobodyReadsStayInBounds) {
  constexpr size_t kBoundOfAll = size_t{24} << 20;
  PumpedState pumped;
  std::vector<VmUpdate> updates;
  for (int i = 0; i < 4'000; ++i) updates.push_back(Update("vm1", EventType::kReset));
  pumped.Push(std::move(updates));
  StreamHub hub(&pumped.log(), &pumped.clock(), {}, /*threads=*/0);
  std::vector<std::unique_ptr<StalledCall>> calls;
  size_t bytes = 0;
  for (int i = 0; i < 500; ++i) {
    calls.push_back(std::make_unique<StalledCall>());
    hub.Open(calls.back().get(), {.start = AfterSequence{0, kJournal}}, {}, {"a"});
    while (hub.RunTurn()) {
    }
    bytes += calls.back()->bytes();
  }
  EXPECT_GT(calls.front()->bytes(), size_t{200} << 10);
  EXPECT_GT(calls.back()->bytes(), size_t{4} << 10);
  EXPECT_LT(bytes, kBoundOfAll);
  for (const auto& call : calls) call->Leave();
  while (hub.RunTurn()) {
  }
}

}  // namespace
}  // namespace vmeventd
