#include "server/access/access_policy.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "server/access/certificate_names.h"

namespace vmeventd {

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
