#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/rare.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/evidence_entry.h"
#include "watcher/core/oom_victim.h"
#include "watcher/core/process_end.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/signal_sender.h"
#include "watcher/session/classification.h"
#include "watcher/session/evidence.h"

namespace vmeventd {

// Evidence of one run: the facts that its verdict rests on, and the timeline that shows people how
// these facts were found. One table lists what a RESET or a RESUME clears;
// docs/internals/classification.md shows it. Saved, except earlier_signaller.
struct EvidenceLog {
  static constexpr size_t kMaxEntries = 16;  // timeline limit; beyond it the oldest are dropped
  static constexpr size_t kMaxEntryBytes = 512;
  // Beginnings of a VM's new life, which make evidence void.
  enum Clearing {
    kReset = 1,    // RESET: the guest begins again
    kRunning = 2,  // RESUME, or query-status reports that the VM runs
    kBoth = kReset | kRunning,
  };

  Evidence facts;
  std::vector<EvidenceEntry> timeline;
  Rare<Instant> powerdown_at;      // the last POWERDOWN, even if a RESET has cleared it
  Rare<Instant> watchdog_at;       // when it pressed the power button, while that counts
  Rare<v1::GuestPanic> panic;      // the last panic that counts, if its event was seen
  Rare<Instant> host_shutdown_at;  // beginning of the host's shutdown
  Fact migrating = Fact::kNone;    // outgoing, see SawMigration and SawMonitorMigration
  // QEMU's time and data of the first SHUTDOWN that counts, for STOPPED.
  std::optional<absl::Time> shutdown_qemu_time;
  std::string shutdown_json;
  // Sender of the signal before the one of `facts.signaller`. Not saved: it matters only while
  // QEMU's SHUTDOWN is on its way.
  Rare<SignalSender> earlier_signaller;

  // Returns whether there was a POWERDOWN that nothing has cleared.
  bool has_powerdown() const { return powerdown_at.has_value() && facts.powerdown != Fact::kNone; }
  // Returns whether the class of the run's end is known, unless something clears it.
  bool decided() const { return IsDecided(facts); }
  // Returns the sender of the signal that ended the run, as far as is known now; null: none, or
  // nobody saw it.
  const SignalSender* SenderOfEnd() const;

  // Adds to the timeline. A repetition of the last entry only renews its time.
  void Saw(std::string what, Instant now, EvidenceId id = EvidenceId::kOther);
  // Sets a fact, and adds its entry if the fact did not count before.
  void Saw(Fact Evidence::*fact, absl::string_view what, Instant now, EvidenceId id);
  // Clears the evidence that a new life of the VM makes void. `by` names the event that begins it.
  void Clear(Clearing clearing, absl::string_view by, Instant now);

  // Events.
  // `sent_at`: when QEMU sent it, which may be before it was seen.
  void SawPowerdown(Instant sent_at, Instant now);
  // Records the first SHUTDOWN; call it for no other. `what` is the text of its entry. Adds earlier
  // evidence to `fact`.
  void SawShutdown(ShutdownFact fact, std::string what, const QmpEvent& event, Instant sent_at,
                   Instant now);
  void SawStop(Instant now);
  void SawPanic(const QmpEvent& event, Instant now);
  // `sent_at`: as for a POWERDOWN.
  void SawWatchdog(absl::string_view action, Instant sent_at, Instant now);
  void SawHibernation(Instant now);
  // Call it if the guest still runs although its watchdog pressed the power button some time ago:
  // that press no longer counts.
  void SawWatchdogIgnored(Instant now);
  // Time from which such a press no longer counts, on the monotonic clock; InfiniteDuration: none
  // counts. `window`: as for the verdict.
  absl::Duration WatchdogEnd(absl::Duration window) const;

  // Call it if nobody followed the VM for some time, in which it may have been reset or resumed.
  // `stays`: QEMU stays alive after a SHUTDOWN, so a reset may also have followed that.
  void OnUnfollowedTime(bool stays, Instant now);
  // Records `run_state`. `by` names what reported it: a RESUME, the answer to query-status, or
  // a manager. A run state that `shutdown` leads to only through a reset clears a guest's SHUTDOWN,
  // as RESUME does.
  void SawRunState(absl::string_view run_state, absl::string_view by, Instant now);
  // The same, if the SHUTDOWN, which stands, came while `run_state` was asked for: a VM that is
  // paused then was paused before the SHUTDOWN.
  void SawRunStateInShutdown(absl::string_view run_state, absl::string_view by, Instant now);
  // Takes from an answer of query-status how far an outgoing migration is.
  void SawMigrationState(absl::string_view run_state, absl::string_view by, Instant now);
  // A MIGRATION of a QEMU whose manager has set the capability `events`. The source is complete at
  // `completed`, some milliseconds before its run state becomes `postmigrate`.
  void SawMonitorMigration(absl::string_view status, Instant now);
  // A MIGRATION of a VM whose run state nobody asks for. A STOP during an outgoing migration stands
  // for `finish-migrate`; if the VM was paused already, the end of the migration does.
  void SawMigration(absl::string_view status, Instant now);

  // Signals to its process. `sender` replaces the earlier sender of the same signal.
  void SawSignal(const SignalSender& sender, Instant now);
  void SawOomVictim(const OomVictim& victim, Instant now);
  // QEMU's last words name the sender of the signal that it obeyed. They add to what the kernel
  // showed, and never replace it.
  void SawSenderInLastWords(const SignalSender& sender, Instant now);

  // Records whether the host shuts down, as `by` reports. Evidence from before the shutdown began,
  // or after it was cancelled, does not count as part of it.
  void SawHostShutdown(bool shutting_down, absl::string_view by, Instant now);

  void SawProcessEnd(const ProcessEnd& end, Instant now);

 private:
  // Adds the entry of a signal. It replaces the entry of the same signal from another sender.
  void AddSignal(const SignalSender& sender, Instant now);
};

// A fact that a VM's new life makes void.
struct Clearable {
  const char* what;  // text for the document
  EvidenceId id;     // the id of its entries in the timeline
  EvidenceLog::Clearing by;
  bool leaves_trace;  // the timeline shows that it was cleared
  Fact Evidence::*fact = nullptr;
  Fact Evidence::*other = nullptr;  // a fact that is cleared with it
};
// The one table of what clears evidence.
absl::Span<const Clearable> Clearables();

}  // namespace vmeventd
