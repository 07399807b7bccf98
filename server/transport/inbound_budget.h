#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/transport/client_frames.h"

namespace vmeventd {

// Limits of what clients send. Bytes and calls beyond it wait; frames beyond it end the connection.
struct RelayLimits {
  // Bytes. Clients need most of them for flow control: 26 bytes for each 16 KiB that they read, so
  // that a reader of 600 MB/s sends 1 MB/s. The burst admits the largest request at once.
  TokenRate connection = {1 << 20, (1 << 20) + (128 << 10)};
  // All connections of one peer together; but each may send as much as `always` whatever the others
  // do, so that a peer's flood on one connection does not silence its other clients.
  TokenRate peer = {2 << 20, (2 << 20) + (256 << 10)};
  TokenRate always = {2 << 10, 1 << 10};
  // Calls: gRPC 1.51 takes them up faster than it gets through them, at 20 KB each.
  TokenRate calls = {2'500, 500};
  TokenRate calls_of_peer = {5'000, 1'000};
  FrameLimits frames;
  // Time after which a client that reads nothing, while data waits for it, is disconnected.
  absl::Duration unread = absl::Seconds(60);
};

// Budget of all connections of one peer together.
struct PeerBudget {
  explicit PeerBudget(const RelayLimits& limits)
      : bytes(limits.peer), calls(limits.calls_of_peer), frames(limits.frames) {}
  bool IsFull(absl::Duration now) const {
    return bytes.IsFull(now) && calls.IsFull(now) && frames.resets.IsFull(now) &&
           frames.control.IsFull(now);
  }
  TokenBucket bytes;
  TokenBucket calls;
  PeerFrames frames;
};

// The budgets of all peers. One thread; times are monotonic.
class PeerBudgets {
 public:
  // Peers with a budget of their own; the rest share one.
  static constexpr size_t kMaxPeers = 16'384;

  explicit PeerBudgets(const RelayLimits& limits) : limits_(limits) {}
  std::shared_ptr<PeerBudget> Find(const std::string& peer, absl::Duration now) {
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

 private:
  const RelayLimits limits_;
  absl::flat_hash_map<std::string, std::shared_ptr<PeerBudget>> budgets_;
};

// Budget of one connection. One thread; times are monotonic.
class InboundBudget {
 public:
  InboundBudget(const RelayLimits& limits, std::shared_ptr<PeerBudget> peer)
      : peer_(std::move(peer)),
        bytes_(limits.connection),
        calls_(limits.calls),
        always_(limits.always) {}

  // Returns the bytes that may be read now, at most `most`. 0: none before `*wait` has passed.
  size_t Allowance(size_t most, absl::Duration now, absl::Duration* wait) {
    const absl::Duration debt = std::max(peer_->bytes.Charge(0, now), peer_->calls.Charge(0, now));
    if (debt == absl::ZeroDuration()) return most;
    const double always = always_.Available(now);
    if (always >= kLeastPiece) {
      return static_cast<size_t>(std::min<double>(static_cast<double>(most), always));
    }
    *wait = std::min(debt, kPeerPause);
    return 0;
  }
  // Counts what was read. Returns for how long nothing may be.
  absl::Duration Spend(uint64_t bytes, int calls, absl::Duration now) {
    const auto amount = static_cast<double>(bytes);
    if (always_.Available(now) >= amount) {
      always_.Charge(amount, now);
    } else {
      peer_->bytes.Charge(amount, now);
      peer_->calls.Charge(calls, now);
    }
    return std::max(bytes_.Charge(amount, now), calls_.Charge(calls, now));
  }

 private:
  static constexpr double kLeastPiece = 64;  // avoids reads of a few bytes after too much was sent
  static constexpr absl::Duration kPeerPause = absl::Milliseconds(50);

  const std::shared_ptr<PeerBudget> peer_;
  TokenBucket bytes_;
  TokenBucket calls_;
  TokenBucket always_;  // bytes that the peer's budget does not cover
};

}  // namespace vmeventd
