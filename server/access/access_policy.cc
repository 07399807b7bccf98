#include "server/access/access_policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error_reason.h"

namespace vmeventd {
namespace {

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

NameKind KindOfOperator(absl::string_view name) {
  if (ParseIp(name).has_value()) return NameKind::kIp;
  if (HasScheme(name)) return NameKind::kUri;
  return absl::StrContains(name, "@") ? NameKind::kEmail : NameKind::kDns;
}

bool IsOperatorName(absl::string_view name_of_operator, NameKind kind, absl::string_view name) {
  if (KindOfOperator(name_of_operator) != kind) return false;
  switch (kind) {
    case NameKind::kDns:
      return absl::EqualsIgnoreCase(name_of_operator, name);
    case NameKind::kUri:
      return name_of_operator == name;
    case NameKind::kEmail:
      return absl::StrContains(name, "@") && SameEmail(name_of_operator, name);
    case NameKind::kIp:
      return ParseIp(name_of_operator) == ParseIp(name);
  }
  return false;
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
  const std::vector<CertificateName> names = clients_->NamesOf(context.peer());
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
  return WithReason("NO_OPERATOR",
                    absl::PermissionDeniedError(
                        absl::StrCat(only, " you are a reader: none of your certificate's names (",
                                     CertificateNamesText(clients_->NamesOf(context.peer())),
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
