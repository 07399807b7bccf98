#include "server/access/access_policy.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error_reason.h"
#include "server/access/certificate_names.h"

namespace vmeventd {
namespace {

constexpr double kListBurstSeconds = 5;  // seconds of the rate that may come at once
constexpr size_t kMaxListPeers = 1'024;

}  // namespace

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
