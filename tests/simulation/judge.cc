#include "tests/simulation/judge.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vmeventd::simulation {
namespace {

std::string Describe(const v1::Event& event) {
  std::string text = absl::StrCat(
      event.sequence(), " ", v1::EventType_Name(event.type()).substr(11), " ", event.vm().name(),
      event.vm().pid() != 0 ? absl::StrCat(" pid ", event.vm().pid()) : "",
      event.durable() ? "" : " (not durable)");
  if (event.type() == v1::EVENT_TYPE_STOPPED) {
    absl::StrAppend(&text, ": ",
                    v1::ShutdownClass_Name(event.shutdown().shutdown_class()).substr(15), " by ",
                    event.shutdown().rule());
  } else if (event.type() == v1::EVENT_TYPE_GAP) {
    absl::StrAppend(&text, ": ", event.message());
  }
  return text;
}

}  // namespace

std::string Judge::ContentOf(const v1::Event& event) {
  v1::Event copy = event;
  copy.clear_durable();
  return copy.SerializeAsString();
}

const Life* Judge::LifeOf(const std::string& run_id) const {
  for (const auto& life : world_->lives()) {
    if (life->run_id == run_id) return life.get();
  }
  const auto unseen = unseen_domains_.find(run_id);
  return unseen == unseen_domains_.end() ? nullptr : unseen->second;
}

// A run of a domain whose process was not seen when it began: only its UUID says whose it is.
void Judge::TakeUnseenDomain(const v1::VmRef& vm) {
  if (LifeOf(vm.run_id()) != nullptr || vm.uuid().empty() || !vm.source().starts_with("libvirt:")) {
    return;
  }
  story_->Reach("a domain whose process is not seen");
  std::set<std::string> known;
  for (const auto& [sequence, entry] : entries_) known.insert(entry.event.vm().run_id());
  // Looks first for a life that this daemon knows, then for an earlier one.
  for (const bool is_known : {true, false}) {
    for (const auto& life : world_->lives()) {
      const bool taken = known.contains(life->run_id) || stopped_before_.contains(life->run_id) ||
                         absl::c_any_of(unseen_domains_, [&](const auto& unseen) {
                           return unseen.second == life.get();
                         });
      if (life->uuid != vm.uuid() || taken || (is_known && !life->daemons.contains(number_)))
        continue;
      unseen_domains_[vm.run_id()] = life.get();
      return;
    }
  }
  // A daemon that knows nothing of its end believes libvirt, which has not noticed it.
  for (const auto& life : world_->lives()) {
    if (life->uuid != vm.uuid() || !life->process_gone || !libvirtd_->Lists(*life)) continue;
    unseen_domains_[vm.run_id()] = life.get();
    return story_->Reach("a domain that has ended is listed to the next daemon");
  }
  story_->Fail("a run of ", vm.name(), " of which each life has another: ", vm.run_id());
}

// A VM whose listener is no QEMU by its name is found before its process is known: its run id is
// that of its socket, and stays.
void Judge::TakeOtherRunId(const v1::VmRef& vm) {
  if (LifeOf(vm.run_id()) != nullptr) return;
  for (const auto& life : world_->lives()) {
    if (!life->second_run_id.empty() && life->second_run_id == vm.run_id()) {
      const std::string other = life->run_id;
      TakeRunId(vm.run_id(), life.get());
      life->second_run_id = other;
      life->listed_as = life->listed_as == life->name ? absl::StrCat(life->name, "-b") : life->name;
      return story_->Reach("a VM is found at its other socket");
    }
    const auto former = former_runs_.find(vm.run_id());
    if (former != former_runs_.end() && former->second == life.get()) {
      return TakeRunId(vm.run_id(), life.get());
    }
    if (life->launcher == nullptr && life->process->program == Process().program) continue;
    const auto is_of = [&](uint64_t inode) {
      return absl::StrContains(vm.run_id(), absl::StrCat("-s", inode, "-"));
    };
    const bool other = life->second != nullptr && is_of(life->second->file->inode);
    if (!other && !is_of(life->socket_inode)) continue;
    if (other) life->listed_as = absl::StrCat(life->name, "-b");
    story_->Reach("a VM is listed while nobody is known who listens");
    TakeRunId(vm.run_id(), life.get());
  }
}

