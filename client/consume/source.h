#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <variant>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/output/node_event.h"
#include "client/output/output.h"
#include "vmeventd/v1/vm_events.pb.h"

// The sources of a watch: one daemon, several, or a fleet, each as one iterator.

namespace vmeventd::client {

// Start of a watch.
struct FromNow {};
struct FromOldest {};
struct FromSnapshot {};
struct FromTime {
  absl::Time time;
};
// Begins with the first event after the position.
using FromSequence = WatchPosition;
using WatchStart = std::variant<FromNow, FromOldest, FromSnapshot, FromTime, FromSequence>;

// A watch: where it starts, its filter, and how long it lasts.
struct WatchCommand {
  WatchStart start;  // a FromSequence without a journal_id uses the server's present journal
  v1::EventFilter filter;
  bool wait = false;          // waits for those that are not there yet
  bool durable_only = false;  // no event comes before it is durable
  // Events and VMs of one daemon have its node's own name, for which it is asked.
  bool named = false;
  // Set for consumers that are no people: as `named`, and events have their journal, and what is
  // noted as a GAP is also an event of MakeGap().
  bool identify = false;
};

// A GAP that no journal has: it has no sequence, and `missing` begins behind the position and has
// no end. The position does not move.
NodeEvents MakeGap(MessageNode node, const WatchPosition& behind, const std::string& why);

// Events as they happen, over as many connections as needed: it continues behind its position, and
// reports a gap by itself. One thread.
class Source {
 public:
  virtual ~Source() = default;

  // Nothing came within the timeout.
  struct Nothing {};
  // A stream is open; with a snapshot, after its VMs.
  struct Opened {};
  // Nothing comes any more. kOk: it was stopped. Otherwise the code of a failure that cannot be
  // retried, after a note about it.
  struct Ended {
    ExitCode code = ExitCode::kOk;
  };
  // NodeVms is a complete snapshot. NodeEvents are at least one, and a GAP is one of them. A
  // ServerPosition comes when everything up to it has been delivered; not where the server's last
  // event has it.
  using Item = std::variant<Nothing, Opened, NodeVms, NodeEvents, ServerPosition, Ended>;

  // Waits for so long for the next item; an attempt to connect may take longer.
  virtual Item Next(absl::Duration timeout) = 0;

  // Why there is no connection now, as it was noted; empty: there is one, or there are several
  // servers.
  virtual std::string loss() = 0;
};

// A source that connects again after a loss, with growing pauses, and reports each loss once.
class ReconnectingSource : public Source {
 public:
  // The dependencies. All must outlive the source.
  struct Environment {
    StopSource* stop = nullptr;
    PrintSentence note;
    // Waits before the next attempt; returns whether to stop instead. Null: waits for `stop`.
    std::function<bool(absl::Duration)> wait = nullptr;
    // A number in [0, 1) for the random part of a pause.
    std::function<double()> random = RandomFraction;
  };

  Item Next(absl::Duration timeout) final;
  std::string loss() final { return loss_noted_ ? last_reason_ : ""; }

 protected:
  explicit ReconnectingSource(Environment environment);

  // Connects: true, or calls Close().
  virtual bool Open() = 0;
  // Reads for `timeout`, of which it takes what was used: Add()s items, or calls Close(). False:
  // the time is over.
  virtual bool Read(absl::Duration* timeout) = 0;

  void Add(Item item);
  // Adds the position, unless there is none or the last event or position has it.
  void AddPosition(const std::optional<WatchPosition>& position);
  // There is no connection: ends with the code of a failure that cannot be retried; otherwise
  // connects again, after a pause unless `at_once`.
  void Close(std::optional<ExitCode> code, bool at_once = false);
  bool stopped() const { return env_.stop->stopped(); }
  StopSource* stop() const { return env_.stop; }

  void Note(const std::string& sentence) const { env_.note(sentence); }
  // Reports why there is no connection: once, and again if the reason changes.
  void NoteLoss(const std::string& why);
  // The connection delivers. `again` is reported after a loss.
  void NoteEstablished(const std::string& again);
  bool ever_established() const { return ever_established_; }
  bool is_loss_noted() const { return loss_noted_; }

 private:
  // Waits; returns whether to stop instead.
  bool Pause(absl::Duration duration) {
    return env_.wait ? env_.wait(duration) : env_.stop->WaitFor(duration);
  }

  const Environment env_;
  bool open_ = false;
  std::deque<Item> ready_;                 // the next items
  std::optional<WatchPosition> reported_;  // the latest in an item
  std::optional<ExitCode> ended_;          // of the last item
  absl::Duration pause_;                   // rest of the pause before the next attempt
  Backoff backoff_;
  bool ever_established_ = false;
  bool loss_noted_ = false;
  std::string last_reason_;  // last noted, since the last connection
};

}  // namespace vmeventd::client
