#include "watcher/qmp/socket_connector.h"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/backoff.h"
#include "base/unique_fd.h"
#include "watcher/core/watch_spec.h"
#include "watcher/qmp/connect_rules.h"
#include "watcher/qmp/qmp_run.h"
#include "watcher/qmp/retry_pauses.h"
#include "watcher/qmp/socket_problems.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

constexpr int kDescriptorsOfRun = 2;  // its connection and its pidfd

constexpr char kQueueFull[] =
    "monitor held by another client, or QEMU hangs: the socket's queue of connections is full";
constexpr char kRefusedProblem[] =
    "nobody listens on the socket: a QEMU that ended has left it, or one is about to start; delete "
    "it if none is";
constexpr char kOutOfShare[] =
    "the VMs of this socket's user have three quarters of the file descriptors: the VM is not "
    "followed; raise LimitNOFILE of the service";

// The problem of a monitor whose queue of connections is full. `pid`: that of QEMU; 0: not known.
std::string QueueFull(int64_t pid) {
  if (pid == 0 || ReadProcessStat(pid).value_or(ProcessStat()).state != 'T') return kQueueFull;
  return absl::StrCat("QEMU (pid ", pid,
                      ") is stopped by a signal (state T), so that its monitor answers nobody: "
                      "kill -CONT ",
                      pid);
}

}  // namespace

SocketConnector::SocketConnector(RunContext* context, SlotTable* slots, QmpMeters* meters,
                                 Delegate* delegate)
    : context_(context),
      slots_(slots),
      meters_(meters),
      delegate_(delegate),
      attempts_(context, context->options->sources.watches.size(), this) {}

void SocketConnector::Schedule(SocketSlot* slot, absl::Duration delay) {
  context_->loop->SetTimerIn(&slot->retry, delay, [this, slot] { TryConnect(slot); });
}

void SocketConnector::BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit) {
  slot->backoff = NextPause(slot->backoff, first, limit);
  Schedule(slot, slot->backoff);
}

void SocketConnector::Cancel(SocketSlot* slot) { context_->loop->CancelTimer(&slot->retry); }

bool SocketConnector::TriedForLong(const SocketSlot& slot) const {
  return slot.backoff >= std::min(context_->options->greeting_timeout, kMaxRetry);
}

const char* SocketConnector::Shortage(const SocketSlot& slot, const SeenSocket& seen) const {
  const int share = context_->max_vm_descriptors - context_->max_vm_descriptors / 4;
  // A run counts for its user already. While all users together have less than one's share, there
  // is nothing to count.
  if (slot.run() == nullptr && context_->vm_descriptors + kDescriptorsOfRun > share) {
    if ((delegate_->CountRunsOf(seen.owner) + 1) * kDescriptorsOfRun > share) return kOutOfShare;
  }
  const bool has_room =
      context_->vm_descriptors + DescriptorsFor(slot) <= context_->max_vm_descriptors;
  return has_room ? nullptr : kOutOfDescriptorsProblem;
}

// A restored run may still need the descriptor of its process, and a run without a process that of
// the peer, which is known only when it sends something.
int SocketConnector::DescriptorsFor(const SocketSlot& slot) {
  const bool has_process =
      slot.run() != nullptr &&
      (slot.run()->followed() || (!slot.run()->tracked() && !slot.run()->awaits_sender()));
  return has_process ? 1 : kDescriptorsOfRun;
}

bool SocketConnector::HasDescriptors(SocketSlot* slot, const SeenSocket& seen) {
  const char* const shortage = Shortage(*slot, seen);
  if (shortage != nullptr) AwaitDescriptors(slot, shortage);
  return shortage == nullptr;
}

void SocketConnector::AwaitDescriptors(SocketSlot* slot, const char* shortage) {
  context_->meters.out_of_descriptors.Add();
  BackOff(slot, kFirstRetry, kMaxRetry);
  delegate_->ReportProblem(slot, {ProblemCode::kOutOfDescriptors, shortage});
}

void SocketConnector::TryConnect(SocketSlot* slot) {
  if (slot->run() != nullptr && slot->run()->connected()) return;
  if (slot->attempt != 0) {
    slot->try_again = true;
    return;
  }
  const bool finds_owner =
      slot->run() == nullptr && !context_->options->sources.watch_manager_sockets;
  attempts_.Begin(slot, 0, [this, path = slot->path, finds_owner]() -> SocketAttempts::WithSlot {
    SeenSocket seen;
    const int error = LookAtSocket(path, &seen);
    const Manager* const owner = error == 0 && finds_owner ? OwnerOfFile(path) : nullptr;
    return [this, error, seen, owner](SocketSlot* there) { OnLooked(there, error, seen, owner); };
  });
}