void Judge::TakeRunId(const std::string& run_id, Life* life) {
  const bool has_another = absl::c_any_of(entries_, [&](const auto& entry) {
    return !entry.second.lost && entry.second.event.vm().run_id() == life->run_id;
  });
  if (has_another && without_runs_.empty()) {
    story_->Fail("life ", life->number, " has a second run: ", run_id);
  }
  // Without its journal a daemon does not know the first run, which then has no STOPPED.
  if (has_another) stopped_before_.insert(life->run_id);
  former_runs_[life->run_id] = life;
  stopped_before_.erase(run_id);
  life->run_id = run_id;
}

// A turn of the loop hands over to the log all that it has read, except changes without an event in
// a flood, which are saved a moment later.
void Judge::MarkKept(const Daemon& daemon) {
  constexpr absl::Duration kSaves = absl::Milliseconds(200);
  const absl::Duration now = kernel_->monotonic();
  const bool written = daemon.all_is_written();
  for (const auto& life : world_->lives()) {
    for (auto it = life->reports.rbegin(); it != life->reports.rend() && !it->kept; ++it) {
      if (!it->was_read() || it->daemon < reads_of_) continue;
      it->read_by = std::min(it->read_by, now);
      it->kept = written && it->read_by + kSaves <= now;
    }
  }
}

bool Judge::MayLackStop(const std::string& run_id) const {
  constexpr absl::Duration kClassified = absl::Minutes(3);
  constexpr absl::Duration kFollows = absl::Seconds(30);
  const Life* const life = LifeOf(run_id);
  if (life == nullptr) return unseen_;
  const auto during = [&](absl::Duration begin, absl::Duration end) {
    return begin <= life->gone_at && life->gone_at <= end;
  };
  const auto before = [&](absl::Duration at) { return during(at - kClassified, at); };
  return unseen_ || absl::c_any_of(left_out_at_, before) || absl::c_any_of(dropped_at_, before) ||
         absl::c_any_of(without_runs_, [&](const auto& begin) {
           // Nobody who knows the run may have got a descriptor for its VM since then.
           const bool unknown = life->daemons.lower_bound(begin.first) == life->daemons.end();
           return unknown || during(-absl::InfiniteDuration(), begin.second + kFollows);
         });
}

// A log that has room for evidence leaves out no STARTED and no STOPPED.
void Judge::AfterLoop(const Daemon& daemon) {
  if (!kernel_->dead() && daemon.log().state().backlog_bytes >= 4 * options_.max_waiting_bytes) {
    full_ = true;
  }
}

void Judge::AfterPump(Daemon* daemon, int number) {
  Look(daemon, number);
  if (kernel_->dead()) return;
  CheckFiles(number);
  CheckVms(*daemon);
  CheckLastEvents(*daemon);
  gave_up_ = daemon->log().meters().lost_events.value() > 0;
  if (daemon->log().state().dropped_events > 0 && !std::exchange(dropped_, true)) {
    story_->Reach("bound: the log is full");
  }
  const NodeWatcher& watcher = daemon->watcher();
  if (watcher.counters().handovers > 0) story_->Reach("a VM is resumed after a restart");
  // The bound of the VMs' descriptors may have been reached by then.
  if (daemon->handed() > 0 && watcher.counters().handovers_refused > 0 && !short_of_descriptors_ &&
      !without_runs_.contains(number) &&
      options_.max_vm_descriptors == Daemon::Options().max_vm_descriptors) {
    story_->Fail(watcher.counters().handovers_refused.value(), " of ", daemon->handed(),
                 " VMs were not resumed from what was handed over");
  }
  const auto max = static_cast<size_t>(options_.max_vm_descriptors);
  // Descriptors that a thread of its own closes, such as a connection that was handed over and
  // refused.
  const uint64_t closing = watcher.counters().sockets_to_close;
  if (const size_t are = kernel_->vm_descriptors(); are > max + closing) {
    story_->Fail("VMs have ", are, " descriptors, and may have ", max);
  }
}

