#include <algorithm>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "tests/simulation/judge.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::simulation {
namespace {

// Earliest time from which on the class was decided.
absl::Duration DecidedAt(const Life& life) {
  const auto end = absl::c_find_if(life.reports, IsEnd);
  return end == life.reports.end() ? life.gone_at : end->at;
}

// The SHUTDOWN that decided the end, and with it what an intent counts for: the first one that
// nothing has taken back. Null: there is none, or this daemon has not read it.
const Report* DecisiveShutdown(const Life& life, int daemon) {
  using enum Report::Kind;
  const Report* first = nullptr;
  for (const Report& report : life.reports) {
    if (report.kind == kReset || report.kind == kResume) first = nullptr;
    if (report.kind == kShutdown && first == nullptr) first = &report;
  }
  const bool is_read = first != nullptr && first->was_read() && first->daemon == daemon &&
                       first->read_by < absl::InfiniteDuration();
  return is_read ? first : nullptr;
}

}  // namespace

void Judge::CheckStop(const v1::Event& event, int daemon) {
  const Life* const life = LifeOf(event.vm().run_id());
  if (life == nullptr) {
    story_->Fail("STOPPED ", event.sequence(),
                 " of a run that there never was: ", event.vm().run_id());
    return;
  }
  const std::string& rule = event.shutdown().rule();
  story_->Reach("rule ", rule);
  CheckWithdrawal(*life, daemon);
  CheckOrder(*life, event, daemon);
  CheckHostShutdown(*life, event, daemon);
  // A daemon counts what it left out before it hands over to the next one.
  const bool handed =
      life->daemons.size() == 2 && *life->daemons.begin() >= reads_of_ && life->handed_to == daemon;
  if ((life->daemons == std::set<int>{daemon} || handed) && daemon == number_) CheckSaid(*life);
  CheckReport(*life, event, daemon);
  CheckIntent(*life, event, daemon);
  if ((rule == "qemu-killed" || rule == "killed-unseen") && life->victim_seen_by == daemon &&
      daemon == number_) {
    story_->Fail("life ", life->number, " was the kernel's OOM victim, and ended by ", rule);
  }
  // Counts for the last daemon only, which has all that the one before it had.
  if (daemon == number_ && life->ended_unattended) CheckUnattendedEnd(*life, rule);
  const bool by_reboot = rule == "host-rebooted" || rule == "host-shutdown-unseen";
  if (by_reboot || daemon == number_) CheckReboot(*life, event, by_reboot);
  if (!by_reboot) CheckClass(*life, event, daemon);
  CheckShutdownFile(*life, event, daemon);
}

// A withdrawal's event comes before that of the end, whatever the disk does.
void Judge::CheckWithdrawal(const Life& life, int daemon) const {
  constexpr absl::Duration kFirstScan = absl::Seconds(20);
  for (const Declared& intent : life.intents) {
    if (daemon == number_ && intent.asked_daemon == number_ &&
        intent.asked_daemon_at + kFirstScan < life.gone_at && !IsWithdrawn(life)) {
      story_->Fail("nobody answers who withdraws an intent for life ", life.number);
    }
  }
}

void Judge::CheckOrder(const Life& life, const v1::Event& stopped, int daemon) const {
  const auto wrong = [&](absl::string_view what) {
    story_->Fail("STOPPED ", stopped.sequence(), " of life ", life.number, what);
  };
  // A launcher that has left before QEMU has sent anything is not known: the monitor's end counts.
  const bool is_unknown = life.launcher != nullptr && stopped.vm().pid() == 0;
  if (!life.process_gone && !is_unknown) wrong(", whose process lives");
  if (stopped_before_.contains(stopped.vm().run_id())) {
    wrong(", which stands in the journal before this one");
  }
  constexpr absl::Duration kLate = absl::Minutes(3);  // a disk that fails does so for a minute
  if (kernel_->monotonic() - std::max(life.gone_at, started_at_) > kLate) {
    wrong(" came long after its process was gone");
  }
  // The last report, on its last connection, which may have been refused for the lack of
  // descriptors.
  const Report* const last = life.reports.empty() ? nullptr : &life.reports.back();
  if (last != nullptr && life.uuid.empty() && last->kind == Report::Kind::kShutdown &&
      last->received_on != nullptr && last->daemon == number_ && daemon == number_ &&
      !last->was_read() && !last->received_on->reset && !short_of_descriptors_) {
    wrong(" came before its SHUTDOWN was read");
  }
}

