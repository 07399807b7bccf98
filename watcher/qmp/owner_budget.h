#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/counter.h"
#include "base/event_loop.h"

namespace vmeventd {

// Limits all monitors' use of the loop's time and of memory. Each owner has a fair part,
// and so has each monitor of an owner: where everything runs as one user, that part is what counts.
// The owner of a monitor is the user who speaks on it.
//
// Time: a monitor that has more to say than a little waits in a queue. One at a time has a turn, of
// kSlice or a little more where one line takes longer, and then nobody for kPausePerWork times as
// long as it took: however many wait, the others have the loop for three quarters of the time.
//
// Memory: where more than kMaxHeldBytes are held, the owner who holds most loses what is largest.
//
// Loop thread.
class OwnerBudget {
 public:
  static constexpr absl::Duration kSlice = absl::Milliseconds(2);
  static constexpr int kPausePerWork = 3;
  static constexpr size_t kMaxHeldBytes = 16 << 20;

  // A monitor.
  class Client {
   public:
    virtual ~Client() = default;
    // Gives it a turn: it waits no more, and may work for kSlice.
    virtual void OnTurn() = 0;
    // Frees the memory that it holds.
    virtual void OnHeldTooMuch() = 0;

   private:
    friend class OwnerBudget;
    uid_t owner_ = 0;  // the owner of its queue and account
    size_t held_ = 0;
    bool waits_ = false;
  };

  // `loop` outlives it, and it outlives its clients.
  explicit OwnerBudget(EventLoop* loop) : loop_(loop), buffer_(64 << 10) {}
  ~OwnerBudget() { loop_->CancelTimer(&timer_); }
  OwnerBudget(const OwnerBudget&) = delete;
  OwnerBudget& operator=(const OwnerBudget&) = delete;

  // Calls OnTurn when it is the client's turn, not from within. An urgent one, whose monitor has
  // ended, comes before those that are not, and is waited for once as long as it takes.
  void Wait(Client* client, uid_t owner, bool urgent);
  // Notes how much the client holds from now on. May call OnHeldTooMuch, of any client.
  void Hold(Client* client, uid_t owner, size_t bytes);
  // Notes that the client waits for nothing and holds nothing.
  void Forget(Client* client);

  // Buffer that clients read into during a call.
  absl::Span<char> buffer() { return absl::MakeSpan(buffer_); }
  // Memory of all clients.
  size_t held() const { return held_; }
  // Any thread.
  uint64_t given_up() const { return given_up_.value(); }

 private:
  struct Owner {
    std::deque<Client*> waiting;
    std::set<std::pair<size_t, Client*>> holding;  // the largest last
    size_t held = 0;
  };

  void Arm();
  void Serve();
  void StopWaiting(Client* client);
  void DropIfUnused(uid_t owner);

  EventLoop* const loop_;
  std::vector<char> buffer_;
  absl::flat_hash_map<uid_t, Owner> owners_;  // owners that wait or hold
  std::deque<uid_t> turns_;                   // waiting owners, the next one first
  std::deque<Client*> urgent_;
  TimerId timer_;
  absl::Duration next_turn_ = -absl::InfiniteDuration();
  size_t held_ = 0;
  Counter given_up_;
};

}  // namespace vmeventd
