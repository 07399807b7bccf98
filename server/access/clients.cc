#include "server/access/clients.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

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

bool HasReserve(absl::string_view peer) {
  static const std::string* const own = new std::string(absl::StrCat("user ", geteuid()));
  return peer == "user 0" || peer == *own;
}

void Clients::Add(const std::string& name, Caller caller, std::function<void()> cut) {
  const MutexLock lock(&mutex_);
  if (shares_.size() <= caller.listener) shares_.resize(caller.listener + 1);
  connections_.insert_or_assign(name, Connection{std::move(caller), std::move(cut)});
}

std::string Clients::PeerOf(absl::string_view name) const {
  const MutexLock lock(&mutex_);
  const auto found = connections_.find(name);
  return found == connections_.end() ? "a closed connection" : found->second.caller.peer;
}

std::vector<CertificateName> Clients::NamesOf(absl::string_view name) const {
  const MutexLock lock(&mutex_);
  const auto found = connections_.find(name);
  return found == connections_.end() ? std::vector<CertificateName>() : found->second.caller.names;
}

std::string Clients::FindExcess(const std::string& peer, CallKind kind, const OpenCalls& all,
                                const OpenCalls& of_peer) {
  const bool health = kind == CallKind::kHealth;
  const bool other = kind == CallKind::kOther;
  const bool few = of_peer.all + of_peer.health < limits_.few_calls;
  const bool reserve = HasReserve(peer);
  const auto reached = [&](int open, int limit) {
    const int beyond = (few || reserve ? limit / 8 : 0) + (reserve ? limits_.reserved_calls : 0);
    return open >= limit + beyond;
  };
  const struct {
    bool reached;
    Refusal reason;
    int limit;
    const char* what;
  } rows[] = {{health && reached(all.health, limits_.health_calls), Refusal::kCalls,
               limits_.health_calls, " of Health/Check"},
              {health && of_peer.health >= limits_.health_calls_of_peer, Refusal::kCallsPerPeer,
               limits_.health_calls_of_peer, " of Health/Check"},
              {!health && reached(all.all, limits_.calls), Refusal::kCalls, limits_.calls, ""},
              {other && reached(all.others, limits_.other_calls), Refusal::kCalls,
               limits_.other_calls, " beside WatchEvents"},
              {!health && reached(all.unread, limits_.unread_calls), Refusal::kCalls,
               limits_.unread_calls, " without a request"},
              {!health && of_peer.all >= limits_.calls_of_peer, Refusal::kCallsPerPeer,
               limits_.calls_of_peer, ""},
              {other && of_peer.others >= limits_.other_calls_of_peer, Refusal::kCallsPerPeer,
               limits_.other_calls_of_peer, " beside WatchEvents"},
              {!health && of_peer.unread >= limits_.unread_calls_of_peer, Refusal::kCallsPerPeer,
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
  const Caller& caller = found->second.caller;
  Share& share = shares_[caller.listener];
  const auto of_peer = share.peers.find(caller.peer);
  const std::string excess = FindExcess(
      caller.peer, kind, share.all, of_peer == share.peers.end() ? OpenCalls() : of_peer->second);
  if (!excess.empty()) return absl::ResourceExhaustedError(excess);
  Call call(this, kind, name, caller);
  for (OpenCalls* const calls : {&share.all, &share.peers[caller.peer]}) {
    calls->Add(kind, 1);
    if (call.unread_) ++calls->unread;
  }
  return call;
}

void Clients::SetRead(const Call& call) {
  const MutexLock lock(&mutex_);
  Share& share = shares_[call.listener_];
  --share.peers.find(call.peer_)->second.unread;
  --share.all.unread;
}

absl::Status Clients::HoldAnswer(Call* call, size_t bytes) {
  if (call->kind_ == CallKind::kHealth) return absl::OkStatus();
  const MutexLock lock(&mutex_);
  Share& share = shares_[call->listener_];
  OpenCalls& of_peer = share.peers.find(call->peer_)->second;
  share.all.answer_bytes -= call->answer_bytes_;
  of_peer.answer_bytes -= call->answer_bytes_;
  call->answer_bytes_ = 0;
  const bool always =
      of_peer.answer_bytes == 0 && (bytes <= limits_.small_answer_bytes || HasReserve(call->peer_));
  if (!always && (of_peer.answer_bytes + bytes > limits_.answer_bytes_of_peer ||
                  share.all.answer_bytes + bytes > limits_.answer_bytes)) {
    refusals_->Count(Refusal::kUnread);
    return absl::ResourceExhaustedError(
        "too many answers wait to be read; read them, and try again later");
  }
  call->answer_bytes_ = bytes;
  share.all.answer_bytes += bytes;
  of_peer.answer_bytes += bytes;
  return absl::OkStatus();
}

void Clients::End(const Call& call) {
  const MutexLock lock(&mutex_);
  Share& share = shares_[call.listener_];
  for (OpenCalls* const calls : {&share.all, &share.peers.find(call.peer_)->second}) {
    calls->Add(call.kind_, -1);
    if (call.unread_) --calls->unread;
    calls->answer_bytes -= call.answer_bytes_;
  }
  if (call.kind_ == CallKind::kRefused) {
    const auto connection = connections_.find(call.connection_);
    if (connection != connections_.end()) --connection->second.refused;
  }
  const auto of_peer = share.peers.find(call.peer_);
  if (of_peer->second.empty()) share.peers.erase(of_peer);
  // Under the lock: the thread that waits may destroy this.
  if (CountOpen() == 0) changed_.NotifyAll();
}

std::optional<Clients::Call> Clients::BeginRefused(const std::string& name) {
  const MutexLock lock(&mutex_);
  const auto found = connections_.find(name);
  if (found == connections_.end()) return std::nullopt;
  Connection& connection = found->second;
  const Caller& caller = connection.caller;
  Share& share = shares_[caller.listener];
  const int of_peer = ++share.peers[caller.peer].refused;
  ++share.all.refused;
  ++connection.refused;
  if ((connection.refused > limits_.refused_calls_of_connection ||
       of_peer > limits_.refused_calls_of_peer || share.all.refused > limits_.refused_calls) &&
      connection.cut != nullptr) {
    refusals_->Count(Refusal::kUnread);
    connection.cut();
    connection.cut = nullptr;
  }
  return Call(this, CallKind::kRefused, name, caller);
}

int Clients::CountOpen() const {
  int out = 0;
  for (const Share& share : shares_) out += share.all.all + share.all.health;
  return out;
}

}  // namespace vmeventd
