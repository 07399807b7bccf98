#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "server/eventlog/journal_rows.h"
#include "server/events/event_record.h"
#include "server/events/logged_event.h"
#include "tests/simulation/judge.h"
#include "tests/simulation/report.h"
#include "tests/support/client_events.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::simulation {

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
  story_->Log("host", "the journal is damaged");
  return true;
}

void Judge::TakeNewJournal(const Daemon& daemon) {
  // A journal that cannot be opened now is replaced by a later start.
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
  last_events_.clear();
  known_uuids_.clear();
  missing_.clear();
  unseen_ = true;  // earlier public events are in another journal
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

void Judge::BeginsWithoutRuns(int number) {
  story_->Reach("a daemon begins without the open runs");
  without_runs_[number] = started_at_;
  last_events_.clear();
  known_uuids_.clear();
  for (const auto& life : world_->lives()) {
    for (Report& report : life->reports) report.kept = false;
  }
}

void Judge::AfterStart(Daemon* daemon, int number) {
  if (kernel_->dead()) return;
  started_at_ = kernel_->monotonic();
  number_ = number;
  full_ = false;
  deleted_ = daemon->journal().deleted;
  had_journal_ = daemon->has_journal();
  const std::string journal_id = daemon->log().identity().journal_id;
  const bool has_handed_log = daemon->handed_through() > 0;
  if (!has_handed_log && daemon->handed() == 0) reads_of_ = number;
  if (damaged_ || (!daemon->has_journal() && !has_handed_log)) BeginsWithoutRuns(number);
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
    last_events_.clear();
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
      Lose(&entry);
      if (has_handed_log && !gave_up_) story_->Fail("the event ", sequence, " was not handed over");
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
  if (std::exchange(had_journal_, daemon.has_journal()) && deleted_ > deleted &&
      options_.retention_events > std::ssize(entries_) &&
      kernel_->monotonic() < started_at_ + absl::Minutes(10)) {
    story_->Fail("events are deleted for their age, and the clock has not run for ten minutes");
  }
  thinned_ = std::max(thinned_, daemon.journal().thinned);
  MarkKept(daemon);
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
  // Events before the end of a hole may be lost, and the GAP for them comes later.
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

void Judge::AfterStop() {
  stopped_at_ = kernel_->monotonic();
  if (damaged_) return;
  story_->Reach("a stop with a healthy disk");
  // A GAP of the next daemon may name what the queue for the disk has dropped.
  for (auto& [sequence, entry] : entries_) {
    entry.written = !entry.lost && (!gave_up_ || sequence <= durable_);
  }
  for (const auto& life : world_->lives()) {
    // Readings of an earlier daemon that it did not save are lost.
    for (Report& report : life->reports) {
      report.kept = report.kept || (report.was_read() && report.daemon >= reads_of_);
    }
  }
}

void Judge::TakeMissing(const v1::Event& gap) {
  const uint64_t first = gap.missing().first();
  const uint64_t last = gap.missing().last();
  missing_.emplace_back(first, last);
  for (auto it = entries_.lower_bound(first); it != entries_.end() && it->first <= last; ++it) {
    Entry& entry = it->second;
    if (it->first == gap.sequence()) continue;
    // The queue for the disk drops events from among others that were written.
    if (entry.event.durable() && drops()) continue;
    if (entry.event.durable() && !entry.event.has_missing()) {
      story_->Fail("a GAP names the event ", it->first, ", which was durable");
    }
    Lose(&entry);
  }
}

void Judge::Lose(Entry* entry) {
  entry->lost = true;
  last_events_.erase(entry->event.vm().run_id());
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

}  // namespace vmeventd::simulation
