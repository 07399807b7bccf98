#include "tests/simulation/judge.h"

#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/eventlog/journal_rows.h"
#include "server/events/event_codec.h"
#include "tests/support/event_log_for_tests.h"
#include "tests/support/health.h"
#include "tests/support/test_events.h"
#include "watcher/session/classification.h"
#include "watcher/session/qemu_run_state.h"
#include "watcher/session/run_state.h"

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

// The class that an intent makes of one: docs/internals/classification.md, column "intended".
ShutdownClass Intended(ShutdownClass is, const std::string& rule) {
  if (rule == "snapshot") return is;
  if (is == ShutdownClass::kUser || is == ShutdownClass::kUnknown) return ShutdownClass::kAdmin;
  if (rule == "qemu-killed") return ShutdownClass::kAdmin;
  return is;
}

// A monitor that closed so long before the process was gone was lost.
constexpr absl::Duration kMonitorGrace = absl::Milliseconds(900);

// It has one monitor, at which it has always listened itself.
bool IsAlone(const Life& life) {
  return life.launcher == nullptr && life.second == nullptr && life.uuid.empty();
}

bool IsEnd(const Saying& saying) {
  return saying.kind == Saying::Kind::kShutdown || saying.kind == Saying::Kind::kPanic ||
         saying.kind == Saying::Kind::kWatchdog;
}

