// The attempts of QmpSource to connect, from the look at a socket to the run behind it.

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/backoff.h"
#include "base/unique_fd.h"
#include "spdlog/spdlog.h"
#include "watcher/core/managers.h"
#include "watcher/qmp/connect_rules.h"
#include "watcher/qmp/qmp_source.h"
#include "watcher/qmp/retry_pauses.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

constexpr char kQueueFull[] =
    "monitor held by another client, or QEMU hangs: the socket's queue of connections is full";
constexpr char kRefusedProblem[] =
    "nobody listens on the socket: a QEMU that ended has left it, or one is about to start; delete "
    "it if none is";
constexpr char kListenerGone[] =
    "the process that listened on the monitor's socket is gone, and the socket still accepts";
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

Problem CannotConnect(ProblemCode code, absl::string_view why) {
  return {code, absl::StrCat("cannot connect to the monitor: ", why)};
}

}  // namespace

void QmpSource::Schedule(SocketSlot* slot, absl::Duration delay) {
  context_->loop->SetTimerIn(&slot->retry, delay, [this, slot] { TryConnect(slot); });
}

void QmpSource::BackOff(SocketSlot* slot, absl::Duration first, absl::Duration limit) {
  slot->backoff = NextPause(slot->backoff, first, limit);
  Schedule(slot, slot->backoff);
}

bool QmpSource::TriedForLong(const SocketSlot& slot) const {
  return slot.backoff >= std::min(context_->options->greeting_timeout, kMaxRetry);
}

const char* QmpSource::Shortage(const SocketSlot& slot, const SeenSocket& seen) const {
  const int share = context_->max_vm_descriptors - context_->max_vm_descriptors / 4;
  // A run counts for its user already. While all users together have less than one's share, there
  // is nothing to count.
  if (slot.run == nullptr && context_->vm_descriptors + kDescriptorsOfRun > share) {
    const std::vector<VmRun*> runs = table_->RunsOf(this);
    const auto others = std::count_if(runs.begin(), runs.end(), [&](VmRun* run) {
      return Own(run)->sockets().owner == seen.owner;
    });
    if ((others + 1) * kDescriptorsOfRun > share) return kOutOfShare;
  }
  const bool has_room =
      context_->vm_descriptors + DescriptorsFor(slot) <= context_->max_vm_descriptors;
  return has_room ? nullptr : kOutOfDescriptorsProblem;
}

// A restored run may still need the descriptor of its process, and a run without a process that of
// the peer, which is known only when it sends something.
int QmpSource::DescriptorsFor(const SocketSlot& slot) const {
  const bool has_process =
      slot.run != nullptr &&
      (slot.run->followed() || (!slot.run->tracked() && !slot.run->awaits_sender()));
  return has_process ? 1 : kDescriptorsOfRun;
}

void QmpSource::AwaitDescriptors(SocketSlot* slot, const char* shortage) {
  context_->meters.out_of_descriptors.Add();
  BackOff(slot, kFirstRetry, kMaxRetry);
  ReportProblem(slot, {ProblemCode::kOutOfDescriptors, shortage});
}

void QmpSource::LeaveReplacedRun(SocketSlot* slot, const SocketIdentity& socket) {
  if (slot->run == nullptr || slot->run->IsSocketOf(*slot, socket)) return;
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
}

void QmpSource::TryConnect(SocketSlot* slot) {
  if (slot->run != nullptr && slot->run->connected()) return;
  if (slot->attempt != 0) {
    slot->try_again = true;
    return;
  }
  const bool finds_owner =
      slot->run == nullptr && !context_->options->sources.watch_manager_sockets;
  attempts_.Begin(slot, 0, [this, path = slot->path, finds_owner]() -> SocketAttempts::WithSlot {
    SeenSocket seen;
    const int error = LookAtSocket(path, &seen);
    const Manager* const owner = error == 0 && finds_owner ? OwnerOfFile(path) : nullptr;
    return [this, error, seen, owner](SocketSlot* there) { OnSeen(there, error, seen, owner); };
  });
}

