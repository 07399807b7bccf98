#include "server/call_guard.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "grpc/grpc_security_constants.h"
#include "server/quote.h"

namespace vmeventd {
namespace {

std::vector<std::string> CertificateNames(const grpc::CallbackServerContext& context) {
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  std::vector<std::string> out;
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return out;
  for (const grpc::string_ref& name : auth->FindPropertyValues(GRPC_X509_SAN_PROPERTY_NAME)) {
    out.emplace_back(name.data(), name.size());
  }
  return out;
}

// A DNS name is the same in any case; a URI is not.
bool SameName(const std::string& a, const std::string& b) {
  return a == b || (!absl::StrContains(a, "/") && absl::EqualsIgnoreCase(a, b));
}

}  // namespace

CallGuard::CallGuard(ListenAddress address, std::vector<std::string> operators,
                     RateLimiter* list_rate, const Clock* clock, RefusalCounters* refusals)
    : address_(std::move(address)),
      operators_(std::move(operators)),
      list_rate_(list_rate),
      clock_(clock),
      refusals_(refusals) {}

bool CallGuard::IsOperator(const grpc::CallbackServerContext& context) const {
  if (address_.role == Role::kReader) return false;
  if (address_.is_unix()) return true;
  if (operators_.empty()) return address_.role == Role::kOperator;
  const std::vector<std::string> names = CertificateNames(context);
  return std::any_of(names.begin(), names.end(), [this](const std::string& name) {
    return std::any_of(operators_.begin(), operators_.end(),
                       [&name](const std::string& allowed) { return SameName(allowed, name); });
  });
}

absl::Status CallGuard::CheckOperator(const grpc::CallbackServerContext& context) const {
  if (IsOperator(context)) return absl::OkStatus();
  refusals_->Count(Refusal::kRole);
  const std::string only = absl::StrCat("only an operator may declare or withdraw intents, and on ",
                                        address_.ToString());
  if (address_.is_unix() || operators_.empty()) {
    return absl::PermissionDeniedError(absl::StrCat(
        only, " every caller is a reader; call on a listener of vmeventd that has role=operator"));
  }
  const std::vector<std::string> names = CertificateNames(context);
  return absl::PermissionDeniedError(
      absl::StrCat(only, " you are a reader: none of your certificate's names (",
                   names.empty() ? "it has none" : Quote(absl::StrJoin(names, ", ")),
                   ") is given to vmeventd by --tls-operator"));
}

absl::Status CallGuard::CheckListRate(const grpc::CallbackServerContext& context) const {
  const absl::Duration wait = list_rate_->Take(Peer(context), clock_->Now().monotonic);
  if (wait == absl::ZeroDuration()) return absl::OkStatus();
  refusals_->Count(Refusal::kListRate);
  return absl::ResourceExhaustedError(
      absl::StrCat("ListEvents is called too often from ", Peer(context), "; try again in ",
                   absl::FormatDuration(absl::Ceil(wait, absl::Milliseconds(1))),
                   ", or follow the events with WatchEvents"));
}

std::string CallGuard::Peer(const grpc::CallbackServerContext& context) const {
  if (address_.is_unix()) return address_.ToString();
  // ipv4:1.2.3.4:567 or ipv6:%5B::1%5D:567
  const std::string peer = context.peer();
  return peer.substr(0, peer.rfind(':'));
}

}  // namespace vmeventd