void Judge::CheckUnattendedEnd(const Life& life, const std::string& rule) const {
  const auto reach = [&](absl::string_view end) {
    const bool is_unseen = rule == "unobserved" || rule == "killed-unseen";
    absl::string_view what = " has its class";
    if (is_unseen) what = kernel_->features().pidfd_exit ? " is unseen" : " has no exit status";
    story_->Reach(end, " over a clean stop", what);
  };
  if (life.handed_to == number_) reach("an end");
  if (life.process_handed_to != number_) return;
  reach("an end of a domain");
  if (rule == "unobserved" && life.reaped_before && life.process->wait_status != 0 &&
      kernel_->features().pidfd_exit && !short_of_descriptors_) {
    story_->Fail("nobody looked how the process of life ", life.number, " ended");
  }
}

void Judge::CheckReboot(const Life& life, const v1::Event& stopped, bool by_reboot) const {
  const std::string& rule = stopped.shutdown().rule();
  const auto is = static_cast<ShutdownClass>(stopped.shutdown().shutdown_class());
  const bool rebooted = life.boot_id != kernel_->boot_id();
  if (rebooted && !by_reboot) {
    story_->Fail("life ", life.number, " ended with its host, and not by ", rule);
  }
  if (by_reboot && !rebooted) {
    story_->Fail("life ", life.number, " ends by a reboot, and there was none");
  }
  if (by_reboot &&
      is != (rule == "host-rebooted" ? ShutdownClass::kUnknown : ShutdownClass::kAdmin)) {
    story_->Fail("life ", life.number, " ends by ", rule, " and is ", ShutdownClassName(is));
  }
}

void Judge::CheckShutdownFile(const Life& life, const v1::Event& stopped, int daemon) const {
  if (!life.uuid.empty() || !IsLatest(life)) return;  // a domain has no file
  if (life.listed_as != life.name) return;            // the file is its other name's
  const auto is = static_cast<ShutdownClass>(stopped.shutdown().shutdown_class());
  const uint64_t sequence = stopped.sequence();
  const std::string path = absl::StrCat(kWatchedDirectory, "/", life.name, ".shutdown");
  const bool there = kernel_->disk().Find(path) != nullptr;
  const bool written = stopped.shutdown().shutdown_file_written();
  // A daemon was killed after it had taken the file back, and before it had written that.
  const bool may_be_taken_back =
      is == ShutdownClass::kUnknown && absl::c_any_of(life.reports, [&](const Report& report) {
        const bool revives = report.kind == Report::Kind::kReset ||
                             report.kind == Report::Kind::kResume ||
                             report.kind == Report::Kind::kRunState;
        return revives && report.was_read() && !report.is_known(daemon);
      });
  if (written && !there && !may_be_taken_back) {
    story_->Fail("STOPPED ", sequence, " says that ", life.name,
                 ".shutdown was written, and it is not there");
  }
  if (is == ShutdownClass::kUser && !there && (written || !unopened_->contains(path))) {
    story_->Fail("STOPPED ", sequence, " of a USER's end came before ", life.name, ".shutdown");
  }
  if ((is == ShutdownClass::kAdmin || is == ShutdownClass::kCrash) && there) {
    story_->Fail("STOPPED ", sequence, " is no USER's end, and ", life.name, ".shutdown is there");
  }
}