void QmpSource::OnSeen(SocketSlot* slot, int error, const SeenSocket& seen, const Manager* owner) {
  if (slot->run != nullptr && slot->run->connected()) return;
  if (error != 0) return OnNotConnected(slot, error);
  LeaveReplacedRun(slot, seen.identity);
  if (slot->unused()) return;
  if (!(slot->socket == seen.identity)) {
    slot->silent_until = absl::ZeroDuration();
    slot->end_seen = false;
    slot->left_alone = false;
  }
  slot->socket = seen.identity;
  if (slot->left_alone) return;
  const auto attached = by_socket_.find(InodeOf(seen.identity));
  if (attached != by_socket_.end() && attached->second->info().socket == seen.identity) {
    SetRun(slot, attached->second);  // the socket was renamed, or has several paths
    if (slot->run->connected()) return;
  }
  if (!MayConnect(slot, owner)) return;
  if (const char* const shortage = Shortage(*slot, seen); shortage != nullptr) {
    return AwaitDescriptors(slot, shortage);
  }
  if (context_->closer.full()) {
    meters_.connects_put_off.Add();
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
          if (there->run != nullptr && there->run->connected()) return;
          if (failed != 0) return OnNotConnected(there, failed);
          Attach(there, seen, std::move(socket));
        };
      });
}

bool QmpSource::MayConnect(SocketSlot* slot, const Manager* owner) {
  const bool named_as_monitor = slot->spec >= 0 && watches_[slot->spec].names_monitors();
  const ConnectVerdict verdict = JudgeConnect(*context_, owner, named_as_monitor, slot);
  using May = ConnectVerdict::May;
  switch (verdict.may) {
    case May::kYes:
      return true;
    case May::kManagersOwn:
      ReportProblem(slot, ManagersOwnProblem(*verdict.manager));
      BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
      return false;
    case May::kNoMonitor:
      // A QEMU begins before it binds its socket, but its command line may not have been readable
      // then.
      if (TriedForLong(*slot)) ReportProblem(slot, NoMonitorProblem(*context_, *slot));
      BackOff(slot, kFirstRetry, kMaxRefusedRetry);
      return false;
    case May::kNotKnownYet:
      BackOff(slot, kFirstRetry, kMaxRetry);
      return false;
  }
  return false;
}

void QmpSource::OnNotConnected(SocketSlot* slot, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ENOTSOCK:
      return EndUntrackedRun(slot);  // inotify reports what comes in its place
    case ESTALE:                     // it was replaced between the look and the connect
      return BackOff(slot, kFirstRetry, kMaxRetry);
    case ECONNREFUSED:
      meters_.connect_retries.Add();
      EndUntrackedRun(slot);
      if (slot->unused()) return;
      BackOff(slot, kFirstRetry, slot->run != nullptr ? kMaxRetry : kMaxRefusedRetry);
      if (slot->runs > 0) return;  // their VMs have the problem
      // Not at once: one that a QEMU binds refuses, too.
      return TriedForLong(*slot) && !slot->end_seen
                 ? ReportProblem(slot, {ProblemCode::kRefused, kRefusedProblem})
                 : ForgetProblem(slot);
    case EAGAIN:  // somebody listens, and its queue of connections is full
      meters_.connect_retries.Add();
      BackOff(slot, kFirstRetry, kMaxRetry);
      if (TriedForLong(*slot)) {
        const int64_t pid =
            slot->run != nullptr && slot->run->tracked() ? slot->run->info().pid : 0;
        ReportProblem(slot, {ProblemCode::kNoGreeting, QueueFull(pid)});
      }
      return;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return AwaitDescriptors(slot, kOutOfDescriptorsProblem);
    default:
      BackOff(slot, kFirstRetry, kMaxRetry);
      return ReportProblem(
          slot, CannotConnect(error == EACCES || error == EPERM ? ProblemCode::kPermissionDenied
                                                                : ProblemCode::kCannotConnect,
                              std::generic_category().message(error)));
  }
}

