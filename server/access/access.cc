#include "server/access/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error_reason.h"

namespace vmeventd {
namespace {

constexpr double kListBurstSeconds = 5;  // seconds of the rate that may come at once
constexpr size_t kMaxListPeers = 1'024;

std::string AddressText(int family, const void* address) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family, address, text, sizeof(text));
  return text;
}

std::string DnsName(absl::string_view name) {
  return absl::StrCat("DNS ", absl::AsciiStrToLower(absl::CHexEscape(name)));
}
std::string UriName(absl::string_view name) { return absl::StrCat("URI ", absl::CHexEscape(name)); }

}  // namespace

std::vector<std::string> CertificateNamesOf(X509* certificate) {
  std::vector<std::string> out;
  if (certificate == nullptr) return out;
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME& name = *sk_GENERAL_NAME_value(names.get(), i);
    if (name.type != GEN_DNS && name.type != GEN_URI) continue;
    const ASN1_STRING* const text = name.d.ia5;
    const absl::string_view bytes(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                                  static_cast<size_t>(ASN1_STRING_length(text)));
    out.push_back(name.type == GEN_DNS ? DnsName(bytes) : UriName(bytes));
  }
  return out;
}

std::string OperatorName(absl::string_view name) {
  return absl::StrContains(name, ':') ? UriName(name) : DnsName(name);
}

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

absl::Duration RateLimiter::Take(const std::string& key, absl::Duration now) {
  const MutexLock lock(&mutex_);
  const bool is_known = buckets_.contains(key);
  if (!is_known && buckets_.size() >= max_keys_) {
    // A full bucket is as good as none.
    absl::erase_if(buckets_, [now](const auto& entry) { return entry.second.IsFull(now); });
  }
  const bool has_own = is_known || buckets_.size() < max_keys_;
  return buckets_.try_emplace(has_own ? key : "", rate_).first->second.TakeOrWait(now);
}

AccessPolicy::AccessPolicy(std::vector<ListenAddress> addresses,
                           const std::vector<std::string>& operators, double list_rate,
                           const Clock* clock, RefusalCounters* refusals)
    : addresses_(std::move(addresses)),
      list_rate_(list_rate, list_rate * kListBurstSeconds, kMaxListPeers),
      clock_(clock),
      refusals_(refusals) {
  for (const std::string& name : operators) operators_.insert(OperatorName(name));
}

absl::Status AccessPolicy::CheckOperator(const CallPeer& caller) const {
  const ListenAddress& address = addresses_[caller.listener];
  const std::vector<std::string>& names = caller.certificate_names;
  if (!address.readers_only &&
      (address.is_unix() || std::any_of(names.begin(), names.end(), [this](const auto& name) {
         return operators_.contains(name);
       }))) {
    return absl::OkStatus();
  }
  refusals_->Count(Refusal::kRole);
  const std::string why =
      address.readers_only || address.is_unix() || operators_.empty()
          ? "every caller is a reader; call on a Unix socket without role=reader, or by TLS with a "
            "name of --tls-operator"
          : absl::StrCat("you are a reader: none of your certificate's names (",
                         names.empty() ? "no DNS name, no URI"
                                       : absl::StrCat("\"", absl::StrJoin(names, ", "), "\""),
                         ") is given to vmeventd by --tls-operator");
  return WithReason("NO_OPERATOR",
                    absl::PermissionDeniedError(absl::StrCat(
                        "only an operator may declare or withdraw intents or list streams, and on ",
                        address.ToString(), " ", why)));
}

absl::Status AccessPolicy::CheckRate(const CallPeer& caller) {
  const absl::Duration wait = list_rate_.Take(caller.peer, clock_->Now().monotonic);
  if (wait == absl::ZeroDuration()) return absl::OkStatus();
  refusals_->Count(Refusal::kListRate);
  return WithReason(
      "LISTS_TOO_OFTEN",
      WithRetry(wait, absl::ResourceExhaustedError(absl::StrCat(
                          "lists of events, VMs and streams are requested too often from ",
                          caller.peer, "; try again in ",
                          absl::FormatDuration(absl::Ceil(wait, absl::Milliseconds(1))),
                          ", or follow the events with WatchEvents"))));
}

}  // namespace vmeventd
