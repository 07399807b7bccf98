#include "watcher/qmp/owner_budget.h"

#include <algorithm>

namespace vmeventd {
namespace {

constexpr absl::Duration kMaxPause = absl::Milliseconds(250);

}  // namespace

void OwnerBudget::Wait(Client* client, uid_t owner, bool urgent) {
  StopWaiting(client);
  if (client->held_ == 0) client->owner_ = owner;
  client->waits_ = true;
  if (urgent) {
    urgent_.push_back(client);
  } else {
    std::deque<Client*>& waiting = owners_[client->owner_].waiting;
    if (waiting.empty()) turns_.push_back(client->owner_);
    waiting.push_back(client);
  }
  Arm();
}

void OwnerBudget::Arm() {
  if (timer_.serial != 0 || (urgent_.empty() && turns_.empty())) return;
  loop_->SetTimer(&timer_, std::max(next_turn_, loop_->Now().monotonic), [this] { Serve(); });
}

void OwnerBudget::Serve() {
  if (urgent_.empty() && turns_.empty()) return;
  const bool urgent = !urgent_.empty();
  Client* const client = urgent ? urgent_.front() : owners_[turns_.front()].waiting.front();
  StopWaiting(client);
  const absl::Duration began = loop_->Now().monotonic;
  client->OnTurn();
  const absl::Duration ended = loop_->Now().monotonic;
  next_turn_ = ended + std::min((ended - began) * (urgent ? 1 : kPausePerWork), kMaxPause);
  loop_->CancelTimer(&timer_);  // the timer of a client that waits again
  Arm();
}

// Its owner's next client has its turn after those of the other owners.
void OwnerBudget::StopWaiting(Client* client) {
  if (!client->waits_) return;
  client->waits_ = false;
  if (std::erase(urgent_, client) != 0) return;
  std::deque<Client*>& waiting = owners_[client->owner_].waiting;
  const bool was_next = waiting.front() == client;
  std::erase(waiting, client);
  if (was_next || waiting.empty()) {
    std::erase(turns_, client->owner_);
    if (!waiting.empty()) turns_.push_back(client->owner_);
  }
  DropIfUnused(client->owner_);
}

void OwnerBudget::Hold(Client* client, uid_t owner, size_t bytes) {
  if (client->held_ == bytes) return;
  if (client->held_ == 0 && !client->waits_) client->owner_ = owner;
  Owner& account = owners_[client->owner_];
  if (client->held_ != 0) account.holding.erase({client->held_, client});
  if (bytes != 0) account.holding.insert({bytes, client});
  account.held += bytes - client->held_;
  held_ += bytes - client->held_;
  client->held_ = bytes;
  DropIfUnused(client->owner_);
  while (held_ > kMaxHeldBytes) {
    const auto most = std::max_element(
        owners_.begin(), owners_.end(),
        [](const auto& a, const auto& b) { return a.second.held < b.second.held; });
    Client* const largest = most->second.holding.rbegin()->second;
    given_up_.Add();
    largest->OnHeldTooMuch();
    Hold(largest, largest->owner_, 0);
  }
}

void OwnerBudget::Forget(Client* client) {
  StopWaiting(client);
  Hold(client, client->owner_, 0);
}

void OwnerBudget::DropIfUnused(uid_t owner) {
  const auto it = owners_.find(owner);
  if (it->second.waiting.empty() && it->second.held == 0) owners_.erase(it);
}

}  // namespace vmeventd