void Judge::Add(const v1::Event& event, int daemon) {
  const bool says_why = event.type() == v1::EVENT_TYPE_PROBLEMS_CHANGED ||
                        event.type() == v1::EVENT_TYPE_MONITOR_LOST;
  story_->Log("daemon", "published ", Describe(event), says_why ? ": " : "",
              says_why ? event.message() : "");
  story_->Reach("event ", v1::EventType_Name(event.type()).substr(11));
  entries_[event.sequence()] = {
      .event = event, .content = ContentOf(event), .taken_at = kernel_->monotonic()};
  CheckUnseenChange(event);
  if (event.has_vm()) last_events_[event.vm().run_id()] = event.sequence();
  if (event.has_missing()) TakeMissing(event);
  if (event.has_missing() && drops()) dropped_at_.push_back(kernel_->monotonic());
  if (event.type() == v1::EVENT_TYPE_GAP && event.vm().name().empty() &&
      absl::StrContains(event.message(), "events of VMs were dropped")) {
    gap_of_left_out_ = true;
    if (full_) left_out_at_.push_back(kernel_->monotonic());
  }
  TakeUnseenDomain(event.vm());
  TakeOtherRunId(event.vm());
  if (event.has_vm()) CheckRef(event);
  CheckGap(event, daemon);
  if (event.type() == v1::EVENT_TYPE_STOPPED) {
    CheckStop(event, daemon);
    CheckTimes(event);
  }
}

// A run that was handed over has no GAP, if there were descriptors to take it.
void Judge::CheckGap(const v1::Event& event, int daemon) const {
  if (event.type() != v1::EVENT_TYPE_GAP || !event.has_vm() || short_of_descriptors_) return;
  const Life* const life = LifeOf(event.vm().run_id());
  if (life == nullptr || life->handed_to != daemon) return;
  if (event.message().find("when vmeventd stopped") == std::string::npos) return;
  story_->Fail("life ", life->number, " was handed over, and has a GAP: ", event.message());
}

// A change that QEMU reported has QEMU's event.
void Judge::CheckUnseenChange(const v1::Event& event) const {
  const bool is_found = event.type() == v1::EVENT_TYPE_PAUSED ||
                        event.type() == v1::EVENT_TYPE_RESUMED ||
                        event.type() == v1::EVENT_TYPE_SUSPENDED;
  if (!is_found || !event.qmp_event().empty() || dropped_) return;
  story_->Reach("a VM is found in another state");
  const auto last = last_events_.find(event.vm().run_id());
  const auto before = last == last_events_.end() ? entries_.end() : entries_.find(last->second);
  if (before != entries_.end() &&
      before->second.event.gap_reason() != v1::GAP_REASON_UNSEEN_CHANGE) {
    story_->Fail("the event ", event.sequence(), " has no GAP before it: ", event.message());
  }
}

void Judge::CheckRef(const v1::Event& event) {
  const v1::VmRef& vm = event.vm();
  const Life* const life = LifeOf(vm.run_id());
  if (life == nullptr) return;
  const bool is_launcher = life->launcher != nullptr && vm.pid() == life->launcher->pid;
  if (vm.name() != life->listed_as || (!vm.uuid().empty() && vm.uuid() != UuidOf(*life)) ||
      (vm.pid() != 0 && vm.pid() != life->process->pid && !is_launcher)) {
    story_->Fail("the event ", event.sequence(), " of life ", life->number,
                 " names another VM: ", vm.ShortDebugString());
  }
  // The run state is asked last.
  const bool asked = absl::c_any_of(life->reports, [this](const Report& report) {
    return report.kind == Report::Kind::kRunState && report.daemon == number_ && report.was_read();
  });
  if (vm.uuid().empty() && asked && event.type() == v1::EVENT_TYPE_STOPPED) {
    story_->Fail("life ", life->number, " has ended without its UUID");
  }
  const auto known = known_uuids_.find(vm.run_id());
  if (vm.uuid().empty() && known != known_uuids_.end() && known->second < event.sequence()) {
    story_->Fail("the event ", event.sequence(), " of life ", life->number, " has lost its UUID");
  }
  if (!vm.uuid().empty() && event.durable()) {
    known_uuids_.try_emplace(vm.run_id(), event.sequence());
  }
}

