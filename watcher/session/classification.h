#pragma once

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/signal_sender.h"
#include "watcher/session/evidence.h"

// The verdict on an end: its class and its cause. Pure.

namespace vmeventd {

// The rule whose verdict rests on a guest agent that was connected.
inline constexpr char kHostShutdownAgentRule[] = "host-shutdown-agent";
// The rule of a signal that ended QEMU and whose sender is not known.
inline constexpr char kKilledUnseenRule[] = "killed-unseen";

struct Verdict {
  ShutdownClass shutdown_class;
  ShutdownCause cause;     // the rule's, which an intent does not change
  absl::string_view rule;  // static storage
  // The class for NAME.shutdown, a file that exists after a USER end. UNKNOWN leaves the file
  // unchanged.
  ShutdownClass file_class;
};

// Applies the one table of classification_rules.h: the first row that matches. `powerdown_window`
// is the maximum age of a POWERDOWN that counts as the cause of a guest's poweroff.
Verdict Classify(const Evidence& evidence, absl::Duration powerdown_window);

// Returns whether QEMU ends after this SHUTDOWN, even if it was started with `-no-shutdown`.
bool EndsQemu(const ShutdownFact& shutdown);

// Returns whether the sender is a program that ends the remaining processes when a host shuts down:
// its signal then proves that shutdown.
bool EndsTheHost(const SignalSender& sender);

// Returns whether the class is known before the process is gone: later evidence cannot change it,
// unless the VM comes to life again.
bool IsDecided(const Evidence& evidence);

}  // namespace vmeventd
