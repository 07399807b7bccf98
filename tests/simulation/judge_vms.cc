#include <algorithm>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "server/events/vm_record.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/report.h"
#include "tests/support/health.h"
#include "tests/support/log_vms.h"
#include "watcher/session/qemu_run_state.h"

namespace vmeventd::simulation {

bool Judge::IsFree(const Life& life, absl::Duration since) const {
  return !life.process_gone && life.listener->listening && !life.hangs &&
         (life.client == nullptr || life.client_daemon != 0) &&
         life.kept_at + since <= kernel_->monotonic() &&
         started_at_ + since <= kernel_->monotonic();
}

void Judge::CheckListed(const Daemon& daemon, int number,
                        const std::set<std::string>& unopened) const {
  constexpr absl::Duration kLists = absl::Seconds(10);  // a directory is read again after five
  const v1::GetServerInfoResponse info = daemon.watcher().Describe();
  for (const auto& life : world_->lives()) {
    if (!IsFree(*life, kLists) || (life->client != nullptr && life->client_daemon == number)) {
      continue;
    }
    const bool is_listed = absl::c_any_of(
        info.unfollowed_sockets(), [&](const auto& each) { return each.path() == life->socket; });
    // A VM that was restored has its run; one that is not known is in a directory that cannot be
    // read.
    const VmRecordPtr run = FindVm(daemon.log(), {life->listed_as, life->run_id, ""});
    const std::string directory = life->socket.substr(0, life->socket.rfind('/'));
    const bool unread = unopened.contains(directory) || !Serves(daemon.watcher(), "watch");
    if (is_listed) story_->Reach("a VM that gets no descriptor is listed");
    if (!is_listed && run == nullptr && !unread) {
      story_->Fail("life ", life->number, " is neither followed nor listed");
    }
  }
}

void Judge::CheckFollowed(int number) const {
  constexpr absl::Duration kFollows = absl::Seconds(20);
  // A run has its descriptors until it ends, also while its monitor is lost; one that waits for
  // them is tried again a while later.
  std::set<std::string> open;
  size_t launchers = 0;
  for (const auto& [sequence, entry] : entries_) {
    const std::string& run_id = entry.event.vm().run_id();
    if (entry.event.type() == v1::EVENT_TYPE_STARTED) open.insert(run_id);
    if (entry.event.type() != v1::EVENT_TYPE_STOPPED) continue;
    // The run's STARTED may be in a journal that was replaced.
    if (entry.taken_at + kFollows > kernel_->monotonic()) {
      open.insert(run_id);
    } else {
      open.erase(run_id);
    }
  }
  for (const auto& life : world_->lives()) {
    const bool connected = life->client != nullptr && life->client_daemon == number;
    // Connected, its STARTED may not be public yet; otherwise it may have one.
    if (!life->gone && (connected || !IsFree(*life, kFollows))) open.insert(life->run_id);
    if (life->launcher != nullptr && life->launcher->state == Process::State::kLives) ++launchers;
  }
  // The VMs of one user may have three quarters of what there is for all.
  if (2 * open.size() + launchers + 2 > static_cast<size_t>(options_.max_vm_descriptors) * 3 / 4) {
    return story_->Reach("bound: the VMs of a user have their descriptors");
  }
  // A launcher may be another program, which is tried once a minute.
  constexpr absl::Duration kFollowsLaunched = absl::Seconds(100);
  for (const auto& life : world_->lives()) {
    if (!IsFree(*life, life->launcher == nullptr ? kFollows : kFollowsLaunched)) continue;
    if (life->client != nullptr && life->client_daemon == number) {
      story_->Reach("a VM is followed after a shortage of descriptors");
    } else {
      story_->Fail("life ", life->number, " is not followed, and there are descriptors");
    }
  }
}

void Judge::CheckDomains(const Daemon& daemon) {
  constexpr absl::Duration kFollows = absl::Minutes(2);
  const absl::Duration long_ago = kernel_->monotonic() - kFollows;
  if (started_at_ > long_ago || libvirtd_->started_at() > long_ago || !libvirtd_->runs()) {
    return;
  }
  const auto before = std::exchange(followed_, std::pair(number_, libvirtd_->started_at()));
  const auto is_its_gap = [&](const auto& entry) {
    return entry.second.event.gap_reason() == v1::GAP_REASON_LIBVIRT_LOST &&
           entry.second.taken_at > followed_.second;
  };
  if (before.first == number_ && before != followed_ && absl::c_none_of(entries_, is_its_gap)) {
    story_->Fail("libvirtd was away, and no GAP says so");
  }
  const std::vector<VmRecordPtr> vms = VmsIn(daemon.log());
  for (const auto& life : world_->lives()) {
    if (life->uuid.empty() || life->process_gone || life->began > long_ago ||
        life->reports.empty() || life->reports.back().at > long_ago) {
      continue;
    }
    const auto run = std::find_if(vms.begin(), vms.end(), [&](const VmRecordPtr& vm) {
      return !vm->stopped() && LifeOf(vm->run_id) == life.get();
    });
    if (run == vms.end()) {
      story_->Fail("life ", life->number, " is a domain that is not followed");
      continue;
    }
    story_->Reach("a domain is followed");
    if (life->run_state == "shutdown" || life->run_state == "guest-panicked") continue;
    v1::VmState state = v1::VM_STATE_PAUSED;
    if (life->run_state == "running") state = v1::VM_STATE_RUNNING;
    if (life->run_state == "suspended") state = v1::VM_STATE_SUSPENDED;
    if ((*run)->state != state) {
      story_->Fail("life ", life->number, " is ", life->run_state, ", and shown as ",
                   v1::VmState_Name((*run)->state));
    }
  }
}

// Only what its monitor has reported counts, and only if that was read a while ago: public events
// may wait for the disk.
void Judge::CheckStates(const Daemon& daemon) const {
  constexpr absl::Duration kShown = absl::Seconds(5);
  const absl::Duration long_ago = kernel_->monotonic() - kShown;
  for (const auto& life : world_->lives()) {
    if (life->client == nullptr || life->client_daemon != number_ || !life->negotiated ||
        life->hangs || life->process_gone || life->kept_at > long_ago || started_at_ > long_ago) {
      continue;
    }
    const bool all_read = absl::c_all_of(life->reports, [&](const Report& report) {
      return report.received_on != life->client || report.was_read();
    });
    const auto changed =
        std::find_if(life->reports.rbegin(), life->reports.rend(),
                     [](const Report& report) { return report.kind != Report::Kind::kRunState; });
    const auto asked = absl::c_find_if(life->reports, [&](const Report& report) {
      return report.kind == Report::Kind::kRunState && report.received_on == life->client;
    });
    const auto known_at = [&](const Report& report) {
      return report.received_on == life->client ? report.read_by : report.at;
    };
    if (!all_read || asked == life->reports.end() || known_at(*asked) > long_ago ||
        (changed != life->reports.rend() && known_at(*changed) > long_ago)) {
      continue;
    }
    const VmRecordPtr vm = FindVm(daemon.log(), {life->listed_as, life->run_id, ""});
    if (vm == nullptr || vm->stopped()) continue;
    const VmState state = StateOfRunState(life->run_state);
    story_->Reach("a VM that is ", VmStateName(state), " is shown as that");
    if (vm->state != ToProto(state)) {
      story_->Fail("life ", life->number, " is ", life->run_state, ", and shown as ",
                   v1::VmState_Name(vm->state));
    }
    v1::Vm shown;
    shown.ParseFromString(vm->encoded);
    const auto late = [](const v1::Problem& problem) {
      return problem.code() == v1::PROBLEM_CODE_EXIT_LATE;
    };
    if (absl::c_any_of(shown.problems(), late)) {
      story_->Fail("life ", life->number, " is ", life->run_state, ", and expected to exit");
    }
  }
}

void Judge::CheckStopped(const Daemon& daemon) {
  constexpr absl::Duration kListed = absl::Seconds(5);
  const absl::Duration long_ago = kernel_->monotonic() - kListed;
  if (stops_checked_of_ == number_ || started_at_ > long_ago || !daemon.has_journal()) return;
  stops_checked_of_ = number_;
  for (const auto& [sequence, entry] : entries_) {
    const v1::VmRef& of = entry.event.vm();
    if (entry.event.type() != v1::EVENT_TYPE_STOPPED || entry.lost || entry.taken_at > long_ago) {
      continue;
    }
    const VmRecordPtr vm = FindVm(daemon.log(), {of.name(), of.run_id(), ""});
    if (vm == nullptr || !vm->stopped()) {
      story_->Fail("the run ", of.run_id(), " ended with the event ", sequence, ", and is ",
                   vm == nullptr ? "not listed" : "listed as open");
    }
  }
}

void Judge::CheckHandover(const Daemon& daemon, const std::set<std::string>& handed) const {
  for (const auto& life : world_->lives()) {
    const VmRecordPtr vm = FindVm(daemon.log(), {life->listed_as, life->run_id, ""});
    if (life->process_gone || vm == nullptr || vm->stopped()) continue;
    v1::Vm shown;
    shown.ParseFromString(vm->encoded);
    // The process of a domain; the connection to a monitor that has answered all questions once.
    const bool is_domain = !life->uuid.empty();
    const bool answers = absl::c_any_of(life->reports, [&](const Report& report) {
      return report.kind == Report::Kind::kRunState && report.received_on == life->client &&
             report.daemon == number_ && report.was_read();
    });
    if (shown.ref().pid() != life->process->pid || (!is_domain && !answers)) continue;
    story_->Reach(is_domain ? "a domain's process is handed over" : "a monitor is handed over");
    if (!handed.contains(life->run_id)) {
      story_->Fail("life ", life->number, " is followed, and was not handed over");
    }
  }
}

void Judge::CheckVms(const Daemon& daemon) const {
  const uint64_t newest = daemon.log().range().newest;
  for (const VmRecordPtr& vm : VmsIn(daemon.log())) {
    if (vm->last_sequence <= newest) continue;
    story_->Fail(vm->name, " has the event ", vm->last_sequence, " as its last, and the newest is ",
                 newest);
  }
}

void Judge::CheckLastEvents(const Daemon& daemon) const {
  for (const VmRecordPtr& vm : VmsIn(daemon.log())) {
    const auto last = last_events_.find(vm->run_id);
    if (last != last_events_.end() && vm->last_sequence < last->second) {
      story_->Fail(vm->name, " has the event ", vm->last_sequence,
                   " as its last, and a later one: ", last->second);
    }
  }
}

void Judge::CheckSnapshot(const std::set<std::string>& runs, uint64_t sequence,
                          const std::function<bool(const v1::Event&)>& wants) const {
  std::map<std::string, std::pair<bool, bool>> seen;  // runs, with whether they began and ended
  for (const auto& [at, entry] : entries_) {
    if (at > sequence) break;
    const v1::Event& event = entry.event;
    if (event.vm().run_id().empty() || !wants(event)) continue;
    auto& [began, ended] = seen[event.vm().run_id()];
    if (event.type() == v1::EVENT_TYPE_STARTED && !entry.lost) began = true;
    if (event.type() != v1::EVENT_TYPE_STOPPED) continue;
    ended = true;
    if (!entry.lost && runs.contains(event.vm().run_id())) {
      story_->Fail("the snapshot of ", sequence, " has a run that ended with the event ", at);
    }
  }
  for (const auto& [run, is] : seen) {
    if (!is.first || is.second || runs.contains(run) || MayLackStop(run)) continue;
    if (stopped_before_.contains(run)) continue;
    // The daemon does not know it until it is found again.
    if (!without_runs_.empty() && started_at_ == without_runs_.rbegin()->second) continue;
    story_->Fail("the snapshot of ", sequence, " lacks the run ", run);
  }
}

bool Judge::IsLatest(const Life& life) const {
  // Files are another's once a later life has the name, and a boot removes them.
  if (life.boot_id != kernel_->boot_id()) return false;
  return absl::c_none_of(world_->lives(), [&](const auto& other) {
    return other->name == life.name && other->number > life.number;
  });
}

void Judge::CheckFiles(int number) {
  constexpr absl::Duration kTakesBack = absl::Seconds(5);
  for (const auto& life : world_->lives()) {
    if (life->gone || !HasOneMonitor(*life) || !IsLatest(*life)) continue;
    // A file that an earlier daemon wrote, and was killed before it was committed, is nobody's.
    if (life->attached == nullptr || life->daemons != std::set<int>{number}) continue;
    const Disk::FilePtr file =
        kernel_->disk().Find(absl::StrCat(kWatchedDirectory, "/", life->name, ".shutdown"));
    // A file from before the connection belongs to an earlier life.
    const bool there = file != nullptr && file->inode > life->earlier_inode;
    const Report* runs = nullptr;  // null again if an end was sent since
    for (const Report& report : life->reports) {
      const bool is_answer = report.kind == Report::Kind::kRunState;
      if (report.kind == Report::Kind::kReset || report.kind == Report::Kind::kResume ||
          (is_answer && (report.text == "running" || report.text == "suspended"))) {
        runs = &report;
      } else if (report.kind != Report::Kind::kOther) {
        runs = nullptr;
      }
    }
    const bool is_known_to_run = runs != nullptr && runs->was_read() &&
                                 runs->received_on == life->client &&
                                 runs->at + kTakesBack <= kernel_->monotonic();
    if (!is_known_to_run && absl::c_any_of(life->reports, IsEnd)) continue;
    // A panic or a watchdog, which no reset and no resume heals, decides what the file is, until
    // the end.
    const bool stands = absl::c_any_of(life->reports, [](const Report& report) {
      return report.kind == Report::Kind::kPanic || report.kind == Report::Kind::kWatchdog;
    });
    if (stands) continue;
    story_->Reach("a VM that runs has no shutdown file");
    if (there) story_->Fail("life ", life->number, " runs, and ", life->name, ".shutdown is there");
  }
}

}  // namespace vmeventd::simulation
