#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace vmeventd {

// The events or VMs of one message, collected in turns until it is full. Used by one thread at a
// time.
struct EventPage {
  // Number of events after which the clock is read.
  static constexpr size_t kEventsPerClockRead = 16;

  // Begins a turn that lasts `time`. The message gets at most `bytes`, but always room for one
  // event or VM.
  void Begin(absl::Duration time, size_t bytes) {
    until = clock->Now().monotonic + time;
    max_bytes = bytes;
    asked = 0;
  }
  bool HasTime() const { return clock->Now().monotonic < until; }
  // Returns whether the turn has time for one more event. The first one always has.
  bool HasTimeForOne() { return ++asked % kEventsPerClockRead != 0 || HasTime(); }
  // Adds an encoded event or VM, which `append` appends. False: there was no room for it.
  bool Add(absl::FunctionRef<void(std::string*)> append) {
    const size_t before = encoded.size();
    append(&encoded);
    full = count > 0 && (count >= max_count || encoded.size() > max_bytes);
    if (full) encoded.resize(before);
    if (!full) ++count;
    return !full;
  }
  // Ends the message.
  std::string Take() {
    count = 0;
    return std::exchange(encoded, {});
  }

  const Clock* clock;
  size_t max_count = SIZE_MAX;
  std::string encoded{};  // as the fields of the message
  size_t count = 0;
  size_t max_bytes = 0;
  absl::Duration until{};
  size_t asked = 0;  // in this turn
  bool full = false;
};

}  // namespace vmeventd
