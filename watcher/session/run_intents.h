#pragma once

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/rare.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/session/evidence.h"

namespace vmeventd {

struct DeclaredIntent {
  v1::Intent intent;
  absl::Time declared;
  absl::Duration deadline;  // on the monotonic clock
};

// The intents that were declared for a run: the open one, and one that was closed after it had
// counted. All members are saved. Pure.
struct RunIntents {
  Rare<DeclaredIntent> open;
  Rare<DeclaredIntent> counted;  // closed; the end still counts as intended by it

  // Returns the intent that counts, else the one that is open; unset: none.
  const v1::Intent* OfRequest(absl::string_view request_id) const;
  // The one that counts, else the one that is open; unset: none.
  const Rare<DeclaredIntent>& Shown() const { return counted.has_value() ? counted : open; }
  // Returns when the open intent expires, on the monotonic clock; InfiniteDuration: none is open.
  absl::Duration Deadline() const {
    return open.has_value() ? open->deadline : absl::InfiniteDuration();
  }

  // Opens `intent`. None is open before. Expires after (expire_time - now) on the monotonic clock.
  void Open(const v1::Intent& intent, Instant now);
  // Closes the open intent, and returns it. `facts` show whether it has counted.
  v1::Intent Close(const Evidence& facts);
  // Updates whether an open intent counts: it does as long as nothing decides the run's class. Call
  // it when an intent comes or goes and when evidence is cleared.
  void Reconsider(Evidence* facts);
};

}  // namespace vmeventd