std::set<bool> Judge::MayBeIntended(const Life& life) const {
  // A VM whose process is not known ends with its socket, shortly before the process.
  const absl::Duration decided_at = std::min(DecidedAt(life), kernel_->monotonic());
  const Report* const down = DecisiveShutdown(life, number_);
  // Input on the monitor is read before an intent is accepted, and an ended process takes no
  // intent.
  const auto is_too_late = [&](const Declared& intent) {
    if (down != nullptr && life.uuid.empty() && down->at >= started_at_ &&
        intent.asked > down->at) {
      return true;
    }
    return HasOneMonitor(life) && life.ended_under == number_ &&
           life.left_daemon_at >= started_at_ && intent.asked > life.gone_at;
  };
  bool may_be_intended = false;
  bool must_be_intended = false;
  for (const Declared& intent : life.intents) {
    if (is_too_late(intent)) {
      story_->Reach("an intent is declared after what decides the end");
      continue;
    }
    // A daemon may have accepted it and ended before its answer.
    const absl::Duration accepted = std::min(intent.answered, intent.asked + absl::Minutes(1));
    if (accepted + intent.ttl < decided_at) continue;
    if (intent.withdrawn_at < decided_at) continue;
    // A later intent may have taken its place, if it is not known which one a daemon accepted last.
    bool may_be_replaced = false;
    bool is_replaced = false;
    for (const Declared& other : life.intents) {
      if (other.asked <= intent.asked || is_too_late(other)) continue;
      may_be_replaced = true;
      is_replaced = is_replaced || other.answered < decided_at;
    }
    if (is_replaced) continue;
    may_be_intended = true;
    if (may_be_replaced) continue;
    const absl::Duration known_at = down == nullptr ? kernel_->monotonic() : down->read_by;
    must_be_intended =
        must_be_intended || (!Forgets(intent) && intent.answered < decided_at &&
                             intent.asked + intent.ttl > known_at && !intent.withdrawn);
  }
  std::set<bool> intended;
  if (!must_be_intended) intended.insert(false);
  if (may_be_intended) intended.insert(true);
  return intended;
}

// The process that ended unseen was there at its last sign of life.
void Judge::CheckTimes(const v1::Event& stopped) const {
  constexpr absl::Duration kReads = absl::Milliseconds(250);  // a loop stalls for so long
  // A daemon notes every ten seconds that it has looked, but waits for the ends of runs before
  // that.
  constexpr absl::Duration kLooks = absl::Seconds(75);
  const Life* const life = LifeOf(stopped.vm().run_id());
  if (clock_steps_ || life == nullptr || stopped.vm().pid() != life->process->pid) return;
  const auto wall = [&](absl::Duration at) {
    return kernel_->Now().wall - (kernel_->monotonic() - at);
  };
  if (!stopped.shutdown().has_last_seen_time()) {
    if (life->ended_unattended) {
      story_->Fail("life ", life->number,
                   " ended while no daemon ran, and its end has no last sign of life");
    }
    return;
  }
  const absl::Time seen = FromTimestamp(stopped.shutdown().last_seen_time());
  // What it sent just before its end may have been read just after that.
  absl::Duration last_read = life->gone_at + kReads;
  for (const Report& report : life->reports) {
    if (report.was_read() && report.read_by < absl::InfiniteDuration()) {
      last_read = std::max(last_read, report.read_by);
    }
  }
  if (seen > wall(last_read)) {
    story_->Fail("life ", life->number, " ended at ", absl::FormatTime(wall(life->gone_at)),
                 ", and was seen alive later: ", stopped.ShortDebugString());
  }
  // A daemon that stops in order passes the time of its last check to the next one.
  const bool handed = life->handed_to == number_ || life->process_handed_to == number_;
  if (handed && life->ended_unattended && stopped_at_ < life->gone_at &&
      seen < wall(stopped_at_ - kLooks)) {
    story_->Fail("life ", life->number, " was handed over at ", absl::FormatTime(wall(stopped_at_)),
                 ", and was last seen alive at ", absl::FormatTime(seen));
  }
}