// Earliest time from which on the class was decided.
absl::Duration DecidedAt(const Life& life) {
  const auto end = absl::c_find_if(life.sayings, IsEnd);
  return end == life.sayings.end() ? life.gone_at : end->at;
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
  // Looks first for a life of which this daemon has heard, then for an earlier one.
  for (const bool heard : {true, false}) {
    for (const auto& life : world_->lives()) {
      const bool taken = known.contains(life->run_id) || stopped_before_.contains(life->run_id) ||
                         absl::c_any_of(unseen_domains_, [&](const auto& unseen) {
                           return unseen.second == life.get();
                         });
      if (life->uuid != vm.uuid() || taken || (heard && !life->daemons.contains(number_))) continue;
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

// The first SHUTDOWN that was read decides, unless the life had another one; what the host was when
// it was said and when the process was gone, it was in between.
void Judge::CheckHostShutdown(const Life& life, const v1::Event& event, int daemon) const {
  const std::string& rule = event.shutdown().rule();
  if (rule.starts_with("host-shutdown") &&
      !kernel_->HostWas(true, life.began, kernel_->monotonic())) {
    story_->Fail("life ", life.number, " ended by ", rule, ", and its host did not shut down");
  }
  const Saying* shutdown = nullptr;
  for (const Saying& saying : life.sayings) {
    if (saying.kind != Saying::Kind::kShutdown) continue;
    if (shutdown != nullptr || !saying.was_read() || saying.daemon != daemon) return;
    shutdown = &saying;
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
      std::find_if(life.sayings.rbegin(), life.sayings.rend(), [](const Saying& saying) {
        return saying.kind == Saying::Kind::kPowerdown && saying.was_read();
      });
  if (rule == "host-shutdown" && shutdown->guest == true &&
      (press == life.sayings.rend() || !kernel_->HostWas(true, press->at, press->read_by))) {
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
        life->sayings.empty() || life->sayings.back().at > long_ago) {
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

// Only what its monitor has reported counts, and only if that was a while ago: public events may
// wait for the disk.
void Judge::CheckStates(const Daemon& daemon) const {
  constexpr absl::Duration kShown = absl::Seconds(5);
  const absl::Duration long_ago = kernel_->monotonic() - kShown;
  for (const auto& life : world_->lives()) {
    if (life->client == nullptr || life->client_daemon != number_ || !life->negotiated ||
        life->hangs || life->process_gone || life->kept_at > long_ago || started_at_ > long_ago) {
      continue;
    }
    const bool all_read = absl::c_all_of(life->sayings, [&](const Saying& saying) {
      return saying.heard_by != life->client || saying.was_read();
    });
    const auto changed =
        std::find_if(life->sayings.rbegin(), life->sayings.rend(),
                     [](const Saying& saying) { return saying.kind != Saying::Kind::kRunState; });
    const auto asked = absl::c_find_if(life->sayings, [&](const Saying& saying) {
      return saying.kind == Saying::Kind::kRunState && saying.heard_by == life->client;
    });
    if (!all_read || asked == life->sayings.end() || asked->at > long_ago ||
        (changed != life->sayings.rend() && changed->at > long_ago)) {
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

// What was read by a turn of the loop is handed to the log by that turn, but what changed without
// an event in a flood, which is saved a moment later.
void Judge::MarkKept(const Daemon& daemon) {
  constexpr absl::Duration kSaves = absl::Milliseconds(200);
  const absl::Duration now = kernel_->monotonic();
  const bool written = daemon.all_is_written();
  for (const auto& life : world_->lives()) {
    for (auto it = life->sayings.rbegin(); it != life->sayings.rend() && !it->kept; ++it) {
      if (!it->was_read() || it->daemon < reads_of_) continue;
      it->read_by = std::min(it->read_by, now);
      it->kept = written && it->read_by + kSaves <= now;
    }
  }
}

std::map<uint64_t, v1::Event> Judge::ReadJournal(uint64_t first, uint64_t last) {
  const Kernel::Bystander bystander(kernel_);
  std::map<uint64_t, v1::Event> events;
  try {
    SqliteDatabase database(kJournalPath);
    const char* const kTables = "SELECT count(*) FROM sqlite_schema";
    if (SqliteQuery(database, kTables).Number() == 0) return events;  // it was never written to
    SqliteQuery rows(database, VMEVENTD_SELECT_EVENTS "sequence BETWEEN ? AND ? ORDER BY sequence",
                     first, last);
    while (rows.Next()) {
      const EventRecord record = RecordOfRow(rows);
      events[record.sequence] = EventOf(record);
    }
    thinned_ = std::max(thinned_, QueryMetaNumber(database, "thinned"));
  } catch (const SQLite::Exception& error) {
    if (!replacement_is_due_) story_->Fail("the journal cannot be read: ", error.what());
  }
  return events;
}

bool Judge::MayBeThinned(uint64_t sequence) const {
  const auto it = entries_.find(sequence);
  if (sequence > thinned_ || it == entries_.end()) return false;
  constexpr v1::EventType kLast[] = {v1::EVENT_TYPE_STARTED, v1::EVENT_TYPE_STOPPED,
                                     v1::EVENT_TYPE_INTENT_DECLARED, v1::EVENT_TYPE_INTENT_ENDED,
                                     v1::EVENT_TYPE_GAP};
  return !absl::c_linear_search(kLast, it->second.event.type());
}

bool Judge::DamageJournal() {
  const Kernel::Bystander bystander(kernel_);
  const Disk::FilePtr file = kernel_->disk().Find(kJournalPath);
  if (damaged_ || file == nullptr || file->content.size() < 4096) return false;
  try {
    SqliteDatabase database(kJournalPath);
    SqliteQuery stops(database, "SELECT vm FROM stopped_vms");
    while (stops.Next()) {
      v1::Vm vm;
      const absl::string_view bytes = stops.Bytes(0);
      vm.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
      stopped_before_.insert(vm.ref().run_id());
    }
  } catch (const SQLite::Exception&) {
    return false;
  }
  kernel_->disk().Unlink(absl::StrCat(kJournalPath, "-wal"));
  kernel_->disk().Unlink(absl::StrCat(kJournalPath, "-shm"));
  kernel_->disk().Write(kJournalPath, file.get(), 0, std::string(100, 'x'));
  kernel_->disk().Sync(kJournalPath, file.get());
  damaged_ = replacement_is_due_ = true;
  story_->Say("host", "the journal is damaged");
  return true;
}

void Judge::TakeNewJournal(const Daemon& daemon) {
  // One that cannot be opened now is replaced by a later start.
  damaged_ = !daemon.has_journal();
  if (!damaged_) {
    story_->Reach("a damaged journal is replaced at a start");
    if (journal_id_ == daemon.log().identity().journal_id) {
      return story_->Fail("the damage of the journal is not found");
    }
    const std::map<uint64_t, v1::Event> events = ReadJournal(0, INT64_MAX);
    if (!events.empty() && events.begin()->second.type() != v1::EVENT_TYPE_GAP) {
      story_->Fail("the new journal does not begin with a GAP");
    }
  }
  thinned_ = durable_ = committed_ = 0;
  journal_id_.clear();
  entries_.clear();
  known_uuids_.clear();
  missing_.clear();
  unseen_ = true;  // earlier public events are in another journal
}

void Judge::BeginsWithoutRuns(int number) {
  story_->Reach("a daemon begins without the open runs");
  without_runs_[number] = started_at_;
  known_uuids_.clear();
  for (const auto& life : world_->lives()) {
    for (Saying& saying : life->sayings) saying.kept = false;
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
           return during(-absl::InfiniteDuration(), begin.second + kFollows);
         });
}

void Judge::CheckVms(const Daemon& daemon) const {
  const uint64_t newest = daemon.log().range().newest;
  for (const VmRecordPtr& vm : VmsIn(daemon.log())) {
    if (vm->last_sequence <= newest) continue;
    story_->Fail(vm->name, " has the event ", vm->last_sequence, " as its last, and the newest is ",
                 newest);
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

void Judge::AfterStart(Daemon* daemon, int number) {
  if (kernel_->dead()) return;
  started_at_ = kernel_->monotonic();
  number_ = number;
  deleted_ = daemon->journal().deleted;
  const std::string journal_id = daemon->log().identity().journal_id;
  const bool goes_on = daemon->handed_through() > 0;
  if (!goes_on && daemon->handed() == 0) reads_of_ = number;
  if (damaged_ || (!daemon->has_journal() && !goes_on)) BeginsWithoutRuns(number);
  if (daemon->has_journal()) replacement_is_due_ = false;
  if (damaged_) TakeNewJournal(*daemon);
  CheckVms(*daemon);
  std::map<uint64_t, v1::Event> handed;
  for (const EventPtr& event : daemon->log().ReadUncommitted().events) {
    if (event->sequence <= daemon->handed_through()) handed[event->sequence] = EventOf(*event);
  }
  if (!handed.empty()) story_->Reach("events that wait for the disk are handed over");
  if (journal_id_ != journal_id) {
    if (!journal_id_.empty() && newest() > 0) {
      story_->Reach("a start that reserves no sequences begins another journal");
      // A daemon whose disk hung before it had reserved any has saved nothing either.
      const bool saved = absl::c_any_of(entries_, [](const auto& entry) {
        return entry.second.event.durable() || entry.second.written;
      });
      if (saved && !may_be_renamed_) {
        story_->Fail("the journal was replaced");
      }
    }
    journal_id_ = journal_id;
    // The other one has the same events, as far as they are in the file.
    std::erase_if(entries_, [&](const auto& entry) {
      return !entry.second.event.durable() && !entry.second.written &&
             !handed.contains(entry.first);
    });
  } else if (!start_may_fail_) {
    may_be_renamed_ = false;
  }
  if (daemon->log().range().newest < newest()) {
    story_->Fail("the sequences after ", daemon->log().range().newest,
                 " are given again: ", newest(), " was public");
    return;
  }
  // Events that the journal holds, and those that only the daemon before it had.
  std::map<uint64_t, v1::Event> kept = ReadJournal(0, INT64_MAX);
  kept.merge(handed);
  const uint64_t oldest = kept.empty() ? 0 : kept.begin()->first;
  for (auto& [sequence, entry] : entries_) {
    if (sequence < oldest || entry.lost) continue;
    const auto it = kept.find(sequence);
    if (it == kept.end()) {
      if (MayBeThinned(sequence)) continue;
      entry.lost = true;
      if (goes_on && !gave_up_) story_->Fail("the event ", sequence, " was not handed over");
      if (entry.event.durable() || entry.written || sequence <= durable_) {
        story_->Fail("the event ", sequence, " was ",
                     entry.written ? "public at a stop in order" : "durable",
                     ", and is not in the journal after a restart");
      }
    } else if (ContentOf(it->second) != entry.content) {
      story_->Fail("the event ", sequence,
                   " is another one after a restart: ", it->second.ShortDebugString(),
                   " instead of ", entry.event.ShortDebugString());
    }
  }
  // Committed and deleted at once, before it was public.
  if (newest() + 1 < oldest) unseen_ = true;
  for (const auto& [sequence, event] : kept) {
    if (!entries_.contains(sequence)) Add(event, number - 1);  // committed, and not public in time
  }
  Look(daemon, number);
}

void Judge::AfterWriter(const Daemon& daemon) {
  if (kernel_->dead()) return;
  if (daemon.has_journal()) damaged_ = replacement_is_due_ = false;
  const EventRange range = daemon.log().range();
  committed_ = std::max(committed_, range.committed);
  // Nothing is known of a journal before it could be opened.
  if (range.durable < durable_ && range.durable != 0) {
    story_->Fail("the durable sequence falls from ", durable_, " to ", range.durable);
  }
  durable_ = std::max(durable_, range.durable);
  if (daemon.has_journal()) oldest_ = daemon.journal().oldest;
  const uint64_t deleted = std::exchange(deleted_, daemon.journal().deleted);
  if (daemon.has_journal() && deleted_ > deleted &&
      options_.retention_events > std::ssize(entries_) &&
      kernel_->monotonic() < started_at_ + absl::Minutes(10)) {
    story_->Fail("events are deleted for their age, and the clock has not run for ten minutes");
  }
  thinned_ = std::max(thinned_, daemon.journal().thinned);
  MarkKept(daemon);
}

void Judge::AfterPump(Daemon* daemon, int number) {
  Look(daemon, number);
  if (kernel_->dead()) return;
  CheckFiles(number);
  CheckVms(*daemon);
  gave_up_ = daemon->log().meters().lost_events.value() > 0;
  if (daemon->log().health().dropped_events > 0 && !std::exchange(dropped_, true)) {
    story_->Reach("bound: the log is full");
  }
  const NodeWatcher& watcher = daemon->watcher();
  if (watcher.counters().handovers > 0) story_->Reach("a VM goes on over a restart");
  // The bound of the VMs' descriptors may have been reached by then.
  if (daemon->handed() > 0 && watcher.counters().handovers_refused > 0 && !short_of_descriptors_ &&
      !without_runs_.contains(number) &&
      options_.max_vm_descriptors == Daemon::Options().max_vm_descriptors) {
    story_->Fail(watcher.counters().handovers_refused.value(), " of ", daemon->handed(),
                 " VMs do not go on with what was handed over");
  }
  const auto max = static_cast<size_t>(options_.max_vm_descriptors);
  // Descriptors that a thread of its own closes, such as a connection that was handed over and
  // refused.
  const uint64_t closing = watcher.counters().sockets_to_close;
  if (const size_t are = kernel_->vm_descriptors(); are > max + closing) {
    story_->Fail("VMs have ", are, " descriptors, and may have ", max);
  }
}

void Judge::Look(Daemon* daemon, int number) {
  if (kernel_->dead()) return;
  const EventLog& log = daemon->log();
  if (log.identity().journal_id != journal_id_) {
    story_->Fail("the journal was found corrupt and replaced");
    return;
  }
  const EventRange range = log.range();
  AfterWriter(*daemon);
  // A burst may be larger than the ring; what has left it is in the journal.
  const ReadResult next = log.Read(newest() + 1, 1);
  const uint64_t ring = next.in_journal_through.value_or(0) + 1;
  if (newest() + 1 < ring) {
    // A step that is larger than the ring, and than what is retained. The shipped ring holds any.
    if (newest() + 1 < oldest_ && !std::exchange(unseen_, true)) {
      story_->Reach("retention of what nobody could see");
    }
    if (oldest_ < ring) {
      const uint64_t first = std::max(oldest_, newest() + 1);
      const std::map<uint64_t, v1::Event> rows = ReadJournal(first, ring - 1);
      if (rows.size() < ring - first) thinned_unseen_ = ring - 1;
      for (const auto& [sequence, event] : rows) Add(event, number);
    }
  }
  while (newest() < log.range().newest) {
    const ReadResult page = log.Read(std::max(newest() + 1, ring), 1 << 20);
    bool any = false;
    for (const EventPtr& each : page.events) {
      if (each->sequence <= newest()) continue;
      const v1::Event event = EventOf(*each, each->sequence <= range.committed);
      any = true;
      CheckInTime(event);
      Add(event, number);
    }
    if (!any) break;
  }
  // Of what is before a hole's end some may be lost, and its GAP comes later.
  const bool hole = range.durable < range.committed;
  std::map<uint64_t, v1::Event> rows;
  if (hole) rows = ReadJournal(range.durable + 1, range.committed);
  for (auto it = entries_.upper_bound(marked_durable_);
       it != entries_.end() && it->first <= range.committed; ++it) {
    if (it->second.lost || (hole && it->first > range.durable && !rows.contains(it->first)))
      continue;
    it->second.event.set_durable(true);
  }
  marked_durable_ = std::max(marked_durable_, std::min(range.durable, newest()));
}

// Publication waits a second for the disk, and not longer.
void Judge::CheckInTime(const v1::Event& event) const {
  // With little room for what waits for the disk, the rest waits until the disk counts as hung.
  const absl::Duration max = absl::Milliseconds(drops() ? 3'500 : 1'500);
  const absl::Duration late = kernel_->Now().wall - FromTimestamp(event.observe_time());
  if (clock_steps_ || event.type() == v1::EVENT_TYPE_GAP || late <= max) return;
  story_->Fail("the event ", event.sequence(), " is public ", absl::FormatDuration(late),
               " after it was observed");
}

void Judge::Add(const v1::Event& event, int daemon) {
  const bool says_why = event.type() == v1::EVENT_TYPE_PROBLEMS_CHANGED ||
                        event.type() == v1::EVENT_TYPE_MONITOR_LOST;
  story_->Say("daemon", "published ", Describe(event), says_why ? ": " : "",
              says_why ? event.message() : "");
  story_->Reach("event ", v1::EventType_Name(event.type()).substr(11));
  entries_[event.sequence()] = {
      .event = event, .content = ContentOf(event), .taken_at = kernel_->monotonic()};
  if (event.has_missing()) TakeMissing(event);
  if (event.has_missing() && drops()) dropped_at_.push_back(kernel_->monotonic());
  if (event.type() == v1::EVENT_TYPE_GAP && event.vm().name().empty() &&
      absl::StrContains(event.message(), "events of VMs were dropped")) {
    left_out_at_.push_back(kernel_->monotonic());
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

// The process that ended unseen was there at its last sign of life.
void Judge::CheckTimes(const v1::Event& stopped) const {
  const Life* const life = LifeOf(stopped.vm().run_id());
  if (clock_steps_ || life == nullptr || !stopped.shutdown().has_last_seen_time()) return;
  const absl::Time gone = kernel_->Now().wall - (kernel_->monotonic() - life->gone_at);
  if (gone >= FromTimestamp(stopped.shutdown().last_seen_time())) return;
  story_->Fail("life ", life->number, " ended at ", absl::FormatTime(gone),
               ", and was seen alive later: ", stopped.ShortDebugString());
}

// A run that was handed over has no GAP.
void Judge::CheckGap(const v1::Event& event, int daemon) const {
  if (event.type() != v1::EVENT_TYPE_GAP || !event.has_vm()) return;
  const Life* const life = LifeOf(event.vm().run_id());
  if (life == nullptr || life->handed_to != daemon) return;
  if (event.message().find("when vmeventd stopped") == std::string::npos) return;
  story_->Fail("life ", life->number, " was handed over, and has a GAP: ", event.message());
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
  const bool asked = absl::c_any_of(life->sayings, [this](const Saying& saying) {
    return saying.kind == Saying::Kind::kRunState && saying.daemon == number_ && saying.was_read();
  });
  if (vm.uuid().empty() && asked && event.type() == v1::EVENT_TYPE_STOPPED) {
    story_->Fail("life ", life->number, " has ended without its UUID");
  }
  if (vm.uuid().empty() && known_uuids_.contains(vm.run_id())) {
    story_->Fail("the event ", event.sequence(), " of life ", life->number, " has lost its UUID");
  }
  if (!vm.uuid().empty() && event.durable()) known_uuids_.insert(vm.run_id());
}

void Judge::AfterStop() {
  if (damaged_) return;
  story_->Reach("a stop with a healthy disk");
  // A GAP of the next daemon may name what the queue for the disk has dropped.
  for (auto& [sequence, entry] : entries_) {
    entry.written = !entry.lost && (!gave_up_ || sequence <= durable_);
  }
  for (const auto& life : world_->lives()) {
    for (Saying& saying : life->sayings) saying.kept = saying.kept || saying.was_read();
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
    if (life->gone || !IsAlone(*life) || !IsLatest(*life)) continue;
    // A file that an earlier daemon wrote, and was killed before it was committed, is nobody's.
    if (life->attached == nullptr || life->daemons != std::set<int>{number}) continue;
    const Disk::FilePtr file =
        kernel_->disk().Find(absl::StrCat(kWatchedDirectory, "/", life->name, ".shutdown"));
    // One from before it was connected to is an earlier life's.
    const bool there = file != nullptr && file->inode > life->earlier_inode;
    const Saying* runs = nullptr;  // null again if an end was said since
    for (const Saying& saying : life->sayings) {
      const bool is_answer = saying.kind == Saying::Kind::kRunState;
      if (saying.kind == Saying::Kind::kReset || saying.kind == Saying::Kind::kResume ||
          (is_answer && (saying.text == "running" || saying.text == "suspended"))) {
        runs = &saying;
      } else if (saying.kind != Saying::Kind::kOther) {
        runs = nullptr;
      }
    }
    const bool goes_on = runs != nullptr && runs->was_read() && runs->heard_by == life->client &&
                         runs->at + kTakesBack <= kernel_->monotonic();
    if (!goes_on && absl::c_any_of(life->sayings, IsEnd)) continue;
    // A panic or a watchdog, which no reset and no resume heals, decides what the file is, until
    // the end.
    const bool stands = absl::c_any_of(life->sayings, [](const Saying& saying) {
      return saying.kind == Saying::Kind::kPanic || saying.kind == Saying::Kind::kWatchdog;
    });
    if (stands) continue;
    story_->Reach("a VM that runs has no shutdown file");
    if (there) story_->Fail("life ", life->number, " runs, and ", life->name, ".shutdown is there");
  }
}

void Judge::TakeMissing(const v1::Event& gap) {
  const uint64_t first = gap.missing().first();
  const uint64_t last = gap.missing().last();
  missing_.emplace_back(first, last);
  for (auto it = entries_.lower_bound(first); it != entries_.end() && it->first <= last; ++it) {
    Entry& entry = it->second;
    if (it->first == gap.sequence()) continue;
    // Of what the queue for the disk drops, some was written in between.
    if (entry.event.durable() && drops()) continue;
    if (entry.event.durable() && !entry.event.has_missing()) {
      story_->Fail("a GAP names the event ", it->first, ", which was durable");
    }
    entry.lost = true;
  }
}

void Judge::CheckSaid(const Life& life) const {
  if (!IsAlone(life) || dropped_ || unseen_) return;
  // Kinds of which each has exactly one event.
  using enum Saying::Kind;
  constexpr Saying::Kind kOnce[] = {kPowerdown, kPanic, kWatchdog, kHibernate, kOther};
  static const std::set<std::string> kOthers = {"", "SHUTDOWN", "STOP", "RESUME", "RESET"};
  int64_t left = absl::c_count_if(life.sayings, [&](const Saying& saying) {
    return saying.was_read() && absl::c_linear_search(kOnce, saying.kind);
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

bool Judge::IsWithdrawn(const Life& life) const {
  return absl::c_any_of(entries_, [&](const auto& entry) {
    const v1::Event& event = entry.second.event;
    return event.type() == v1::EVENT_TYPE_INTENT_ENDED && event.vm().run_id() == life.run_id;
  });
}

bool Judge::IsException(const Life& life, const v1::Event& stopped) const {
  const v1::ShutdownDetail& detail = stopped.shutdown();
  const auto is = static_cast<ShutdownClass>(detail.shutdown_class());
  const bool doubted =
      absl::c_linear_search(detail.caveats(), v1::SHUTDOWN_CAVEAT_POWERDOWN_UNSEEN);
  // A guest that obeys looks as one that powers itself off where nobody saw the press, of which the
  // caveat tells. A watchdog presses as well.
  const bool pressed =
      life.ending == &endings::kGuestObeysPress || life.ending == &endings::kWatchdogPresses;
  // No guest is expected to obey a press in the first seconds of its QEMU.
  const bool early = life.pressed < life.began + kGuestObeys;
  if (pressed && is == ShutdownClass::kUser && (doubted || early)) return true;
  // The counter of a cgroup does not say which of its processes was killed: without records of
  // signals a kill counts as one for memory, if another was killed for that since the daemon began
  // to follow the VM.
  const bool killed = life.process->wait_status == SIGKILL;
  if (is == ShutdownClass::kCrash && killed && life.others_oom_kill >= started_at_) return true;
  // Nobody has asked for the run state since the error, of a VM that ends as soon as it is
  // connected to, or as soon as it was handed over.
  const auto error =
      std::find_if(life.sayings.rbegin(), life.sayings.rend(),
                   [](const Saying& saying) { return saying.kind == Saying::Kind::kStop; });
  const bool asked = absl::c_any_of(life.sayings, [&](const Saying& saying) {
    return saying.kind == Saying::Kind::kRunState && saying.was_read() &&
           (error == life.sayings.rend() || saying.at >= error->at);
  });
  return life.ending == &endings::kInternalError && is == ShutdownClass::kAdmin && !asked;
}

std::string Judge::FaultOfProcess(const Life& life, int daemon) const {
  if (life.ended_under != daemon) return "its process ended while no daemon or another one ran";
  // A parent that reaps late leaves no status in time.
  const bool reads_exit = kernel_->features().pidfd_exit &&
                          life.process->reaped_at < life.gone_at + absl::Milliseconds(50);
  if (!reads_exit) return "its exit status cannot be read";
  const bool killed = life.sender != -1;
  // The counter of its cgroup shows a kill for memory, too.
  if (killed && life.kill_seen_by != daemon && life.ending != &endings::kRunsOutOfMemory) {
    return "nobody recorded who sent its signal";
  }
  if (life.uuid.empty()) {
    return life.gone_at - life.left_daemon_at < kMonitorGrace ? ""
                                                              : "its monitor was not followed then";
  }
  return life.reported.has_value() || killed ? "" : "libvirt does not know how it ended";
}

std::string Judge::FaultOf(const Life& life, const v1::Event& stopped, int daemon) const {
  using enum Saying::Kind;
  const Ending& ending = *life.ending;
  if (ending.truth == ShutdownClass::kUnknown) return "nobody knows who ended it";
  if (kernel_->refused_at() >= life.began) return "descriptors ran out";
  if (options_.max_vm_descriptors != Daemon::Options().max_vm_descriptors) {
    return "VMs may have few descriptors";
  }
  if (kernel_->clock_set_at() >= life.began) return "the clock was set";
  if (stopped.vm().pid() != life.process->pid) return "its process was not known";
  if (&ending == &endings::kKilledInMigration || &ending == &endings::kDomainKilledInMigration) {
    return "it may live on where it was migrated to";
  }
  if (&ending == &endings::kCrashes && life.guest_can_exit) return "its guest may have ended it";
  // What it said before a daemon had asked for its run state does not count, but for what stands.
  const auto first = absl::c_find_if(life.sayings, [](const Saying& saying) {
    return saying.kind == kRunState && saying.was_read();
  });
  if (first == life.sayings.end()) return "it was never asked for its run state";
  for (auto it = life.sayings.begin(); it != life.sayings.end(); ++it) {
    if (it->unsure) return "libvirt said it before its first list";
    const bool matters = it > first
                             ? it->kind != kRunState && it->kind != kOther
                             : it->kind != kRunState && it->kind != kOther && it->kind != kResume;
    const bool known = it->was_read() && (it->kept || it->daemon == daemon);
    if (matters && !known) return "not all that it said was read, and written";
  }
  if (life.voidable > -absl::InfiniteDuration() && life.voidable <= life.unseen_at) {
    return "a reset of it may have been missed";
  }
  if (life.resumed_since) return "it may have returned to a snapshot";
  if (&ending == &endings::kMigrated || &ending == &endings::kInternalError) {
    const bool answered = absl::c_any_of(life.sayings, [&](const Saying& saying) {
      return saying.kind == kRunState && saying.was_read() &&
             (saying.kept || saying.daemon == daemon) &&
             saying.text == (&ending == &endings::kMigrated ? "postmigrate" : "internal-error");
    });
    if (!answered) return "its run state was not asked for in time";
  }
  const bool reported = absl::c_any_of(life.sayings, [&](const Saying& saying) {
    return saying.kind == kManager && saying.was_read() && saying.daemon == daemon;
  });
  if (!life.uuid.empty() && !reported) return "libvirt has not reported its end";
  if (ending.by == Ending::By::kProcess) return FaultOfProcess(life, daemon);
  const bool followed = life.uuid.empty() ? life.gone_at - life.left_daemon_at < kMonitorGrace
                                          : life.unseen_at < life.sayings.back().at;
  if (life.no_shutdown && (life.ended_under != daemon || !followed)) {
    return "it may have come up again";
  }
  return "";
}

void Judge::CheckClass(const Life& life, const v1::Event& stopped, int daemon,
                       const std::set<bool>& intended) {
  const v1::ShutdownDetail& detail = stopped.shutdown();
  const auto is = static_cast<ShutdownClass>(detail.shutdown_class());
  // A process that is not known has an end that shows nothing: its QEMU has never spoken.
  const std::string fault = life.ending == nullptr ? "it lives" : FaultOf(life, stopped, daemon);
  story_->Reach(fault.empty() ? "an end without faults" : absl::StrCat("fault: ", fault));
  std::set<ShutdownClass> allowed;
  for (const bool is_intended : intended) {
    const auto add = [&](ShutdownClass each) {
      allowed.insert(is_intended ? Intended(each, detail.rule()) : each);
    };
    if (life.ending != nullptr) add(life.ending->truth);
    if (!fault.empty()) add(ShutdownClass::kUnknown);
  }
  if (!allowed.contains(is) && (life.ending == nullptr || !IsException(life, stopped))) {
    std::vector<std::string> names;
    names.reserve(allowed.size());
    for (const ShutdownClass each : allowed) names.emplace_back(ShutdownClassName(each));
    story_->Fail("life ", life.number, " (", life.ending == nullptr ? "" : life.ending->what,
                 ") is classified ", ShutdownClassName(is), " by ", detail.rule(), "; it may be ",
                 absl::StrJoin(names, " or "), fault.empty() ? "" : absl::StrCat(", as ", fault));
  }
  if (life.ending != nullptr) CheckDetail(life, stopped, fault, daemon);
  CheckEvidence(life, detail, daemon);
}

void Judge::CheckDetail(const Life& life, const v1::Event& stopped, const std::string& fault,
                        int daemon) const {
  const v1::ShutdownDetail& detail = stopped.shutdown();
  const Ending& ending = *life.ending;
  const auto wrong = [&](const auto&... what) {
    story_->Fail("life ", life.number, " (", ending.what, "), by ", detail.rule(), ": ", what...);
  };
  const auto cause = static_cast<ShutdownCause>(detail.cause());
  // Others judge these.
  const bool others = cause == ShutdownCause::kHostShutdown ||
                      cause == ShutdownCause::kUnobserved || detail.has_intent() ||
                      ending.causes.size() == 0;
  const bool unread = absl::c_any_of(life.sayings, [](const Saying& saying) {
    return (saying.kind == Saying::Kind::kReset || saying.kind == Saying::Kind::kResume) &&
           !saying.was_read();
  });
  const bool doubtful =
      unread || life.resumed_since || life.others_oom_kill > -absl::InfiniteDuration() ||
      (life.voidable > -absl::InfiniteDuration() && life.voidable <= life.unseen_at);
  const bool legacy_press = life.major < 4 && cause == ShutdownCause::kHostPowerdown &&
                            life.pressed > -absl::InfiniteDuration();
  if (static_cast<ShutdownClass>(detail.shutdown_class()) == ending.truth && !others && !doubtful &&
      !legacy_press) {
    const auto known = absl::c_find(ending.causes, cause);
    const bool exact = fault.empty() && life.major >= 4;
    if (known == ending.causes.end() || (exact && known != ending.causes.begin())) {
      wrong("its cause is said to be ", ShutdownCauseName(cause));
    }
  }
  if (detail.has_sender()) {
    const int64_t sender = detail.sender().kernel() ? 0 : detail.sender().pid();
    if (sender != life.sender) wrong("sender ", sender, " instead of ", life.sender);
  } else if (fault.empty() && life.major >= 4 && life.kill_seen_by == daemon && life.sender != -1 &&
             (ending.by == Ending::By::kProcess || &ending == &endings::kSignal)) {
    wrong("its sender ", life.sender, " is missing");
  }
  const int status = life.process->wait_status;
  const bool by_signal = WIFSIGNALED(status);
  if ((detail.has_exit_code() && (by_signal || detail.exit_code() != WEXITSTATUS(status))) ||
      (detail.has_exit_signal() &&
       detail.exit_signal().number() != (by_signal ? WTERMSIG(status) : 0))) {
    wrong("its process ended otherwise: wait status ", status);
  }
}

// Each entry of its evidence stands: it was said since the last reset that the daemon has read.
void Judge::CheckEvidence(const Life& life, const v1::ShutdownDetail& detail, int daemon) const {
  using enum Saying::Kind;
  std::set<Saying::Kind> said;
  bool paused_by_watchdog = false;
  for (const Saying& saying : life.sayings) {
    const bool known = saying.was_read() && (saying.kept || saying.daemon == daemon);
    if (saying.kind == kReset && known) said.clear();
    said.insert(saying.kind);
    if (saying.kind == kWatchdog && saying.text == "pause") paused_by_watchdog = true;
    const bool goes_on = saying.kind == kReset || saying.kind == kResume;
    if (goes_on && saying.was_read() && saying.daemon == daemon) paused_by_watchdog = false;
    if (saying.kind == kRunState && saying.text == "guest-panicked") said.insert(kPanic);
  }
  const auto check = [&](absl::string_view what, Saying::Kind kind) {
    if (said.contains(kind)) return;
    story_->Fail("life ", life.number, " has the evidence \"", what,
                 "\", which was not said since its last reset");
  };
  if (detail.has_panic()) check("panic", kPanic);
  if (detail.cause() == v1::SHUTDOWN_CAUSE_HOST_POWERDOWN) check("powerdown age", kPowerdown);
  constexpr std::pair<absl::string_view, Saying::Kind> kEntries[] = {
      {"POWERDOWN", kPowerdown},  {"WATCHDOG", kWatchdog},
      {"GUEST_PANICKED", kPanic}, {"SUSPEND_DISK", kHibernate},
      {"SHUTDOWN", kShutdown},    {"the guest outlived its watchdog", kWatchdog}};
  for (const v1::Evidence& entry : detail.evidence()) {
    if (absl::StartsWith(entry.what(), "WATCHDOG action=pause") && !paused_by_watchdog) {
      story_->Fail("life ", life.number,
                   " was resumed since its watchdog paused it, and has the "
                   "evidence of that");
    }
    for (const auto& [text, kind] : kEntries) {
      if (absl::StartsWith(entry.what(), text)) check(entry.what(), kind);
    }
  }
}

// libvirt says how a domain ended some time after its process is gone. An end that nothing else
// explains waits for that.
void Judge::CheckReport(const Life& life, const v1::Event& stopped, int daemon) const {
  constexpr absl::Duration kWaits = absl::Seconds(55);
  constexpr absl::Duration kFollows = absl::Seconds(30);  // a list takes some time
  const auto heard = absl::c_find_if(life.sayings, [&](const Saying& saying) {
    return saying.kind == Saying::Kind::kResume && saying.was_read() && saying.daemon == daemon &&
           saying.at >= started_at_;
  });
  if (life.uuid.empty() || daemon != number_ || heard == life.sayings.end() ||
      life.ended_under != daemon || stopped.vm().pid() != life.process->pid) {
    return;
  }
  const bool connected =
      heard->at + kFollows < life.gone_at && life.unseen_at < heard->at && libvirtd_->Lists(life);
  const bool waited = life.gone_at + kWaits < kernel_->monotonic();
  if (!connected || waited || absl::c_any_of(life.sayings, IsEnd)) return;
  story_->Fail("life ", life.number, " ended by ", stopped.shutdown().rule(),
               ", and libvirt was about to say how it ended");
}

// An intent that had ended before the last reset that was seen belongs to an earlier end.
void Judge::CheckIntent(const Life& life, const v1::Event& stopped, int daemon) const {
  if (!stopped.shutdown().has_intent()) return;
  absl::Duration reset = -absl::InfiniteDuration();
  for (const Saying& saying : life.sayings) {
    const bool known = saying.was_read() && (saying.kept || saying.daemon == daemon);
    if (saying.kind == Saying::Kind::kReset && known) reset = saying.at;
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

void Judge::CheckStop(const v1::Event& event, int daemon) {
  const Life* const life = LifeOf(event.vm().run_id());
  for (const Declared& intent : life == nullptr ? std::vector<Declared>() : life->intents) {
    // The withdrawal's event stands before that of the end, whatever the disk does.
    constexpr absl::Duration kFirstScan = absl::Seconds(20);
    if (daemon == number_ && intent.asked_daemon == number_ &&
        intent.asked_daemon_at + kFirstScan < life->gone_at && !IsWithdrawn(*life)) {
      story_->Fail("nobody answers who withdraws an intent for life ", life->number);
    }
  }
  if (life == nullptr) {
    story_->Fail("STOPPED ", event.sequence(),
                 " of a run that there never was: ", event.vm().run_id());
    return;
  }
  // The process that listened for it has left before it spoke, and its monitor's end counts.
  const bool is_unknown = life->launcher != nullptr && event.vm().pid() == 0;
  if (!life->process_gone && !is_unknown) {
    story_->Fail("STOPPED ", event.sequence(), " of life ", life->number, ", whose process lives");
  }
  if (stopped_before_.contains(event.vm().run_id())) {
    story_->Fail("STOPPED ", event.sequence(), " of life ", life->number,
                 ", which stands in the journal before this one");
  }
  const std::string rule = event.shutdown().rule();
  story_->Reach("rule ", rule);
  const auto is = static_cast<ShutdownClass>(event.shutdown().shutdown_class());
  constexpr absl::Duration kLate = absl::Minutes(3);  // a disk that fails does so for a minute
  if (kernel_->monotonic() - std::max(life->gone_at, started_at_) > kLate) {
    story_->Fail("STOPPED ", event.sequence(), " of life ", life->number,
                 " came long after its process was gone");
  }
  // The last saying, on its last connection.
  const Saying* const last = life->sayings.empty() ? nullptr : &life->sayings.back();
  if (last != nullptr && life->uuid.empty() && last->kind == Saying::Kind::kShutdown &&
      last->heard_by != nullptr && last->daemon == number_ && daemon == number_ &&
      !last->was_read() && !last->heard_by->reset) {
    story_->Fail("STOPPED ", event.sequence(), " of life ", life->number,
                 " came before its SHUTDOWN was read");
  }
  CheckHostShutdown(*life, event, daemon);
  // What one daemon left out, it counts before it hands over to the next.
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
  const auto reach = [&](absl::string_view end) {
    const bool is_unseen = rule == "unobserved" || rule == "killed-unseen";
    absl::string_view what = " has its class";
    if (is_unseen) what = kernel_->features().pidfd_exit ? " is unseen" : " has no exit status";
    story_->Reach(end, " over a clean stop", what);
  };
  if (life->ended_unattended && life->handed_to == daemon && daemon == number_) reach("an end");
  if (life->ended_unattended && life->process_handed_to == daemon && daemon == number_) {
    reach("an end of a domain");
    if (rule == "unobserved" && life->reaped_before && life->process->wait_status != 0 &&
        kernel_->features().pidfd_exit && !short_of_descriptors_) {
      story_->Fail("nobody looked how the process of life ", life->number, " ended");
    }
  }
  // The end of a VM whose process is not known is its socket's, shortly before the process's.
  const absl::Duration decided_at = std::min(DecidedAt(*life), kernel_->monotonic());
  bool may_be_intended = false;
  bool must_be_intended = false;
  for (const Declared& intent : life->intents) {
    // A daemon may have accepted it and ended before its answer.
    const absl::Duration accepted = std::min(intent.answered, intent.asked + absl::Minutes(1));
    if (accepted + intent.ttl < decided_at) continue;
    if (intent.withdrawn_at < decided_at) continue;
    // Where it ends is not decided, a later intent may have taken its place.
    bool may_be_replaced = false;
    bool is_replaced = false;
    for (const Declared& other : life->intents) {
      if (other.asked <= intent.asked) continue;
      may_be_replaced = true;
      is_replaced = is_replaced || other.answered < decided_at;
    }
    if (is_replaced) continue;
    may_be_intended = true;
    if (may_be_replaced) continue;
    must_be_intended =
        must_be_intended || (!Forgets(intent) && intent.answered < decided_at &&
                             intent.asked + intent.ttl > kernel_->monotonic() && !intent.withdrawn);
  }
  std::set<bool> intended;
  if (!must_be_intended) intended.insert(false);
  if (may_be_intended) intended.insert(true);
  const bool rebooted = life->boot_id != kernel_->boot_id();
  const bool by_reboot = rule == "host-rebooted" || rule == "host-shutdown-unseen";
  if (daemon == number_ && rebooted && !by_reboot) {
    story_->Fail("life ", life->number, " ended with its host, and not by ", rule);
  }
  if (by_reboot && !rebooted) {
    story_->Fail("life ", life->number, " ends by a reboot, and there was none");
  }
  if (by_reboot &&
      is != (rule == "host-rebooted" ? ShutdownClass::kUnknown : ShutdownClass::kAdmin)) {
    story_->Fail("life ", life->number, " ends by ", rule, " and is ", ShutdownClassName(is));
  }
  if (!by_reboot) CheckClass(*life, event, daemon, intended);
  if (!life->uuid.empty() || !IsLatest(*life)) return;  // a domain has no file
  if (life->listed_as != life->name) return;            // the file is its other name's
  const bool there = kernel_->disk().Find(
                         absl::StrCat(kWatchedDirectory, "/", life->name, ".shutdown")) != nullptr;
  if (event.shutdown().shutdown_file_written() && !there) {
    story_->Fail("STOPPED ", event.sequence(), " says that ", life->name,
                 ".shutdown was written, and it is not there");
  }
  if (is == ShutdownClass::kUser && !there) {
    story_->Fail("STOPPED ", event.sequence(), " of a USER's end came before ", life->name,
                 ".shutdown");
  }
  if ((is == ShutdownClass::kAdmin || is == ShutdownClass::kCrash) && there) {
    story_->Fail("STOPPED ", event.sequence(), " is no USER's end, and ", life->name,
                 ".shutdown is there");
  }
}

void Judge::CheckRetention(const Daemon& daemon) {
  const std::map<uint64_t, v1::Event> rows = ReadJournal(0, INT64_MAX);
  const auto max = options_.retention_events + options_.retention_events / 100 + 1;
  if (static_cast<int64_t>(rows.size()) > max) {
    story_->Fail("the journal has ", rows.size(), " events, and may have ", max);
  }
  const absl::Time now = kernel_->Now().wall;
  // The daemon looks every ten minutes, and what came last stays.
  constexpr absl::Duration kLate = absl::Minutes(11);
  for (const auto& [sequence, event] : rows) {
    const absl::Duration age = now - FromTimestamp(event.observe_time());
    if (sequence != newest() && !clock_steps_ && age > options_.retention_age + kLate) {
      return story_->Fail("the event ", sequence, " is kept too long");
    }
  }
  for (const auto& [sequence, entry] : entries_) {
    if (entry.lost || rows.contains(sequence) || clock_steps_) continue;
    const absl::Duration age = now - FromTimestamp(entry.event.observe_time());
    if (age >= options_.retention_age) {
      story_->Reach("retention by age");
    } else if (static_cast<int64_t>(entries_.size()) <= options_.retention_events) {
      return story_->Fail("the event ", sequence, " was deleted too early");
    } else if (MayBeThinned(sequence)) {
      story_->Reach("retention by number");
    } else if (sequence > daemon.journal().deleted) {
      return story_->Fail("the event ", sequence, " is evidence, and was thinned out");
    }
  }
}

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

void Judge::AtEnd(const Daemon& daemon) {
  CheckRetention(daemon);
  if (daemon.log().health().dropped_events > 0 && left_out_at_.empty()) {
    story_->Fail("the log has left events out, and no GAP says so");
  }
  std::map<std::string, int> starts;
  std::map<std::string, int> stops;
  for (const auto& [sequence, entry] : entries_) {
    if (entry.lost) {
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