void QmpSource::Attach(SocketSlot* slot, const SeenSocket& seen, ReceivingSocket socket) {
  PeerProcess peer;
  if (context_->options->process_tracking) {
    absl::StatusOr<PeerProcess> identified = IdentifyPeer(socket.get());
    if (absl::IsResourceExhausted(identified.status())) return OnNotConnected(slot, EMFILE);
    if (!identified.ok()) {
      BackOff(slot, kFirstRetry, kMaxRetry);
      return ReportProblem(slot, {ProblemCode::kCannotConnect,
                                  absl::StrCat("cannot identify the process behind the monitor: ",
                                               identified.status().message())});
    }
    peer = *std::move(identified);
  }
  const bool gone = peer.kind == PeerProcess::Kind::kGone;
  const bool listener_seen = gone || peer.pid != 0;
  if (gone) {
    if (slot->run != nullptr && slot->run->process_ended()) {
      // Usually a QEMU that ended in this moment; else a child of it that still has the socket.
      BackOff(slot, kFirstRetry, kMaxRetry);
      if (TriedForLong(*slot)) ReportProblem(slot, {ProblemCode::kNoMonitor, kListenerGone});
      return;
    }
    peer = PeerProcess();
  } else if (peer.pid != 0 && !IsQemuAt(*context_, peer, slot)) {
    // A launcher, which may listen for many: the sender will show which VM it is.
    peer = PeerProcess();
  }
  QmpRun* const run = RunFor(slot, seen, std::move(peer));
  if (run == nullptr) return;
  SetRun(slot, run);
  // Another way to the same run: its monitor is connected already.
  const RunSockets& sockets = run->sockets();
  if (run->connected() && slot != sockets.attached_by && slot != sockets.home) return;
  if (const absl::Status status = run->Attach(std::move(socket), seen.identity); !status.ok()) {
    BackOff(slot, kFirstRetry, kMaxRetry);
    return ReportProblem(slot, CannotConnect(ProblemCode::kCannotConnect, status.message()));
  }
  SetSocket(run, slot, seen);
  run->sockets().listener_seen = listener_seen;
  context_->loop->CancelTimer(&slot->retry);  // what the end of the connection before may have left
}

QmpRun* QmpSource::RunFor(SocketSlot* slot, const SeenSocket& seen, PeerProcess peer) {
  const bool tracked = peer.kind == PeerProcess::Kind::kTracked;
  // The peer is who listened, which may be the launcher of the QEMU that has sent there; and
  // before Linux 6.5, where that is gone, another process that has its id. So the run of that very
  // socket comes first. An inode may be used again, but not with the same time.
  QmpRun* known = slot->run;
  if (known == nullptr || (tracked && !(known->info().socket == seen.identity))) {
    known = Own(table_->FindByProcess(peer));
  }
  if (known != nullptr) {
    if (!tracked || known->followed()) return known;
    if (!known->tracked()) {
      known->TrackInstead(std::move(peer)).IgnoreError();
    } else if (known->info().pid == peer.pid && known->info().start_ticks == peer.start_ticks) {
      known->Track(std::move(peer)).IgnoreError();  // else it is looked for again
    }
    return known;
  }
  // The socket is another process's than that of the run it led to, which has its own end.
  EndUntrackedRun(slot);
  SetRun(slot, nullptr);
  if (const VmRun* const other = table_->FindByProcess(peer); other != nullptr) {
    // The socket leads nowhere else as long as that process lives.
    BackOff(slot, kMaxRefusedRetry, kMaxRefusedRetry);
    ReportProblem(slot, {ProblemCode::kFollowedElsewhere,
                         absl::StrCat("its process is followed as ", other->info().name, " of ",
                                      other->info().source)});
    return nullptr;
  }
  // The slot's run before may have needed fewer descriptors than a new one.
  if (const char* const shortage = Shortage(*slot, seen); shortage != nullptr) {
    AwaitDescriptors(slot, shortage);
    return nullptr;
  }
  spdlog::debug("following {} ({})", absl::CHexEscape(slot->path),
                tracked ? absl::StrCat("pid ", peer.pid) : "process not known");
  auto run = std::make_unique<QmpRun>(
      context_, table_, this,
      VmSession(Describe(*slot, seen, peer), &context_->options->session, context_->loop->Now()));
  if (tracked) {
    if (const absl::Status status = run->Track(std::move(peer)); !status.ok()) {
      BackOff(slot, kFirstRetry, kMaxRetry);
      ReportProblem(slot, CannotConnect(ProblemCode::kCannotConnect, status.message()));
      return nullptr;
    }
  }
  return AddRun(slot, seen.owner, std::move(run));
}

}  // namespace vmeventd
