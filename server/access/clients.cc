#include "server/access/clients.h"

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "watcher/core/shutting_down.h"

namespace vmeventd {

void Clients::Add(const std::string& name, CallPeer caller, std::function<void()> cut) {
  const MutexLock lock(&mutex_);
  if (shares_.size() <= caller.listener) shares_.resize(caller.listener + 1);
  connections_.insert_or_assign(
      name, Connection{std::make_shared<const CallPeer>(std::move(caller)), std::move(cut)});
}

absl::Status Clients::CheckExcess(const std::string& peer, CallKind kind, OpenCalls all,
                                  OpenCalls of_peer) {
  const bool stream = kind == CallKind::kStream;
  const auto refuse = [stream](int limit, const std::string& why) {
    return WithFact("limit", absl::StrCat(limit),
                    WithReason(stream ? "TOO_MANY_STREAMS" : "TOO_MANY_CALLS",
                               absl::ResourceExhaustedError(why)));
  };
  const char* const what = stream ? "streams" : "calls other than WatchEvents";
  const int limit_of_peer = stream ? limits_.streams_of_peer : limits_.other_calls_of_peer;
  if (of_peer.of(kind) >= limit_of_peer) {
    refusals_->Count(stream ? Refusal::kStreamsPerPeer : Refusal::kCallsPerPeer);
    return refuse(limit_of_peer, absl::StrCat("too many ", what, ": at most ", limit_of_peer,
                                              " may be open from ", peer));
  }
  const int limit = stream ? limits_.streams : limits_.other_calls;
  if (all.of(kind) >= limit) {
    refusals_->Count(stream ? Refusal::kStreams : Refusal::kCalls);
    return refuse(limit, absl::StrCat("too many ", what, ": at most ", limit, " may be open"));
  }
  return absl::OkStatus();
}

Clients::Call Clients::Count(CallKind kind, const Connection& connection) {
  Share& share = shares_[connection.caller->listener];
  ++share.all.of(kind);
  ++share.peers[connection.caller->peer].of(kind);
  return Call(this, kind, connection.caller);
}

absl::StatusOr<Clients::Call> Clients::Begin(const std::string& name, CallKind kind) {
  const MutexLock lock(&mutex_);
  if (draining_) return ShuttingDown();
  const auto found = connections_.find(name);
  if (found == connections_.end()) return absl::UnavailableError("the connection has ended");
  const CallPeer& caller = *found->second.caller;
  const Share& share = shares_[caller.listener];
  const auto of_peer = share.peers.find(caller.peer);
  absl::Status excess = CheckExcess(caller.peer, kind, share.all,
                                    of_peer == share.peers.end() ? OpenCalls() : of_peer->second);
  if (!excess.ok()) return excess;
  return Count(kind, found->second);
}

absl::Status Clients::Hold(Call* call, size_t bytes) {
  const MutexLock lock(&mutex_);
  Share& share = shares_[call->caller_->listener];
  OpenCalls& of_peer = share.peers.find(call->caller_->peer)->second;
  const size_t of_others = share.all.held_bytes - call->held_bytes_;
  const size_t of_its_peer = of_peer.held_bytes - call->held_bytes_;
  const bool room =
      of_its_peer + bytes <= limits_.held_bytes_of_peer && of_others + bytes <= limits_.held_bytes;
  const size_t held = room ? bytes : 0;
  share.all.held_bytes = of_others + held;
  of_peer.held_bytes = of_its_peer + held;
  call->held_bytes_ = held;
  if (room) return absl::OkStatus();
  refusals_->Count(Refusal::kUnread);
  return WithReason("TOO_MUCH_UNREAD",
                    absl::ResourceExhaustedError(absl::StrCat(
                        "unread responses and filters of streams need too much memory, from ",
                        call->caller_->peer,
                        " or from all clients together; read the responses, and try again later")));
}

void Clients::End(const Call& call) {
  const MutexLock lock(&mutex_);
  Share& share = shares_[call.caller_->listener];
  const auto of_peer = share.peers.find(call.caller_->peer);
  for (OpenCalls* const calls : {&share.all, &of_peer->second}) {
    --calls->of(call.kind_);
    calls->held_bytes -= call.held_bytes_;
  }
  if (of_peer->second.open() == 0 && of_peer->second.refused == 0) share.peers.erase(of_peer);
  // Under the lock: the thread that waits may destroy this.
  if (CountOpen() == 0) changed_.NotifyAll();
}

std::optional<Clients::Call> Clients::BeginRefused(const std::string& name) {
  const MutexLock lock(&mutex_);
  const auto found = connections_.find(name);
  if (found == connections_.end()) return std::nullopt;
  Connection& connection = found->second;
  Call call = Count(CallKind::kRefused, connection);
  const OpenCalls& of_peer = shares_[call.caller_->listener].peers[call.caller_->peer];
  if (of_peer.others + of_peer.refused > 2 * limits_.other_calls_of_peer &&
      connection.cut != nullptr) {
    refusals_->Count(Refusal::kUnread);
    connection.cut();
    connection.cut = nullptr;
  }
  return call;
}

int Clients::CountOpen() const {
  int out = 0;
  for (const Share& share : shares_) out += share.all.open();
  return out;
}

}  // namespace vmeventd