void Judge::CheckSaid(const Life& life) const {
  if (!HasOneMonitor(life) || dropped_ || unseen_) return;
  // Kinds of which each has exactly one event.
  using enum Report::Kind;
  constexpr Report::Kind kOnce[] = {kPowerdown, kPanic, kWatchdog, kHibernate, kOther};
  static const std::set<std::string> kOthers = {"", "SHUTDOWN", "STOP", "RESUME", "RESET"};
  int64_t left = absl::c_count_if(life.reports, [&](const Report& report) {
    return report.was_read() && absl::c_linear_search(kOnce, report.kind);
  });
  for (const auto& [sequence, entry] : entries_) {
    const v1::Event& event = entry.event;
    if (event.vm().run_id() != life.run_id) continue;
    if (sequence <= thinned_unseen_) return;
    if (!kOthers.contains(event.qmp_event())) --left;
    if (event.gap_reason() == v1::GAP_REASON_RATE_LIMITED) left -= std::stoll(event.message());
  }
  if (left > 0) story_->Fail(left, " things that life ", life.number, " said have no event");
}

void Judge::AtEnd(const Daemon& daemon) {
  CheckRetention(daemon);
  if (daemon.log().state().journal_age > absl::Minutes(1)) {
    story_->Fail("the disk works, and what waits for it is not written");
  }
  if (daemon.log().state().dropped_events > 0 && !gap_of_left_out_) {
    story_->Fail("the log has left events out, and no GAP says so");
  }
  std::map<std::string, int> starts;
  std::map<std::string, int> stops;
  const std::map<uint64_t, v1::Event> rows = ReadJournal(0, INT64_MAX);
  for (const auto& [sequence, entry] : entries_) {
    if (entry.lost) {
      const auto row = rows.find(sequence);
      if (row != rows.end() && ContentOf(row->second) == entry.content && !drops()) {
        story_->Fail("a GAP names the event ", sequence, ", which is in the journal");
      }
      bool named = sequence <= daemon.journal().deleted;
      for (const auto& [first, last] : missing_) {
        named = named || (first <= sequence && sequence <= last);
      }
      if (!named) story_->Fail("no GAP names the event ", sequence, ", which is lost");
      // A run whose STOPPED was dropped for the lack of room has no second one.
      const bool stopped = entry.event.type() == v1::EVENT_TYPE_STOPPED;
      if (stopped && drops()) stopped_before_.insert(entry.event.vm().run_id());
      continue;
    }
    const std::string& run = entry.event.vm().run_id();
    if (entry.event.type() == v1::EVENT_TYPE_STARTED) ++starts[run];
    if (entry.event.type() == v1::EVENT_TYPE_STOPPED) ++stops[run];
    if (!run.empty() && stops[run] > 0 && entry.event.type() != v1::EVENT_TYPE_STOPPED) {
      story_->Fail("the event ", sequence, " comes after the STOPPED of its run");
    }
  }
  for (const auto& [run, count] : stops) {
    if (count > 1) story_->Fail(count, " STOPPED of one run: ", run);
  }
  for (const auto& [run, count] : starts) {
    if (stops[run] == 0 && !stopped_before_.contains(run) && !MayLackStop(run)) {
      story_->Fail("no STOPPED of the run ", run);
    }
    if (count > 1 + std::ssize(without_runs_)) story_->Fail(count, " STARTED of one run: ", run);
  }
  for (const auto& life : world_->lives()) {
    if (life->daemons.size() == 1 && *life->daemons.begin() == 1 && life->negotiated) {
      // A run that begins and ends while the log is full has no public events.
      const bool left_out = dropped_ && starts[life->run_id] == 0;
      if (stops[life->run_id] == 0 && !MayLackStop(life->run_id) && !left_out) {
        story_->Fail("life ", life->number, " was followed, and has no STOPPED");
      }
    }
  }
}

}  // namespace vmeventd::simulation
