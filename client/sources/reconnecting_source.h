#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "base/backoff.h"
#include "client/connect/failure.h"
#include "client/connect/stop_source.h"
#include "client/output/print_sentence.h"
#include "client/output/watch_position.h"
#include "client/sources/source.h"

namespace vmeventd::client {

// A source that reconnects after the connection was lost, with growing pauses, and reports each
// loss once.
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
  std::string loss() final { return loss_reported_ ? last_reason_ : ""; }

 protected:
  explicit ReconnectingSource(Environment environment);

  // Connects and returns true; or calls Close() and returns false.
  virtual bool Open() = 0;
  // Reads for up to `*timeout`, and subtracts the time that it took. Add()s items, or calls
  // Close(). False: the time is over.
  virtual bool Read(absl::Duration* timeout) = 0;

  void Add(Item item);
  // Adds the position, unless it is unset or equal to that of the last event or position.
  void AddPosition(const std::optional<WatchPosition>& position);
  // Call it when the connection is lost, or could not be made. With a `code`, the source ends with
  // it, because the failure cannot be retried; without one it reconnects, after a pause unless
  // `at_once`.
  void Close(std::optional<ExitCode> code, bool at_once = false);
  bool stopped() const { return env_.stop->stopped(); }
  StopSource* stop() const { return env_.stop; }

  void Note(const std::string& sentence) const { env_.note(sentence); }
  // Reports why there is no connection: once, and again if the reason changes.
  void NoteLoss(const std::string& why);
  // Call it when the connection delivers. Reports `again` if a loss was reported before.
  void NoteEstablished(const std::string& again);
  bool ever_established() const { return ever_established_; }
  bool is_loss_reported() const { return loss_reported_; }

 private:
  // Waits; returns whether to stop instead.
  bool Pause(absl::Duration duration) {
    return env_.wait ? env_.wait(duration) : env_.stop->WaitFor(duration);
  }

  const Environment env_;
  bool open_ = false;
  std::deque<Item> ready_;                 // the next items
  std::optional<WatchPosition> reported_;  // the latest position in an item
  std::optional<ExitCode> ended_;          // code of the last item, Ended
  absl::Duration pause_;                   // rest of the pause before the next attempt
  Backoff backoff_;                        // reset when the position has moved
  bool ever_established_ = false;
  bool loss_reported_ = false;
  std::string last_reason_;  // reason that was last reported since the last connection
};

}  // namespace vmeventd::client
