#include "client/connect/node_pin.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"

namespace vmeventd::client {
namespace {

bool IsIpv6(const std::string& numeric) { return absl::StrContains(numeric, ':'); }

}  // namespace

NodeIdentity IdentityOf(const v1::GetServerInfoResponse& info) {
  return {info.node_id(), info.node(), info.journal_id()};
}

bool GoesOn(const NodeIdentity& known, const NodeIdentity& found, bool same_address) {
  const bool journals = !known.journal_id.empty() && !found.journal_id.empty();
  if (journals && known.journal_id == found.journal_id) return true;
  if (journals && !same_address) return false;
  if (!known.node_id.empty() && known.node_id == found.node_id) return true;
  return known.node.empty() || found.node.empty() || known.node == found.node;
}

NodePin::NodePin(ServerAddress address, Resolver resolver)
    : address_(std::move(address)), resolver_(std::move(resolver)) {}

absl::StatusOr<ServerAddress> NodePin::Next() {
  if (address_.is_unix()) return address_;
  if (untried_.empty()) {
    const absl::StatusOr<std::vector<std::string>> resolved = resolver_(address_);
    // A followed node may return before its name does.
    if (!resolved.ok() && kept_.empty()) return resolved.status();
    if (!kept_.empty()) untried_.push_back(kept_);
    if (resolved.ok()) {
      const auto ipv6 =
          static_cast<size_t>(std::count_if(resolved->begin(), resolved->end(), IsIpv6));
      ambiguous_ = ipv6 > 1 || resolved->size() - ipv6 > 1;
      for (const std::string& numeric : *resolved) {
        if (numeric != kept_) untried_.push_back(numeric);
      }
    }
  }
  ServerAddress next = address_;
  next.numeric = current_ = untried_.front();
  untried_.pop_front();
  return next;
}

bool NodePin::OnAnswer(const NodeIdentity& identity) {
  if (node_ && !GoesOn(*node_, identity, current_ == kept_)) return false;
  node_ = identity;
  kept_ = current_;
  untried_.clear();
  return true;
}

}  // namespace vmeventd::client
