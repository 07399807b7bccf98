#include "server/transport/inbound_budget.h"

#include <algorithm>

namespace vmeventd {
namespace {

constexpr double kLeastPiece = 64;  // avoids reads of a few bytes once a peer has sent too much
constexpr absl::Duration kPeerPause = absl::Milliseconds(50);

}  // namespace

std::shared_ptr<PeerBudget> PeerBudgets::Find(const std::string& peer, absl::Duration now) {
  if (const auto found = budgets_.find(peer); found != budgets_.end()) return found->second;
  if (budgets_.size() >= kMaxPeers) {
    absl::erase_if(budgets_, [now](const auto& entry) {
      return entry.second.use_count() == 1 && entry.second->IsFull(now);
    });
  }
  std::shared_ptr<PeerBudget>& out = budgets_[budgets_.size() < kMaxPeers ? peer : ""];
  if (out == nullptr) out = std::make_shared<PeerBudget>(limits_);
  return out;
}

size_t InboundBudget::Allowance(size_t most, absl::Duration now, absl::Duration* wait) {
  const absl::Duration debt = std::max(peer_->bytes.Charge(0, now), peer_->calls.Charge(0, now));
  if (debt == absl::ZeroDuration()) return most;
  const double always = always_.Available(now);
  if (always >= kLeastPiece) {
    return static_cast<size_t>(std::min<double>(static_cast<double>(most), always));
  }
  *wait = std::min(debt, kPeerPause);
  return 0;
}

absl::Duration InboundBudget::Spend(uint64_t bytes, int calls, absl::Duration now) {
  const auto amount = static_cast<double>(bytes);
  if (always_.Available(now) >= amount) {
    always_.Charge(amount, now);
  } else {
    peer_->bytes.Charge(amount, now);
    peer_->calls.Charge(calls, now);
  }
  return std::max(bytes_.Charge(amount, now), calls_.Charge(calls, now));
}

}  // namespace vmeventd
