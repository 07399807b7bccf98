#pragma once

#include <string>

#include "absl/time/time.h"

namespace vmeventd {

// The subject of an evidence entry that a later event may make void; kOther: no event does.
enum class EvidenceId {
  kOther,
  kPowerdown,
  kShutdown,
  kStop,
  kPanic,
  kWatchdogPaused,
  kWatchdog,
  kHibernation,
  kMigration,
  kDownBeforeAttach,
  kNotRunning,
  kFinishingMigration,
  kSignalSent,
  kHostShutdown,
  kIoError,
  kInternalError,
  kNoSignOfLife,  // what vmeventd observed where the VM may have ended already
};

// One observation, in words for people.
struct EvidenceEntry {
  absl::Time time;
  std::string what;
  EvidenceId id = EvidenceId::kOther;
  int signal = 0;  // of kSignalSent: the signal; 0: it is about an OOM victim
};

}  // namespace vmeventd
