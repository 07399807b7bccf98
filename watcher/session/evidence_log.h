#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/compact.h"
#include "watcher/core/qmp_message.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"
#include "watcher/session/classification.h"

namespace vmeventd {

// Beginning of a VM's new life, which makes evidence void.
enum class Clearing {
  kReset,    // RESET: the guest begins again
  kRunning,  // RESUME, or query-status reports that the VM runs
};

// All that an EvidenceLog has.
struct EvidenceState {
  Evidence facts;
  std::vector<EvidenceEntry> timeline;
  Rare<Instant> powerdown_at;      // the last one that nothing has cleared
  std::string panic_json;          // data of the last panic that stands
  Rare<Instant> host_shutdown_at;  // beginning of the host's shutdown
  bool migrating = false;          // outgoing, see SawMigration
  std::optional<absl::Time> shutdown_qemu_time;
  std::string shutdown_json;
};

// Evidence of one run: the facts that its verdict rests on, and the timeline that shows people
// where they came from. One table lists what a RESET or a RESUME clears;
// docs/internals/classification.md shows it. No thread of its own.
class EvidenceLog {
 public:
  static constexpr size_t kMaxEntries = 16;  // timeline limit; beyond it the oldest are dropped
  static constexpr size_t kMaxEntryBytes = 512;

  EvidenceLog() = default;
  explicit EvidenceLog(EvidenceState state) : state_(std::move(state)) {}

  const EvidenceState& state() const { return state_; }
  const Evidence& facts() const { return state_.facts; }
  const std::vector<EvidenceEntry>& timeline() const { return state_.timeline; }
  // Returns whether the class of the run's end is known, unless something clears it.
  bool decided() const { return IsDecided(state_.facts); }
  // QEMU has stopped the guest's processors.
  bool paused() const { return state_.facts.paused; }
  // QEMU's time and data of the first SHUTDOWN that counts, for STOPPED.
  std::optional<absl::Time> shutdown_qemu_time() const { return state_.shutdown_qemu_time; }
  absl::string_view shutdown_json() const { return state_.shutdown_json; }
  // Details of the last panic, if that stands and its event was seen.
  std::optional<GuestPanic> panic() const;
  // Sender of the signal that the run ended by, as far as is known now; null: none, or nobody saw
  // it.
  const SignalSender* SenderOfEnd() const;

  // Sender of the signal after which QEMU should have ended; null: its SHUTDOWN shows more.
  const SignalSender* SenderOfLateEnd() const {
    if (state_.facts.killer.has_value()) return state_.facts.killer.get();
    return state_.facts.shutdown.has_value() ? nullptr : state_.facts.signaller.get();
  }

  // Adds to the timeline. A repetition of the last entry only renews its time.
  void Saw(std::string what, Instant now, EvidenceId id = EvidenceId::kOther);

  // Events.
  // `said`: when QEMU sent it, which may be before it was seen.
  void SawPowerdown(Instant said, Instant now);
  // Records the first SHUTDOWN; call it for no other. `what` is its entry; earlier evidence is
  // added to `fact`.
  void SawShutdown(ShutdownFact fact, std::string what, const QmpEvent& event, Instant said,
                   Instant now);
  void SawStop(Instant now);
  void SawPanic(const QmpEvent& event, Instant now);
  void SawWatchdog(absl::string_view action, Instant now);
  // QEMU paused the VM for it; `error` is for people.
  void SawIoError(absl::string_view error, Instant now);
  // Run state `internal-error`: QEMU or KVM cannot continue the guest.
  void SawInternalError(absl::string_view by, Instant now);
  void SawHibernation(Instant now);
  void SawReset(Instant now) { Clear(Clearing::kReset, "RESET", now); }

  // Records `run_state` as `by` reports it: a RESUME, the answer to a query-status, libvirt. A run
  // state that only a reset leads to from `shutdown` clears a guest's SHUTDOWN, as RESUME does.
  void SawRunState(absl::string_view run_state, absl::string_view by, Instant now);
  // Records it where the SHUTDOWN, which stands, came while `run_state` was asked for: a VM that is
  // paused then was so before.
  void SawRunStateInShutdown(absl::string_view run_state, absl::string_view by, Instant now);
  // Records that the monitor closed before anything showed a run state.
  void SawNoRunState(Instant now);
  // Records that QEMU ended without a greeting, that long after its start.
  void SawNoGreeting(absl::Duration age, Instant now);
  // Takes from an answer of query-status how far an outgoing migration is.
  void SawMigrationState(absl::string_view run_state, absl::string_view by, Instant now);
  // A MIGRATION of a VM whose run state nobody asks for: a STOP within one that goes out, and its
  // end where the VM was paused already, stand for `finish-migrate`.
  void SawMigration(absl::string_view status, Instant now);
  // Records the manager's report of the end; `what` is its entry.
  void SawManagerEnd(ManagerEnd end, std::string what, Instant now);

  // Signals to its process. `sender` takes the place of who sent the same signal before.
  void SawSignal(const SignalSender& sender, Instant now);
  void SawOomVictim(Instant now);
  // QEMU's last words name the sender of the signal that it obeyed. They add to what the kernel
  // showed, and never replace it.
  void SawSenderInWords(const SignalSender& sender, Instant now);

  // Records whether the host shuts down, as `by` reports. What came before it began or after it was
  // cancelled did not come as the host shut down.
  void SawHostShutdown(bool shutting_down, absl::string_view by, Instant now);

  // The end.
  void SawProcessEnd(const ProcessEnd& end, Instant now);
  void SawHostReboot(Instant now);

  void SetMonitored(bool monitored) { state_.facts.monitored = monitored; }
  // The guest can end QEMU by itself, as its command line shows.
  void SetGuestCanExit() { state_.facts.guest_can_exit = true; }
  void SetIntended(bool intended) { state_.facts.intended = intended; }

 private:
  struct Clearable;
  static const Clearable kClearables[];
  friend std::string ClearingsTable();

  bool Stands(const Clearable& row) const;
  void Clear(Clearing clearing, absl::string_view by, Instant now);
  // A VM that was paused runs: perhaps from a snapshot.
  void DoubtWhatStands(absl::string_view by, Instant now);

  EvidenceState state_;
};

// Adds `entry` where its time belongs, after those of the same time.
void InsertByTime(EvidenceEntry entry, std::vector<EvidenceEntry>* timeline);

// The rows of a Markdown table: what was seen, and what clears it.
std::string ClearingsTable();

}  // namespace vmeventd
