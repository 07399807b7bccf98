#include "server/access/clients.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/wait_until.h"

namespace vmeventd {
namespace {

std::string AddressText(int family, const void* address) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family, address, text, sizeof(text));
  return text;
}

}  // namespace

std::string PeerOfIpv6(in6_addr address) {
  if (IN6_IS_ADDR_V4MAPPED(&address)) return AddressText(AF_INET, &address.s6_addr[12]);
  // A host has a whole /64 to choose its addresses from.
  std::fill(std::begin(address.s6_addr) + 8, std::end(address.s6_addr), uint8_t{0});
  return absl::StrCat(AddressText(AF_INET6, &address), "/64");
}

std::string PeerOfSocket(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  if (address.ss_family == AF_INET) {
    return AddressText(AF_INET, &reinterpret_cast<sockaddr_in*>(&address)->sin_addr);
  }
  if (address.ss_family == AF_INET6) {
    return PeerOfIpv6(reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr);
  }
  ucred user{};
  size = sizeof(user);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &size) != 0) return "";
  return absl::StrCat("user ", user.uid);
}

Clients::Clients(CallLimits limits, const Clock* clock, RefusalCounters* refusals)
    : limits_(limits),
      clock_(clock),
      refusals_(refusals),
      peer_resets_(limits.resets_of_peer.per_second, limits.resets_of_peer.burst, kMaxPeers) {}

void Clients::Add(const std::string& name, std::string peer, std::function<void()> cut,
                  std::shared_ptr<std::atomic<int64_t>> charges) {
  const MutexLock lock(&mutex_);
  connections_.insert_or_assign(name, Connection{std::move(peer), TokenBucket(limits_.resets),
                                                 std::move(cut), std::move(charges)});
}

void Clients::Remove(const std::string& name) {
  const MutexLock lock(&mutex_);
  connections_.erase(name);
}

std::string Clients::PeerOf(absl::string_view name) const {
  const MutexLock lock(&mutex_);
  const auto found = connections_.find(name);
  return found == connections_.end() ? "a closed connection" : found->second.peer;
}

std::string Clients::FindExcess(const std::string& peer, CallKind kind, OpenCalls of_peer) {
  const bool other = kind == CallKind::kOther;
  const struct {
    bool reached;
    Refusal reason;
    int limit;
    const char* what;
  } rows[] = {
      {open_calls_.all >= limits_.calls, Refusal::kCalls, limits_.calls, ""},
      {other && open_calls_.others >= limits_.other_calls, Refusal::kCalls, limits_.other_calls,
       " beside WatchEvents"},
      {open_calls_.unread >= limits_.unread_calls, Refusal::kCalls, limits_.unread_calls,
       " without a request"},
      {of_peer.all >= limits_.calls_of_peer, Refusal::kCallsPerPeer, limits_.calls_of_peer, ""},
      {other && of_peer.others >= limits_.other_calls_of_peer, Refusal::kCallsPerPeer,
       limits_.other_calls_of_peer, " beside WatchEvents"},
      {of_peer.unread >= limits_.unread_calls_of_peer, Refusal::kCallsPerPeer,
       limits_.unread_calls_of_peer, " without a request"}};
  for (const auto& row : rows) {
    if (!row.reached) continue;
    refusals_->Count(row.reason);
    const std::string from = row.reason == Refusal::kCallsPerPeer ? " from " + peer : "";
    return absl::StrCat("too many calls", row.what, ": at most ", row.limit, " may be open", from);
  }
  return "";
}

absl::StatusOr<Clients::Call> Clients::Begin(const std::string& name, CallKind kind) {
  const MutexLock lock(&mutex_);
  if (draining_) return absl::UnavailableError("vmeventd is shutting down");
  const auto found = connections_.find(name);
  if (found == connections_.end()) return absl::UnavailableError("the connection has ended");
  found->second.Charge(limits_.call_bytes);
  const std::string& peer = found->second.peer;
  const auto of_peer = calls_.find(peer);
  const std::string excess =
      FindExcess(peer, kind, of_peer == calls_.end() ? OpenCalls() : of_peer->second);
  if (!excess.empty()) {
    found->second.Charge(limits_.refusal_bytes);
    return absl::ResourceExhaustedError(excess);
  }
  OpenCalls& calls = calls_[peer];
  calls.Add(kind, 1);
  ++calls.unread;
  open_calls_.Add(kind, 1);
  ++open_calls_.unread;
  return Call(this, kind, name, peer);
}

void Clients::SetRead(const std::string& peer) {
  const MutexLock lock(&mutex_);
  --calls_.find(peer)->second.unread;
  --open_calls_.unread;
}

void Clients::End(const std::string& peer, CallKind kind, bool unread) {
  const MutexLock lock(&mutex_);
  const auto found = calls_.find(peer);
  found->second.Add(kind, -1);
  if (unread) {
    --found->second.unread;
    --open_calls_.unread;
  }
  if (found->second.all == 0) calls_.erase(found);
  open_calls_.Add(kind, -1);
  // Under the lock: the thread that waits may destroy this.
  if (open_calls_.all == 0) changed_.NotifyAll();
}

void Clients::CountReset(const std::string& name, const std::string& peer) {
  const absl::Duration now = clock_->Now().monotonic;
  const MutexLock lock(&mutex_);
  const auto found = connections_.find(name);
  if (found == connections_.end()) return;  // its end has reset all its calls
  Connection& connection = found->second;
  connection.Charge(limits_.reset_bytes);
  const absl::Duration debt =
      std::max(connection.resets.Charge(1, now), peer_resets_.Spend(peer, 1, now));
  if (debt == absl::ZeroDuration() || connection.cut == nullptr) return;
  refusals_->Count(Refusal::kResets);
  connection.cut();
  connection.cut = nullptr;
}

bool Clients::ResetsTooMany(const std::string& peer) {
  return peer_resets_.Spend(peer, 0, clock_->Now().monotonic) > absl::ZeroDuration();
}

void Clients::Drain() {
  const MutexLock lock(&mutex_);
  draining_ = true;
}

void Clients::WaitUntilNoCalls(absl::Duration timeout) {
  const MutexLock lock(&mutex_);
  WaitUntil(&changed_, &mutex_, timeout,
            [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return open_calls_.all == 0; });
}

int Clients::open_calls() const {
  const MutexLock lock(&mutex_);
  return open_calls_.all;
}

}  // namespace vmeventd