// The first SHUTDOWN that was read decides, unless the life had another one; what the host was when
// it was sent and when the process was gone, it was in between.
void Judge::CheckHostShutdown(const Life& life, const v1::Event& event, int daemon) const {
  const std::string& rule = event.shutdown().rule();
  if (rule.starts_with("host-shutdown") &&
      !kernel_->HostWas(true, life.began, kernel_->monotonic())) {
    story_->Fail("life ", life.number, " ended by ", rule, ", and its host did not shut down");
  }
  if (rule == "host-shutdown-end" && life.ended_unattended &&
      !kernel_->HostWas(true, life.began, life.gone_at)) {
    story_->Fail("life ", life.number, " ended before its host began to shut down");
  }
  const Report* shutdown = nullptr;
  for (const Report& report : life.reports) {
    if (report.kind != Report::Kind::kShutdown) continue;
    if (shutdown != nullptr || !report.was_read() || report.daemon != daemon) return;
    shutdown = &report;
  }
  if (shutdown == nullptr) return;
  const bool caveat =
      absl::c_linear_search(event.shutdown().caveats(), v1::SHUTDOWN_CAVEAT_HOST_SHUTTING_DOWN);
  if (caveat && !kernel_->HostWas(true, shutdown->at, kernel_->monotonic())) {
    story_->Fail("life ", life.number, " has the caveat that its host shut down, which it did not");
  }
  if (event.shutdown().shutdown_class() == v1::SHUTDOWN_CLASS_USER && !caveat &&
      shutdown->at >= started_at_ && !kernel_->HostWas(false, shutdown->at, kernel_->monotonic())) {
    story_->Fail("life ", life.number, " lacks the caveat that its host shut down");
  }
  const auto press =
      std::find_if(life.reports.rbegin(), life.reports.rend(), [](const Report& report) {
        return report.kind == Report::Kind::kPowerdown && report.was_read();
      });
  if (rule == "host-shutdown" && shutdown->guest == true &&
      (press == life.reports.rend() || !kernel_->HostWas(true, press->at, press->read_by))) {
    story_->Fail("life ", life.number, " obeyed a press from before its host shut down");
  }
  const bool by_host = rule == "host-signal" || rule == "host-quit" || rule == "host-ui";
  // The start of the host's shutdown is not known to a daemon that began later.
  if (by_host && shutdown->at >= started_at_ &&
      !kernel_->HostWas(false, shutdown->at, life.gone_at)) {
    story_->Fail("life ", life.number, " ended by ", rule, " as its host shut down");
  }
  if (rule == "host-shutdown" && !kernel_->HostWas(true, shutdown->at, life.gone_at)) {
    story_->Fail("life ", life.number, " ended by ", rule, ", and its host did not shut down then");
  }
}

bool Judge::IsWithdrawn(const Life& life) const {
  return absl::c_any_of(entries_, [&](const auto& entry) {
    const v1::Event& event = entry.second.event;
    return event.type() == v1::EVENT_TYPE_INTENT_ENDED && event.vm().run_id() == life.run_id;
  });
}

// libvirt says how a domain ended some time after its process is gone. An end that nothing else
// explains waits for that.
void Judge::CheckReport(const Life& life, const v1::Event& stopped, int daemon) const {
  constexpr absl::Duration kWaits = absl::Seconds(55);
  constexpr absl::Duration kFollows = absl::Seconds(30);  // a list takes some time
  const auto resumed = absl::c_find_if(life.reports, [&](const Report& report) {
    return report.kind == Report::Kind::kResume && report.was_read() && report.daemon == daemon &&
           report.at >= started_at_;
  });
  if (life.uuid.empty() || daemon != number_ || resumed == life.reports.end() ||
      life.ended_under != daemon || stopped.vm().pid() != life.process->pid) {
    return;
  }
  const bool connected = resumed->at + kFollows < life.gone_at && life.unseen_at < resumed->at &&
                         libvirtd_->Lists(life);
  const bool waited = life.gone_at + kWaits < kernel_->monotonic();
  if (!connected || waited || absl::c_any_of(life.reports, IsEnd)) return;
  story_->Fail("life ", life.number, " ended by ", stopped.shutdown().rule(),
               ", and libvirt was about to say how it ended");
}

// An intent that had ended before the last reset that was seen belongs to an earlier end.
void Judge::CheckIntent(const Life& life, const v1::Event& stopped, int daemon) const {
  if (!stopped.shutdown().has_intent()) return;
  absl::Duration reset = -absl::InfiniteDuration();
  for (const Report& report : life.reports) {
    if (report.kind == Report::Kind::kReset && report.is_known(daemon)) reset = report.at;
  }
  for (size_t i = 0; i < life.intents.size(); ++i) {
    const Declared& intent = life.intents[i];
    const absl::Duration accepted = std::min(intent.answered, intent.asked + absl::Minutes(1));
    const absl::Duration ended = std::min(accepted + intent.ttl, intent.withdrawn_at);
    if (ended < reset &&
        stopped.shutdown().intent().request_id() == absl::StrCat("intent-", life.number, "-", i)) {
      story_->Fail("life ", life.number, " ends with an intent that ended before its last reset");
    }
  }
}

}  // namespace vmeventd::simulation
