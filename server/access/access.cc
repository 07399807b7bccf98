#include "server/access/access.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <iterator>
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

std::string AddressText(int family, const void* address) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(family, address, text, sizeof(text));
  return text;
}

std::string TextOf(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<size_t>(ASN1_STRING_length(text))};
}

std::optional<CertificateName> NameOf(const GENERAL_NAME& name) {
  switch (name.type) {
    case GEN_DNS:
      return CertificateName{NameKind::kDns, TextOf(name.d.dNSName)};
    case GEN_URI:
      return CertificateName{NameKind::kUri, TextOf(name.d.uniformResourceIdentifier)};
    case GEN_EMAIL:
      return CertificateName{NameKind::kEmail, TextOf(name.d.rfc822Name)};
    case GEN_IPADD: {
      const std::string bytes = TextOf(name.d.iPAddress);
      if (bytes.size() != 4 && bytes.size() != 16) return std::nullopt;
      return CertificateName{NameKind::kIp,
                             AddressText(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data())};
    }
    default:
      return std::nullopt;
  }
}

// Its bytes, an IPv4 address in the first four.
using IpBytes = std::array<char, sizeof(in6_addr)>;
std::optional<IpBytes> ParseIp(absl::string_view text) {
  const std::string copy(text);
  IpBytes out{};
  if (inet_pton(AF_INET, copy.c_str(), out.data()) == 1) return out;
  if (inet_pton(AF_INET6, copy.c_str(), out.data()) == 1) return out;
  return std::nullopt;
}

bool HasScheme(absl::string_view text) {
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos || colon == 0 || !absl::ascii_isalpha(text[0])) return false;
  for (const char c : text.substr(0, colon)) {
    if (!absl::ascii_isalnum(c) && c != '+' && c != '-' && c != '.') return false;
  }
  return true;
}

bool SameEmail(absl::string_view a, absl::string_view b) {
  const size_t at = a.rfind('@');
  return at == b.rfind('@') && a.substr(0, at) == b.substr(0, at) &&
         absl::EqualsIgnoreCase(a.substr(at), b.substr(at));
}

}  // namespace

std::vector<CertificateName> CertificateNamesOf(X509* certificate) {
  std::vector<CertificateName> out;
  if (certificate == nullptr) return out;
  const GeneralNamesPtr names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    std::optional<CertificateName> name = NameOf(*sk_GENERAL_NAME_value(names.get(), i));
    if (name.has_value()) out.push_back(*std::move(name));
  }
  return out;
}

