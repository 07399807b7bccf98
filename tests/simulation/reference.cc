#include "tests/simulation/reference.h"

#include <sys/wait.h>

#include <csignal>
#include <map>
#include <optional>
#include <vector>

namespace vmeventd::simulation {
namespace {

constexpr absl::Duration kPowerdownWindow = absl::Minutes(10);

struct Facts {
  std::optional<absl::Duration> powerdown;
  const Saying* shutdown = nullptr;
  bool obeyed = false;        // by `shutdown`: a POWERDOWN was young enough
  bool hibernated = false;    // SUSPEND_DISK came before `shutdown`
  bool while_paused = false;  // state at `shutdown`
  bool paused = false;
  bool panicked = false;
  bool watchdog = false;
  bool watchdog_pause = false;
  std::optional<absl::Duration> watchdog_press;  // of the power button
  bool hibernating = false;
  bool migrated = false;
  bool down_before = false;
  bool finishing = false;  // a migration
  bool unasked = false;    // a STOP came since the last answer
  bool halted = false;     // the guest's processors, whatever for
  // A RESUME of a halted VM came since: it may be another state of a snapshot.
  bool doubted_powerdown = false;
  bool doubted_panic = false;
  bool doubted_watchdog = false;
  bool never_ran = false;
  bool incoming = false;
  // The facts of a domain.
  bool migrating = false;
  std::optional<ManagerEnd> manager;
};

void HearMigration(const std::string& status, Facts* facts) {
  if (status == "setup" || status == "active") facts->migrating = !facts->never_ran;
  if (status == "failed") facts->migrating = facts->finishing = false;
  if (status == "completed") {
    facts->finishing = facts->migrating && facts->paused;
    facts->migrating = false;
  }
}

void Runs(Facts* facts) {
  if (facts->halted) {
    facts->doubted_powerdown = facts->powerdown.has_value();
    facts->doubted_panic = facts->panicked;
    facts->doubted_watchdog = facts->watchdog;
  }
  facts->halted = false;
  facts->shutdown = nullptr;
  facts->finishing = facts->never_ran = facts->incoming = facts->unasked = false;
  facts->paused = facts->migrated = facts->down_before = facts->watchdog_pause = false;
}

// The guest goes down, or its QEMU ends, at `at`.
void OutliveWatchdog(absl::Duration at, Facts* facts) {
  const bool outlived = facts->watchdog_press.has_value() &&
                        at - *facts->watchdog_press >= kPowerdownWindow + absl::Seconds(1);
  if (outlived) facts->watchdog = facts->doubted_watchdog = false;
}

bool IsDown(const Facts& facts) {
  return facts.down_before ||
         (facts.shutdown != nullptr && facts.shutdown->guest == true && !facts.while_paused);
}

void Hear(const Saying& saying, Facts* facts) {
  switch (saying.kind) {
    case Saying::Kind::kPowerdown:
      facts->powerdown = saying.at;
      if (facts->shutdown == nullptr) facts->doubted_powerdown = false;
      return;
    case Saying::Kind::kShutdown:
      if (facts->shutdown != nullptr) return;  // the first cause wins
      OutliveWatchdog(saying.at, facts);
      facts->shutdown = &saying;
      facts->obeyed =
          facts->powerdown.has_value() && saying.at - *facts->powerdown <= kPowerdownWindow;
      facts->hibernated = facts->hibernating;
      facts->while_paused = facts->paused;
      return;
    case Saying::Kind::kStop:
      facts->paused = facts->halted = true;
      facts->finishing = facts->finishing || facts->migrating;
      facts->unasked = facts->unasked || facts->shutdown == nullptr;
      return;
    case Saying::Kind::kResume:
      return Runs(facts);
    case Saying::Kind::kReset: {
      const Facts before = *facts;
      *facts = {};
      facts->paused = before.paused;
      facts->halted = before.halted;
      facts->finishing = before.finishing;
      facts->unasked = before.unasked;
      facts->migrating = before.migrating;
      facts->never_ran = before.never_ran;
      facts->incoming = before.incoming;
      return;
    }
    case Saying::Kind::kPanic:
      facts->panicked = true;
      facts->doubted_panic = false;
      return;
    case Saying::Kind::kWatchdog:
      if (saying.text == "pause") facts->watchdog_pause = true;
      if (saying.text == "reset" || saying.text == "shutdown" || saying.text == "poweroff") {
        facts->watchdog = true;
        facts->doubted_watchdog = false;
        facts->watchdog_press.reset();
        if (saying.text == "shutdown") facts->watchdog_press = saying.at;
      }
      return;
    case Saying::Kind::kHibernate:
      facts->hibernating = true;
      return;
    case Saying::Kind::kRunState:
      if (saying.text == "running" || saying.text == "suspended") Runs(facts);
      facts->unasked = false;
      // A guest that was down was reset, and ran.
      if (saying.text == "paused" && IsDown(*facts)) Runs(facts);
      if (saying.text == "paused" || saying.text == "finish-migrate") facts->paused = true;
      if (saying.text == "inmigrate" || saying.text == "prelaunch") facts->never_ran = true;
      if (facts->never_ran) facts->incoming = saying.text == "inmigrate";
      if (saying.text == "postmigrate") facts->migrated = true;
      facts->finishing = saying.text == "finish-migrate";
      facts->halted = saying.text != "running" && saying.text != "suspended";
      if (saying.text == "guest-panicked") facts->panicked = true;
      if (saying.text == "watchdog") facts->watchdog_pause = true;
      if (saying.text == "shutdown" && facts->shutdown == nullptr) facts->down_before = true;
      return;
    case Saying::Kind::kManager:
      facts->manager = saying.manager;
      return;
    case Saying::Kind::kOther:
      return HearMigration(saying.text, facts);
  }
}

ShutdownClass OfShutdown(const Facts& facts) {
  const std::string& reason = facts.shutdown->text;
  static const auto* const kByReason = new std::map<std::string, ShutdownClass>{
      {"guest-panic", ShutdownClass::kCrash},   {"host-error", ShutdownClass::kCrash},
      {"guest-shutdown", ShutdownClass::kUser}, {"guest-reset", ShutdownClass::kUser},
      {"host-qmp-quit", ShutdownClass::kAdmin}, {"host-signal", ShutdownClass::kAdmin},
      {"host-ui", ShutdownClass::kAdmin},       {"host-qmp-system-reset", ShutdownClass::kAdmin},
  };
  if (!reason.empty()) {
    if (reason == "guest-shutdown" && facts.obeyed) return ShutdownClass::kAdmin;
    return kByReason->at(reason);
  }
  if (facts.shutdown->guest == false) return ShutdownClass::kAdmin;
  if (facts.obeyed) return ShutdownClass::kAdmin;
  if (facts.hibernated) return ShutdownClass::kUser;
  if (facts.shutdown->guest == true) return ShutdownClass::kUser;
  return facts.while_paused ? ShutdownClass::kAdmin : ShutdownClass::kUnknown;
}

ShutdownClass OfFacts(const Facts& facts, const Life& life, const Seen& seen) {
  const auto [monitored, status_known, killer_seen, end_unseen] = seen;
  if (facts.migrated || facts.manager == ManagerEnd::kMigrated) return ShutdownClass::kAdmin;
  if (facts.panicked || facts.watchdog || facts.watchdog_pause) return ShutdownClass::kCrash;
  if (facts.manager == ManagerEnd::kSaved) return ShutdownClass::kAdmin;
  if (facts.down_before) return ShutdownClass::kUnknown;
  if (facts.shutdown != nullptr) return OfShutdown(facts);
  const int status = life.process->wait_status;
  int signal = status_known && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (killer_seen) signal = SIGKILL;
  const bool failed = signal != 0 || (status_known && WEXITSTATUS(status) != 0);
  if (facts.manager == ManagerEnd::kDestroyed && (!failed || signal == SIGKILL)) {
    return ShutdownClass::kAdmin;
  }
  if (facts.manager == ManagerEnd::kCrashed) return ShutdownClass::kUnknown;
  if (signal == SIGTERM || signal == SIGINT || signal == SIGHUP) return ShutdownClass::kAdmin;
  if (facts.incoming && failed && signal == 0) return ShutdownClass::kAdmin;
  if (facts.never_ran || facts.finishing) return ShutdownClass::kUnknown;
  if (killer_seen) return ShutdownClass::kAdmin;
  // It may live on where it was migrated to. Of a domain libvirt reports that.
  if (facts.unasked && life.uuid.empty() && (failed || !status_known))
    return ShutdownClass::kUnknown;
  // A daemon goes on with what it was handed, and the process had ended before.
  if (end_unseen && (signal == SIGKILL || !status_known)) return ShutdownClass::kUnknown;
  // Of a kill of the kernel's or of QEMU's own, its record shows the truth, which is allowed.
  if (signal == SIGKILL) return ShutdownClass::kUnknown;
  if (failed) return ShutdownClass::kCrash;
  if (facts.manager == ManagerEnd::kShutdown) return ShutdownClass::kUnknown;
  // An end that libvirt does not report, or as a failure, may have been a SHUTDOWN that it did not
  // read.
  if (!life.uuid.empty() && facts.manager.value_or(ManagerEnd::kFailed) == ManagerEnd::kFailed) {
    return ShutdownClass::kUnknown;
  }
  if (!monitored) return ShutdownClass::kUnknown;
  if (!status_known) return ShutdownClass::kUnknown;
  return facts.halted ? ShutdownClass::kAdmin : ShutdownClass::kUnknown;
}

}  // namespace

ShutdownClass ClassBy(const Life& life, const std::vector<size_t>& heard, const Seen& seen) {
  Facts facts;
  for (const size_t i : heard) Hear(life.sayings[i], &facts);
  if (facts.shutdown == nullptr) OutliveWatchdog(life.gone_at, &facts);
  Facts without = facts;
  if (facts.doubted_powerdown) without.obeyed = false;
  if (facts.doubted_panic) without.panicked = false;
  if (facts.doubted_watchdog) without.watchdog = false;
  const ShutdownClass with = OfFacts(facts, life, seen);
  return OfFacts(without, life, seen) == with ? with : ShutdownClass::kUnknown;
}

std::set<ShutdownClass> AllowedClasses(const Life& life, int last_daemon,
                                       const std::map<int, size_t>& certainly_kept,
                                       bool host_shut_down, bool reads_exit) {
  // Sayings that the last daemon has read are certain; of those of earlier daemons, each may have
  // lost the last ones.
  std::vector<size_t> certain;
  std::map<int, std::vector<size_t>> uncertain;  // keyed by daemon
  bool complete = true;
  bool attached = false;  // a state was asked for, so that what came before matters no more
  bool asked = false;     // asked on the last connection: that one has all
  size_t last_read = 0;
  for (size_t i = 0; i < life.sayings.size(); ++i) {
    const Saying& saying = life.sayings[i];
    complete = complete && !saying.unsure;
    if (saying.was_read()) {
      last_read = i;
      attached = attached || saying.kind == Saying::Kind::kRunState;
      asked = asked || (saying.kind == Saying::Kind::kRunState && saying.heard_by == life.attached);
      if (saying.daemon != last_daemon) {
        uncertain[saying.daemon].push_back(i);
        complete = false;
      }
    } else if (saying.kind == Saying::Kind::kRunState || saying.kind == Saying::Kind::kOther) {
      continue;
    } else if (attached || saying.kind != Saying::Kind::kResume) {
      complete = false;
    }
  }
  complete = complete && asked && life.client_daemon == last_daemon;
  // A monitor that closed so long before the process was gone was lost.
  constexpr absl::Duration kGrace = absl::Milliseconds(900);
  const bool followed = complete && life.gone_at - life.left_daemon_at < kGrace;
  // The kernel's record of a kill is there before the process is gone.
  const bool killer_is_known =
      complete && life.kill_seen_by != 0 && life.kill_seen_by == last_daemon;
  // Number of sayings that earlier daemons kept, in every combination.
  std::vector<std::pair<int, size_t>> kept;  // daemon, how many
  kept.reserve(uncertain.size());
  for (const auto& [daemon, places] : uncertain) kept.emplace_back(daemon, places.size());
  std::set<ShutdownClass> allowed;
  const bool handed = life.handed_to != 0 && life.handed_to == last_daemon;
  const int status = life.process->wait_status;
  // A QEMU that stays when its guest is down; the daemon may not have heard of that.
  if (!followed && life.no_shutdown && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
    allowed.insert(ShutdownClass::kUnknown);
  }
  const auto add = [&](const std::vector<size_t>& heard) {
    for (const bool known : {true, false}) {
      for (const bool killer : {true, false}) {
        if (killer && !life.killed_by_host) continue;
        // The process may not have been followed yet when it was killed, if there is no exit
        // status.
        if (!killer && known && killer_is_known) continue;
        if (!known && reads_exit && followed) continue;
        for (const bool unseen : {true, false}) {
          if (unseen && !handed) continue;
          if (!unseen && handed && life.ended_unattended) continue;
          allowed.insert(ClassBy(life, heard, {true, known, killer, unseen}));
          if (!followed) allowed.insert(ClassBy(life, heard, {false, known, killer, unseen}));
        }
      }
    }
  };
  for (int combinations = 0; combinations < 2000; ++combinations) {
    std::vector<size_t> heard;
    for (size_t i = 0; i < life.sayings.size(); ++i) {
      if (!life.sayings[i].was_read()) {
        // Sayings sent since may have been handled while later messages of that libvirt wait.
        if (life.uuid.empty() || !life.sayings[i].was_sent() || i < last_read) continue;
        add(heard);
        heard.push_back(i);
        continue;
      }
      bool is_kept = true;
      for (const auto& [daemon, count] : kept) {
        const std::vector<size_t>& places = uncertain[daemon];
        for (size_t k = count; k < places.size(); ++k) is_kept = is_kept && places[k] != i;
      }
      if (is_kept) heard.push_back(i);
    }
    add(heard);
    const auto least = [&](int daemon) {
      const auto it = certainly_kept.find(daemon);
      return it == certainly_kept.end() ? 0 : it->second;
    };
    size_t digit = 0;
    while (digit < kept.size() && kept[digit].second <= least(kept[digit].first)) {
      kept[digit].second = uncertain[kept[digit].first].size();
      ++digit;
    }
    if (digit == kept.size()) break;
    --kept[digit].second;
  }
  if (life.truth.has_value()) allowed.insert(*life.truth);
  // A kill by an unknown sender, or an end that nobody saw, may be the host's.
  if (host_shut_down && (allowed.contains(ShutdownClass::kCrash) ||
                         allowed.contains(ShutdownClass::kUnknown) || !complete)) {
    allowed.insert(ShutdownClass::kAdmin);
  }
  if (!complete) allowed.insert(ShutdownClass::kUnknown);
  return allowed;
}

}  // namespace vmeventd::simulation
