#include "watcher/signals/signal_watch.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kRest = absl::Milliseconds(10);

}  // namespace

SignalWatch::SignalWatch(EventLoop* loop, std::shared_ptr<SignalTrace> trace, std::string problem,
                         ProcessReader reader)
    : loop_(loop),
      trace_(std::move(trace)),
      reader_(std::move(reader)),
      problem_(std::move(problem)) {
  if (trace_ == nullptr) return;
  Rest();
  FollowProcessors();
}

SignalWatch::~SignalWatch() {
  loop_->CancelTimer(&rest_);
  loop_->CancelTimer(&processors_);
  if (trace_ != nullptr) loop_->Remove(trace_->fd());
}

void SignalWatch::Follow(int64_t pid, uint64_t start_ticks, User* user) {
  if (trace_ == nullptr || pid == 0) return;
  followed_[pid] = {user, reader_.OriginOf(pid, start_ticks)};
}

void SignalWatch::NoteBegun(int64_t pid, const User* user) {
  const auto it = followed_.find(pid);
  if (it == followed_.end() || it->second.user != user) return;
  ProcessOrigin now = reader_.OriginOf(pid, it->second.origin.start_ticks);
  if (now.uid.has_value()) it->second.origin = std::move(now);
}

void SignalWatch::Unfollow(int64_t pid, User* user) {
  const auto it = followed_.find(pid);
  if (it != followed_.end() && it->second.user == user) followed_.erase(it);
}

void SignalWatch::OnFdReady(uint32_t) {
  Drain();
  if (wakes_.Take(loop_->Now().monotonic)) return;
  loop_->Remove(trace_->fd());
  rest_ = loop_->AddTimer(loop_->Now().monotonic + kRest, [this] { Rest(); });
}

// From now on what comes wakes the loop; what came before is looked at.
void SignalWatch::Rest() {
  rest_ = {};
  if (!loop_->Add(trace_->fd(), EPOLLIN, this).ok()) {
    rest_ = loop_->AddTimer(loop_->Now().monotonic + kRest, [this] { Rest(); });
  }
  Drain();
}

void SignalWatch::FollowProcessors() {
  trace_->FollowProcessors();
  Drain();
  processors_ =
      loop_->AddTimer(loop_->Now().monotonic + kProcessorInterval, [this] { FollowProcessors(); });
}

void SignalWatch::NoteProblem() {
  std::string problem = trace_->problem();
  const MutexLock lock(&mutex_);
  if (problem == problem_) return;
  if (problem.empty()) {
    spdlog::info("signals are seen on all processors again");
  } else {
    spdlog::warn("signals are not seen on all processors: {}", problem);
  }
  problem_ = std::move(problem);
}

SignalWatch::Followed* SignalWatch::Find(const SignalRecord& record) {
  auto it = followed_.find(record.target);
  if (it == followed_.end() && !followed_.empty() && lookups_.Take(loop_->Now().monotonic)) {
    // A signal to a thread of a process is one to the process.
    const std::optional<int64_t> process = reader_.ProcessOf(record.target);
    if (process.has_value()) it = followed_.find(*process);
  }
  if (it == followed_.end()) return nullptr;
  // Records of a process that had the number before, if it is older, do not count.
  const uint64_t start = it->second.origin.start_ticks;
  return record.time < StartOf(start) ? nullptr : &it->second;
}

void SignalWatch::Drain() {
  if (trace_ == nullptr) return;
  records_.clear();
  trace_->Read(&records_);
  NoteProblem();
  // Those of several processors are in the order of the processors.
  std::stable_sort(records_.begin(), records_.end(),
                   [](const SignalRecord& a, const SignalRecord& b) { return a.time < b.time; });
  lost_.Add(trace_->lost() - lost_.value());
  for (const SignalRecord& record : records_) {
    const Followed* const followed = Find(record);
    if (followed == nullptr) continue;
    if (record.kind == SignalRecord::Kind::kOomVictim) {
      followed->user->OnOomVictim(record.victim);
    } else if (reads_.Take(loop_->Now().monotonic)) {
      followed->user->OnSignal(reader_.SenderOf(record, followed->origin, SinceBoot()));
    } else {
      followed->user->OnSignal(
          {.signal = record.signal,
           .by_kernel = record.by_kernel,
           .pid = record.sender,
           .of_qemu = !record.by_kernel && record.sender == followed->origin.pid});
    }
  }
}

SignalWatchState SignalWatch::state() const {
  const MutexLock lock(&mutex_);
  return {trace_ != nullptr, problem_};
}

std::string SignalWatch::WhyUnknown() {
  const bool asks = trace_ != nullptr && asks_.Take(loop_->Now().monotonic);
  // It may have been sent on a processor that came just now.
  if (asks) {
    trace_->FollowProcessors();
    NoteProblem();
  }
  const SignalWatchState now = state();
  if (!now.active || !now.problem.empty()) return now.problem;
  // Nothing may have come after what was lost, with which the kernel would have said so.
  if (asks && lost() == 0) lost_.Add(trace_->CountLost() - lost());
  if (lost() > 0) {
    return absl::StrCat("the kernel has no record of it, and has thrown ", lost(), " away");
  }
  return asks ? "the kernel has no record of it"
              : "the kernel has no record of it, and with so many at once it was not asked whether "
                "it "
                "has thrown one away";
}

}  // namespace vmeventd
