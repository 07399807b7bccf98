#include "tests/system/crash/truth.h"

#include <algorithm>
#include <cstddef>

namespace vmeventd::crash {
namespace {

using Classes = std::set<v1::ShutdownClass>;

constexpr v1::ShutdownClass kNone = v1::SHUTDOWN_CLASS_UNSPECIFIED;
constexpr v1::ShutdownClass kUser = v1::SHUTDOWN_CLASS_USER;
constexpr v1::ShutdownClass kAdmin = v1::SHUTDOWN_CLASS_ADMIN;
constexpr v1::ShutdownClass kCrash = v1::SHUTDOWN_CLASS_CRASH;
constexpr v1::ShutdownClass kUnknown = v1::SHUTDOWN_CLASS_UNKNOWN;

// What the daemon knows of a run at some point.
struct Knowledge {
  bool powerdown = false;
  v1::ShutdownClass decided = kNone;  // decided before the end
};

// How a deed was noticed.
enum class Notice {
  kSeen,        // its event was received
  kFoundLater,  // its event was missed; a later attach found the resulting state
  kMissed,
};

void Panic(Notice notice, Knowledge* known) {
  if (notice != Notice::kMissed) known->decided = kCrash;
}

void GuestDown(Notice notice, Knowledge* known) {
  if (known->decided != kNone) return;
  if (notice == Notice::kSeen) known->decided = known->powerdown ? kAdmin : kUser;
  // The guest is down, and the cause was not seen.
  if (notice == Notice::kFoundLater) known->decided = kUnknown;
}

void Revive(Notice notice, Knowledge* known) {
  if (notice == Notice::kMissed) return;
  known->decided = kNone;
  if (notice == Notice::kSeen) known->powerdown = false;
}

void Apply(Deed deed, Notice notice, Knowledge* known) {
  switch (deed) {
    case Deed::kPowerdown:
      if (notice == Notice::kSeen) known->powerdown = true;
      break;
    case Deed::kReset:
      if (notice == Notice::kSeen) *known = Knowledge();
      break;
    case Deed::kGuestDown:
      return GuestDown(notice, known);
    case Deed::kRevive:
      return Revive(notice, known);
    case Deed::kPanic:
      return Panic(notice, known);
    case Deed::kQuit:
    case Deed::kSignal:
      // QEMU hung at its end until it was killed.
      if (notice == Notice::kSeen && known->decided == kNone) known->decided = kAdmin;
      break;
    default:
      break;
  }
}

v1::ShutdownClass ClassOfEnd(Deed end, const Knowledge& known) {
  if (end == Deed::kPanicExit || end == Deed::kWatchdog) return kCrash;
  if (known.decided != kNone) return known.decided;
  switch (end) {
    case Deed::kGuestShutdown:
      return known.powerdown ? kAdmin : kUser;
    case Deed::kGuestReset:
      return kUser;
    case Deed::kQuit:
    case Deed::kSignal:
    case Deed::kHostReset:
      return kAdmin;
    default:
      return kCrash;
  }
}

// All possible knowledge of a run, after one deed after another.
class Worlds {
 public:
  Worlds(const RunHistory& run, int stopped_life, const std::vector<const v1::Event*>& events)
      : run_(run), stopped_life_(stopped_life), end_is_sure_(IsSure(run.acts.back())) {
    powerdowns_published_ = Published(events, v1::EVENT_TYPE_POWERDOWN_REQUESTED, Deed::kPowerdown);
    panics_published_ = Published(events, v1::EVENT_TYPE_GUEST_PANICKED, Deed::kPanic);
  }

  Classes Explore() {
    Explore(0, Knowledge());
    return classes_;
  }

 private:
  bool IsSure(const Act& act) const { return act.seen_by >= 0 && act.seen_by == stopped_life_; }

  // Whether the journal has an event for each of the deeds.
  bool Published(const std::vector<const v1::Event*>& events, v1::EventType type, Deed deed) const {
    const auto published = std::count_if(events.begin(), events.end(), [&](const v1::Event* event) {
      return event->type() == type;
    });
    const auto done = std::count_if(run_.acts.begin(), run_.acts.end(),
                                    [&](const Act& act) { return act.deed == deed; });
    return published >= done;
  }

  bool CertainlySeen(const Act& act) const {
    return IsSure(act) || (act.deed == Deed::kPowerdown && powerdowns_published_) ||
           (act.deed == Deed::kPanic && panics_published_);
  }

  void Explore(size_t next, const Knowledge& known) {
    const Act& act = run_.acts[next];
    if (next + 1 == run_.acts.size()) return End(act, known);
    Branch(next, known, Notice::kSeen);
    if (CertainlySeen(act)) return;
    Branch(next, known, Notice::kFoundLater);
    // If the end was seen, its witness had attached after this deed and found the state.
    const bool has_state =
        act.deed == Deed::kGuestDown || act.deed == Deed::kRevive || act.deed == Deed::kPanic;
    if (!has_state || !end_is_sure_) Branch(next, known, Notice::kMissed);
  }

  void Branch(size_t next, Knowledge known, Notice notice) {
    Apply(run_.acts[next].deed, notice, &known);
    Explore(next + 1, known);
  }

  void End(const Act& act, const Knowledge& known) {
    classes_.insert(ClassOfEnd(act.deed, known));
    if (!end_is_sure_) classes_.insert(known.decided == kNone ? kUnknown : known.decided);
  }

  const RunHistory& run_;
  const int stopped_life_;
  const bool end_is_sure_;
  bool powerdowns_published_ = false;
  bool panics_published_ = false;
  Classes classes_;
};

}  // namespace

const char* DeedName(Deed deed) {
  static constexpr const char* kNames[] = {"powerdown", "reset",          "guest down",  "revive",
                                           "panic",     "guest shutdown", "guest reset", "quit",
                                           "signal",    "host reset",     "panic exit",  "watchdog",
                                           "die"};
  return kNames[static_cast<size_t>(deed)];
}

Classes AllowedClasses(const RunHistory& run, int stopped_life,
                       const std::vector<const v1::Event*>& events) {
  return Worlds(run, stopped_life, events).Explore();
}

v1::ShutdownClass TrueClass(const RunHistory& run) {
  Knowledge known;
  for (size_t i = 0; i + 1 < run.acts.size(); ++i) {
    Apply(run.acts[i].deed, Notice::kSeen, &known);
  }
  return ClassOfEnd(run.acts.back().deed, known);
}

}  // namespace vmeventd::crash
