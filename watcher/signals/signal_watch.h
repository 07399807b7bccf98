#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/counter.h"
#include "base/event_loop.h"
#include "base/token_bucket.h"
#include "watcher/core/oom_victim.h"
#include "watcher/core/problem.h"
#include "watcher/core/signal_sender.h"
#include "watcher/signals/process_reader.h"
#include "watcher/signals/signal_trace.h"

namespace vmeventd {

// Finds in a trace of all processes' signals those to the processes that are followed, and reads at
// once who sent them. Loop thread.
//
// A flood of signals to other processes wakes the loop at most kWakes times a second; meanwhile
// records wait in the trace's memory, or are lost there and counted. In a flood to followed
// processes, kReads senders a second are read; of the other senders, only what the record has is
// known.
class SignalWatch : public FdHandler {
 public:
  static constexpr TokenRate kWakes{.per_second = 100, .burst = 200};
  static constexpr TokenRate kReads{.per_second = 200, .burst = 200};

  class User {
   public:
    virtual ~User() = default;
    // Called for a signal. Must not follow or unfollow anything.
    virtual void OnSignal(const SignalSender& sender) = 0;
    // Reports a signal whose sender the record does not prove, for the reason `why`.
    virtual void OnUnclearSignal(int signal, const std::string& why) = 0;
    virtual void OnOomVictim(const OomVictim& victim) = 0;
  };

  // Without a trace nothing is recorded. `loop` outlives the watch.
  SignalWatch(EventLoop* loop, SignalTracing tracing, ProcessReader reader = ProcessReader());
  ~SignalWatch() override;

  // Reports to `user` the signals to `pid`, which lives and began at `start_ticks`. `user` lives
  // until Unfollow. Call it once for each user; one user a process.
  void Follow(int64_t pid, uint64_t start_ticks, User* user);
  // Reads the user and the cgroup of `user`'s process again. Call it once the process runs its own
  // program: before that both are those of the process that started it.
  void RefreshOrigin(int64_t pid, const User* user);
  // No-op if `user` does not follow `pid`.
  void Unfollow(int64_t pid, User* user);

  // Reports what was recorded by now; for a process that has ended, that is everything.
  void Drain();

  // Returns why the sender of a signal is not known if Drain() reported nothing about it.
  std::string WhyUnknown() const;

  // Returns whether anything is recorded, and why not. Any thread.
  v1::SignalSenderWatch state() const;
  // Number of records that were lost. Any thread.
  uint64_t lost() const { return lost_.value(); }

  void OnFdReady(uint32_t events) override;

 private:
  // Time for which a record from before this watch is stored for a process that is not followed
  // yet, such as a libvirt domain's.
  static constexpr absl::Duration kUnclaimed = absl::Minutes(10);

  // Maximum number of stored signals (the newest ones to any process) that may turn out to have
  // ended a PID namespace.
  static constexpr size_t kMaxFatalSignals = 128;
  // Time in which a first process that was asked to end obeys.
  static constexpr absl::Duration kObeyTime = absl::Minutes(10);

  struct Followed {
    User* user = nullptr;
    ProcessOrigin origin;
  };
  void ReadAgain();
  // The followed process of a record; null: none.
  Followed* Find(const SignalRecord& record);
  void Report(const SignalRecord& record, const Followed& followed);
  // Saves `record` if it may be of a signal that ends a process.
  void RecordFatalSignal(const SignalRecord& record);
  // The signal that ended the first process of the PID namespace with which the kernel sent `kill`;
  // `kill` if nobody saw one.
  const SignalRecord& FatalSignalBehind(const SignalRecord& kill) const;

  EventLoop* const loop_;
  const std::shared_ptr<SignalTrace> trace_;
  const ProcessReader reader_;
  const Problem problem_;                            // why there is no trace
  absl::flat_hash_map<int64_t, Followed> followed_;  // keyed by pid
  // Time since the boot after which no record was lost.
  absl::Duration lost_until_ = -absl::InfiniteDuration();
  std::vector<SignalRecord> records_;
  // Records from before this watch, whose targets an earlier daemon followed.
  std::vector<SignalRecord> unclaimed_;
  std::deque<SignalRecord> fatal_signals_;  // the oldest first
  const absl::Duration begun_;              // time since the boot
  TokenBucket wakes_{kWakes};
  TokenBucket reads_{kReads};
  TimerId read_again_;
  Counter lost_;
};

}  // namespace vmeventd