void SocketConnector::OnLooked(SocketSlot* slot, int error, const SeenSocket& seen,
                               const Manager* owner) {
  if (slot->run() != nullptr && slot->run()->connected()) return;
  if (error != 0) return OnNotConnected(slot, error);
  if (!delegate_->OnSeen(slot, seen)) return;
  if (!MayConnect(slot, owner)) return;
  if (!HasDescriptors(slot, seen)) return;
  if (context_->closer.full()) {
    meters_->connects_put_off.Add();
    return OnNotConnected(slot, EMFILE);
  }
  // The descriptors of attempts under way count, so that no two attempts take the last ones.
  attempts_.Begin(
      slot, DescriptorsFor(*slot), [this, path = slot->path, seen]() -> SocketAttempts::WithSlot {
        SocketFile file;
        UniqueFd connection;
        int failed = OpenSocketFile(path, &file);
        if (failed == 0 && !(file.identity == seen.identity)) failed = ESTALE;
        if (failed == 0) failed = ConnectTo(file, &connection);
        return [this, failed, seen, connection = std::move(connection)](SocketSlot* there) mutable {
          ReceivingSocket socket(std::move(connection), &context_->closer);
          if (there->run() != nullptr && there->run()->connected()) return;
          if (failed != 0) return OnNotConnected(there, failed);
          delegate_->OnConnected(there, seen, std::move(socket));
        };
      });
}

bool SocketConnector::MayConnect(SocketSlot* slot, const Manager* owner) {
  const std::vector<WatchSpec>& watches = context_->options->sources.watches;
  const bool named_as_monitor = slot->spec >= 0 && watches[slot->spec].names_monitors();
  const ConnectVerdict verdict = JudgeConnect(*context_, owner, named_as_monitor, slot);
  using May = ConnectVerdict::May;
  switch (verdict.may) {
    case May::kYes:
      return true;
    case May::kManagersOwn:
      delegate_->ReportProblem(slot, ManagersOwnProblem(*verdict.manager));
      BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
      return false;
    case May::kNoMonitor:
      // A QEMU begins before it binds its socket, but its command line may not have been readable
      // then.
      if (TriedForLong(*slot)) delegate_->ReportProblem(slot, NoMonitorProblem(*context_, *slot));
      BackOff(slot, kFirstRetry, kMaxRefusedRetry);
      return false;
    case May::kNotKnownYet:
      BackOff(slot, kFirstRetry, kMaxRetry);
      return false;
  }
  return false;
}

void SocketConnector::OnNotConnected(SocketSlot* slot, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENOTSOCK:
      return delegate_->OnNobodyListens(slot);  // inotify reports what comes in its place
    case ESTALE:                                // it was replaced between the look and the connect
      return BackOff(slot, kFirstRetry, kMaxRetry);
    case ECONNREFUSED:
      meters_->connect_retries.Add();
      delegate_->OnNobodyListens(slot);
      if (slot->unused()) return;
      BackOff(slot, kFirstRetry, slot->run() != nullptr ? kMaxRetry : kMaxRefusedRetry);
      if (slot->runs > 0) return;  // their VMs have the problem
      // The next attempt is not made at once: a socket that a QEMU is binding refuses, too.
      return TriedForLong(*slot) && !slot->end_seen
                 ? delegate_->ReportProblem(slot, {ProblemCode::kRefused, kRefusedProblem})
                 : slots_->ClearProblem(slot);
    case EAGAIN:  // somebody listens, and its queue of connections is full
      meters_->connect_retries.Add();
      BackOff(slot, kFirstRetry, kMaxRetry);
      if (TriedForLong(*slot)) {
        const int64_t pid =
            slot->run() != nullptr && slot->run()->tracked() ? slot->run()->info().pid : 0;
        delegate_->ReportProblem(slot, {ProblemCode::kNoGreeting, QueueFull(pid)});
      }
      return;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return AwaitDescriptors(slot, kOutOfDescriptorsProblem);
    default:
      BackOff(slot, kFirstRetry, kMaxRetry);
      return delegate_->ReportProblem(
          slot, CannotConnect(error == EACCES || error == EPERM ? ProblemCode::kPermissionDenied
                                                                : ProblemCode::kCannotConnect,
                              std::generic_category().message(error)));
  }
}

}  // namespace vmeventd