std::vector<std::string> CertificateNameTexts(const std::vector<CertificateName>& names) {
  constexpr const char* kKinds[] = {"DNS", "URI", "email", "IP"};
  std::vector<std::string> out;
  for (const CertificateName& name : names) {
    out.push_back(
        absl::StrCat(kKinds[static_cast<size_t>(name.kind)], " ", absl::CHexEscape(name.name)));
  }
  return out;
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

void Clients::Add(const std::string& name, Caller caller, std::function<void()> cut) {
  const MutexLock lock(&mutex_);
  if (shares_.size() <= caller.listener) shares_.resize(caller.listener + 1);
  connections_.insert_or_assign(name, Connection{std::move(caller), std::move(cut)});
}

Clients::Caller Clients::CallerOf(absl::string_view name) const {
  const MutexLock lock(&mutex_);
  const auto found = connections_.find(name);
  return found == connections_.end() ? Caller{.peer = "a closed connection"} : found->second.caller;
}

std::string Clients::FindExcess(const std::string& peer, CallKind kind, OpenCalls all,
                                OpenCalls of_peer) {
  const bool stream = kind == CallKind::kStream;
  const char* const what = stream ? "streams" : "calls other than WatchEvents";
  const int limit_of_peer = stream ? limits_.streams_of_peer : limits_.other_calls_of_peer;
  if (of_peer.of(kind) >= limit_of_peer) {
    refusals_->Count(stream ? Refusal::kStreamsPerPeer : Refusal::kCallsPerPeer);
    return absl::StrCat("too many ", what, ": at most ", limit_of_peer, " may be open from ", peer);
  }
  const int limit = stream ? limits_.streams : limits_.other_calls;
  if (all.of(kind) >= limit) {
    refusals_->Count(stream ? Refusal::kStreams : Refusal::kCalls);
    return absl::StrCat("too many ", what, ": at most ", limit, " may be open");
  }
  return "";
}

Clients::Call Clients::Count(CallKind kind, const Caller& caller) {
  Share& share = shares_[caller.listener];
  ++share.all.of(kind);
  ++share.peers[caller.peer].of(kind);
  return Call(this, kind, caller);
}

absl::StatusOr<Clients::Call> Clients::Begin(const std::string& name, CallKind kind) {
  const MutexLock lock(&mutex_);
  if (draining_) return ShuttingDown();
  const auto found = connections_.find(name);
  if (found == connections_.end()) return absl::UnavailableError("the connection has ended");
  const Caller& caller = found->second.caller;
  const Share& share = shares_[caller.listener];
  const auto of_peer = share.peers.find(caller.peer);
  const std::string excess = FindExcess(
      caller.peer, kind, share.all, of_peer == share.peers.end() ? OpenCalls() : of_peer->second);
  if (!excess.empty()) {
    return WithReason(kind == CallKind::kStream ? "TOO_MANY_STREAMS" : "TOO_MANY_CALLS",
                      absl::ResourceExhaustedError(excess));
  }
  return Count(kind, caller);
}

absl::Status Clients::Hold(Call* call, size_t bytes) {
  const MutexLock lock(&mutex_);
  Share& share = shares_[call->listener_];
  OpenCalls& of_peer = share.peers.find(call->peer_)->second;
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
  return WithReason(
      "TOO_MUCH_UNREAD",
      absl::ResourceExhaustedError(absl::StrCat(
          "unread responses and filters of streams need too much memory, from ", call->peer_,
          " or from all clients together; read the responses, and try again later")));
}

void Clients::End(const Call& call) {
  const MutexLock lock(&mutex_);
  Share& share = shares_[call.listener_];
  const auto of_peer = share.peers.find(call.peer_);
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
  Call call = Count(CallKind::kRefused, connection.caller);
  const OpenCalls& of_peer = shares_[call.listener_].peers[call.peer_];
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

NameKind KindOfOperator(absl::string_view name) {
  if (ParseIp(name).has_value()) return NameKind::kIp;
  if (HasScheme(name)) return NameKind::kUri;
  return absl::StrContains(name, "@") ? NameKind::kEmail : NameKind::kDns;
}

bool IsOperatorName(absl::string_view name_of_operator, NameKind kind, absl::string_view name) {
  if (KindOfOperator(name_of_operator) != kind) return false;
  if (kind == NameKind::kDns) return absl::EqualsIgnoreCase(name_of_operator, name);
  if (kind == NameKind::kIp) return ParseIp(name_of_operator) == ParseIp(name);
  if (kind == NameKind::kUri) return name_of_operator == name;
  return absl::StrContains(name, "@") && SameEmail(name_of_operator, name);
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

AccessPolicy::AccessPolicy(ListenAddress address, std::vector<std::string> operators,
                           const Clients* clients, RateLimiter* list_rate, const Clock* clock,
                           RefusalCounters* refusals)
    : address_(std::move(address)),
      operators_(std::move(operators)),
      clients_(clients),
      list_rate_(list_rate),
      clock_(clock),
      refusals_(refusals) {}

bool AccessPolicy::IsOperator(const grpc::CallbackServerContext& context) const {
  if (address_.role == Role::kReader) return false;
  if (address_.is_unix()) return true;
  if (operators_.empty()) return address_.role == Role::kOperator;
  const std::vector<CertificateName> names = clients_->CallerOf(context.peer()).names;
  return std::any_of(names.begin(), names.end(), [this](const CertificateName& own) {
    return std::any_of(operators_.begin(), operators_.end(), [&own](const std::string& allowed) {
      return IsOperatorName(allowed, own.kind, own.name);
    });
  });
}

absl::Status AccessPolicy::CheckOperator(const grpc::CallbackServerContext& context) const {
  if (IsOperator(context)) return absl::OkStatus();
  refusals_->Count(Refusal::kRole);
  const std::string only =
      absl::StrCat("only an operator may declare or withdraw intents or list streams, and on ",
                   address_.ToString());
  if (address_.is_unix() || operators_.empty()) {
    return WithReason(
        "NO_OPERATOR",
        absl::PermissionDeniedError(absl::StrCat(
            only,
            " every caller is a reader; call on a listener of vmeventd that has role=operator")));
  }
  const std::string names =
      absl::StrJoin(CertificateNameTexts(clients_->CallerOf(context.peer()).names), ", ");
  return WithReason("NO_OPERATOR",
                    absl::PermissionDeniedError(absl::StrCat(
                        only, " you are a reader: none of your certificate's names (",
                        names.empty() ? "it has none" : absl::StrCat("\"", names, "\""),
                        ") is given to vmeventd by --tls-operator")));
}

absl::Status AccessPolicy::CheckRate(const grpc::CallbackServerContext& context) const {
  const std::string peer = Peer(context);
  const absl::Duration wait = list_rate_->Take(peer, clock_->Now().monotonic);
  if (wait == absl::ZeroDuration()) return absl::OkStatus();
  refusals_->Count(Refusal::kListRate);
  return WithReason(
      "LISTS_TOO_OFTEN",
      WithRetry(wait,
                absl::ResourceExhaustedError(absl::StrCat(
                    "ListEvents and ListVms are called too often from ", peer, "; try again in ",
                    absl::FormatDuration(absl::Ceil(wait, absl::Milliseconds(1))),
                    ", or follow the events with WatchEvents"))));
}

}  // namespace vmeventd
