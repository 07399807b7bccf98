#include "watcher/signals/signal_watch.h"

#include <sys/epoll.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "watcher/signals/boot_clock.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kRest = absl::Milliseconds(10);
constexpr char kGone[] =
    "it was sent while vmeventd was restarted, by a process that is gone and may have been QEMU's "
    "own";
constexpr char kUnclear[] =
    "its code is that of a timer or of another signal of the kernel, which any process can forge";

}  // namespace

SignalWatch::SignalWatch(EventLoop* loop, SignalTracing tracing, ProcessReader reader)
    : loop_(loop),
      trace_(std::move(tracing.trace)),
      reader_(std::move(reader)),
      problem_(std::move(tracing.problem)),
      begun_(SinceBoot()) {
  if (trace_ == nullptr) return;
  lost_.Add(trace_->lost());  // a resumed trace counts on
  if (lost() > 0) lost_until_ = begun_;
  ReadAgain();
}

SignalWatch::~SignalWatch() {
  loop_->CancelTimer(&read_again_);
  if (trace_ != nullptr) loop_->Remove(trace_->fd());
}

void SignalWatch::Follow(int64_t pid, uint64_t start_ticks, User* user) {
  if (trace_ == nullptr || pid == 0) return;
  // Records until now are of the process that had this pid before: nobody may have noticed its end.
  if (followed_.contains(pid)) Drain();
  followed_[pid] = {user, reader_.OriginOf(pid, start_ticks)};
}

void SignalWatch::RefreshOrigin(int64_t pid, const User* user) {
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
  loop_->SetTimerIn(&read_again_, kRest, [this] { ReadAgain(); });
}

// Lets new records wake the loop again, and handles those that came before.
void SignalWatch::ReadAgain() {
  if (!loop_->Add(trace_->fd(), EPOLLIN, this).ok()) {
    loop_->SetTimerIn(&read_again_, kRest, [this] { ReadAgain(); });
  }
  Drain();
}

SignalWatch::Followed* SignalWatch::Find(const SignalRecord& record) {
  const auto it = followed_.find(record.target);
  if (it == followed_.end()) return nullptr;
  // Records from before the process's start do not count: another process had its pid. A process
  // that was followed before this watch is older than a tick.
  const uint64_t start = it->second.origin.start_ticks + (record.time < begun_ ? 1 : 0);
  return record.time < StartOf(start) ? nullptr : &it->second;
}

void SignalWatch::Drain() {
  if (trace_ == nullptr) return;
  records_ = std::exchange(unclaimed_, {});
  const size_t old = records_.size();
  trace_->Read(&records_);
  for (size_t i = old; i < records_.size(); ++i) RecordFatalSignal(records_[i]);
  if (const uint64_t more = trace_->lost() - lost(); more > 0) {
    lost_.Add(more);
    lost_until_ = SinceBoot();
  }
  absl::flat_hash_set<int64_t> killed;
  absl::flat_hash_set<int64_t> asked;
  for (const SignalRecord& record : records_) {
    // Of the signals that a pid was sent before this watch, only the first of each kind can be its
    // process's: that may have ended it, and another process may have its pid since.
    if (record.kind == SignalRecord::Kind::kSignal && record.time < begun_) {
      if (killed.contains(record.target)) continue;
      if (!(record.signal == SIGKILL ? killed : asked).insert(record.target).second) continue;
    }
    const Followed* const followed = Find(record);
    if (followed == nullptr) {
      if (record.time < begun_ && SinceBoot() - begun_ < kUnclaimed) unclaimed_.push_back(record);
      continue;
    }
    if (record.kind == SignalRecord::Kind::kOomVictim) {
      followed->user->OnOomVictim(record.victim);
    } else {
      Report(record, *followed);
    }
  }
}

void SignalWatch::RecordFatalSignal(const SignalRecord& record) {
  if (record.kind != SignalRecord::Kind::kSignal || record.unclear) return;
  // SIGHUP has many a program read its configuration.
  if (record.signal != SIGKILL && record.signal != SIGTERM && record.signal != SIGINT &&
      record.signal != SIGQUIT) {
    return;
  }
  fatal_signals_.push_back(record);
  if (fatal_signals_.size() > kMaxFatalSignals) fatal_signals_.pop_front();
}

const SignalRecord& SignalWatch::FatalSignalBehind(const SignalRecord& kill) const {
  constexpr int kMaxNamespaces = 32;  // the kernel's limit of namespaces within each other
  const SignalRecord* cause = &kill;
  for (int depth = 0; depth < kMaxNamespaces && cause->by_kernel; ++depth) {
    const auto fatal =
        std::find_if(fatal_signals_.rbegin(), fatal_signals_.rend(), [&](const auto& sent) {
          return sent.target == cause->context && sent.target != 0 && sent.time <= cause->time;
        });
    if (fatal == fatal_signals_.rend()) break;
    // A process may disregard other signals, and may have ended by one whose record was lost.
    const bool obeyed = cause->time - fatal->time <= kObeyTime && fatal->time > lost_until_;
    if (fatal->signal != SIGKILL && !obeyed) break;
    cause = &*fatal;
  }
  return *cause;
}

void SignalWatch::Report(const SignalRecord& record, const Followed& followed) {
  // The kernel kills the processes of a PID namespace in the context of the first one as that ends.
  const bool namespace_ended = record.by_kernel && record.signal == SIGKILL &&
                               record.context != 0 && record.context != followed.origin.pid &&
                               reader_.LeadsNamespace(record.context)
                                   .value_or(record.context == followed.origin.first_process);
  const SignalRecord& sent = namespace_ended ? FatalSignalBehind(record) : record;
  const bool from_before = sent.time < begun_;
  const ProcessOrigin target =
      from_before ? reader_.RecordedOrigin(sent, followed.origin) : followed.origin;
  // A timer that expires while QEMU itself runs is QEMU's.
  if (sent.unclear && sent.sender != target.pid) {
    followed.user->OnUnclearSignal(sent.signal, kUnclear);
    return;
  }
  const bool reads = reads_.Take(loop_->Now().monotonic);
  SignalSender sender = reads ? reader_.SenderOf(sent, target, SinceBoot())
                              : ProcessReader::RecordedSenderOf(sent, target);
  if (reads) reader_.AddLogin(&sender);
  sender.sent = WallTimeOf(sent.time);
  if (namespace_ended) {
    sender.signal = record.signal;
    sender.first_process = record.context;
    sender.first_signal = &sent == &record ? 0 : sent.signal;
  }
  // A sender that was read just now has its cgroup.
  const bool was_read = !sender.cgroup.empty() && sent.target_mark.has_value();
  if (!from_before || sender.by_kernel || sender.of_qemu || was_read || IsOfAnother(sent)) {
    followed.user->OnSignal(sender);
  } else {
    followed.user->OnUnclearSignal(record.signal, kGone);
  }
}

v1::SignalSenderWatch SignalWatch::state() const {
  v1::SignalSenderWatch state;
  state.set_active(trace_ != nullptr);
  if (!problem_.empty()) *state.mutable_problem() = ToProto(problem_);
  state.set_lost(lost());
  return state;
}

std::string SignalWatch::WhyUnknown() const {
  if (trace_ == nullptr) return "this vmeventd sees no senders of signals";
  // The end was seen, and all its records were read.
  if (lost() == 0) return "the kernel has no record of it";
  return absl::StrCat("the kernel has no record of it, and dropped ", lost(), " records");
}

}  // namespace vmeventd
