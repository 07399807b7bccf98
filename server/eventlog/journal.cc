#include "server/eventlog/journal.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/sync_directory.h"
#include "base/uuid.h"
#include "server/eventlog/damage_report.h"
#include "server/eventlog/database_check.h"
#include "server/eventlog/evidence_types.h"
#include "server/eventlog/file_identity.h"
#include "server/eventlog/journal_file.h"
#include "server/eventlog/journal_rows.h"
#include "server/events/event_codec.h"
#include "server/events/event_matcher.h"
#include "server/events/logged_event.h"
#include "server/events/vm_registry.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr int64_t kApplicationId = 0x766D6576;  // "vmev"
constexpr int64_t kSchemaVersion = 6;
constexpr int64_t kRetainStep = 1'000;
constexpr int64_t kCountStep = 10'000;

// The types of kEvidence, as an SQL list.
#define VMEVENTD_EVIDENCE "(1, 2, 18, 19, 20)"

// Returns whether the list at the end of `sql` has the numbers of these types, in the same order.
template <size_t kCount>
constexpr bool ListsTypes(absl::string_view sql, const v1::EventType (&types)[kCount]) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  size_t at = 0;
  for (const v1::EventType type : types) {
    int number = 0;
    while (at < sql.size() && !is_digit(sql[at])) ++at;
    for (; at < sql.size() && is_digit(sql[at]); ++at) number = 10 * number + (sql[at] - '0');
    if (number != type) return false;
  }
  return sql.substr(at) == ")";
}
static_assert(ListsTypes(VMEVENTD_EVIDENCE, kEvidence), "not the types of kEvidence");
static_assert(ListsTypes(VMEVENTD_ENDS, kEndTypes), "not the types of kEndTypes");

constexpr char kSchema[] = R"sql(
  CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE vms(
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    run TEXT NOT NULL,
    source TEXT NOT NULL,
    ref BLOB NOT NULL,
    events INTEGER);
  CREATE INDEX vms_by_name ON vms(name, run);
  CREATE TABLE stored(
    sequence INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    type INTEGER NOT NULL,
    class INTEGER,
    vm INTEGER NOT NULL,
    event BLOB NOT NULL,
    since INTEGER);
  CREATE INDEX stored_by_vm ON stored(sequence >> 13, vm, type);
  CREATE INDEX stored_by_time ON stored(time);
  CREATE INDEX stored_by_since ON stored(since) WHERE since IS NOT NULL;
  CREATE INDEX stored_ends ON stored(sequence, class) WHERE )sql" VMEVENTD_ENDS R"sql(;
  CREATE VIEW events AS
    SELECT sequence, time, type, class, name AS vm, run, source, event, ref, stored.vm AS vm_id,
      since
    FROM stored LEFT JOIN vms ON vms.id = stored.vm;
  CREATE TABLE runs(run TEXT PRIMARY KEY, sequence INTEGER NOT NULL, state BLOB NOT NULL);
  CREATE TABLE stopped_vms(sequence INTEGER PRIMARY KEY, vm BLOB NOT NULL);
  CREATE TABLE noise(
    vm TEXT PRIMARY KEY,
    events INTEGER NOT NULL,
    first INTEGER NOT NULL) WITHOUT ROWID;
)sql";
static_assert(kGroupBits == 13);

// The beginning of a statement that finds at most ?2 events before ?1 to be deleted. A row whose
// sequence is garbled, and not above 0, is passed over by all statements.
#define VMEVENTD_GOING                                                                 \
  "INSERT INTO going SELECT sequence, time, stored.vm, type NOT IN " VMEVENTD_EVIDENCE \
  " FROM stored"
// The oldest events that were observed before ?3. A time after ?4 (now) comes from a clock that was
// ahead; the events that follow show the event's age.
constexpr char kFindExpired[] = R"sql(
  WITH oldest AS (SELECT sequence, time FROM stored
    WHERE sequence > 0 AND sequence < ?1 ORDER BY sequence LIMIT ?2)
  )sql" VMEVENTD_GOING R"sql( WHERE sequence > 0 AND sequence <= (
    SELECT max(sequence) FROM oldest WHERE time < ?3 AND sequence < ifnull(
      (SELECT min(sequence) FROM oldest WHERE time BETWEEN ?3 AND ?4), ?1)))sql";
// The oldest noise of the VMs that have more than half as much noise as the VM with the most; of
// all these VMs together, only the amount above that half.
constexpr char kFindNoise[] = R"sql(
  WITH half AS (SELECT max(events) / 2 AS events FROM noise),
    noisy AS (SELECT min(first) AS first, sum(noise.events - half.events) AS excess
      FROM noise, half WHERE noise.events > half.events)
  )sql" VMEVENTD_GOING R"sql( JOIN vms ON vms.id = stored.vm JOIN noise ON noise.vm = name
    WHERE sequence >= (SELECT noisy.first FROM noisy) AND sequence < ?1
      AND type NOT IN )sql" VMEVENTD_EVIDENCE R"sql(
      AND noise.events > (SELECT half.events FROM half)
    ORDER BY sequence LIMIT min(?2, (SELECT ifnull(excess, 0) FROM noisy)))sql";
constexpr char kFindOldest[] =
    VMEVENTD_GOING " WHERE sequence > 0 AND sequence < ?1 ORDER BY sequence LIMIT ?2";
constexpr char kDeleteGoing[] = R"sql(
  UPDATE noise SET events = noise.events - gone.events, first = through + 1
    FROM (SELECT name, count(*) AS events, max(sequence) AS through FROM going
      JOIN vms ON vms.id = going.vm WHERE noise GROUP BY name) AS gone WHERE noise.vm = name;
  DELETE FROM noise WHERE events = 0;
  UPDATE vms SET events = vms.events - gone.events
    FROM (SELECT vm, count(*) AS events FROM going GROUP BY vm) AS gone WHERE id = vm;
  DELETE FROM vms WHERE events = 0 AND id IN (SELECT vm FROM going);
  DELETE FROM stored WHERE sequence IN (SELECT sequence FROM going);
)sql";

void PutMeta(SqliteDatabase& database, const char* key, const std::string& value) {
  SqliteQuery(database, "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)", key, value).Run();
}

// Checks whether the database at `path` can be used as it is. UNIMPLEMENTED: it has another
// version.
absl::Status CheckSchema(SqliteDatabase& database, const std::string& path) {
  SqliteQuery row(database,
                  "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema"
                  " WHERE name IN ('meta', 'events', 'runs', 'stopped_vms')) "
                  "FROM pragma_user_version, pragma_application_id");
  row.Next();
  if (row.Int(1) == kApplicationId && row.Int(0) == kSchemaVersion) return absl::OkStatus();
  if (row.Int(1) == kApplicationId) {
    return absl::UnimplementedError(absl::StrCat(path, ": the journal has format ", row.Int(0),
                                                 ", this vmeventd needs format ", kSchemaVersion));
  }
  if (row.Int(2) >= 2) {
    return absl::DataLossError(
        absl::StrCat(path, ": the file's header has the application_id ", row.Int(1)));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      path,
      ": a database, but not a journal of vmeventd; move it away, or name another --state-dir"));
}

void PutIdentity(SqliteDatabase& database, const std::string& journal_id, const std::string& path) {
  PutMeta(database, "journal_id", journal_id);
  PutMeta(database, "file", FileIdentity(path));
}

void CreateSchema(SqliteDatabase& database, const std::string& path,
                  const std::string& journal_id) {
  SQLite::Transaction transaction(database, SQLite::TransactionBehavior::IMMEDIATE);
  database.exec(absl::StrCat(kSchema, "PRAGMA user_version = ", kSchemaVersion,
                             "; PRAGMA application_id = ", kApplicationId, ";"));
  PutIdentity(database, journal_id.empty() ? RandomUuid() : journal_id, path);
  transaction.commit();
}

}  // namespace

absl::StatusOr<Journal::Opened> Journal::Open(const JournalOptions& options, absl::Time now) {
  absl::StatusOr<Opened> opened = OpenLate(options, {});
  const absl::Status why = opened.status();
  if (!absl::IsDataLoss(why) && !absl::IsUnimplemented(why)) return opened;
  const absl::StatusOr<std::string> aside = MoveJournalAside(options.path, now);
  if (!aside.ok()) return aside.status();
  const bool is_there = access(aside->c_str(), F_OK) == 0;
  spdlog::error("{}; starting a new journal", std::string(why.message()));
  opened = OpenLate(options, {});
  if (!opened.ok()) return opened;
  opened->replaced =
      !is_there ? "the journal's file was removed"
                : absl::StrCat(
                      "the journal was ", absl::IsDataLoss(why) ? "damaged" : "of another version",
                      " and was moved to ", *aside, "; the events before this one are there");
  const absl::Status status = opened->journal->Transact([&](JournalBounds*) {
    PutMeta(*opened->journal->database_, "deleted_until", absl::StrCat(absl::ToUnixNanos(now)));
  });
  if (!status.ok()) return status;
  return opened;
}

absl::StatusOr<Journal::Opened> Journal::OpenLate(const JournalOptions& options,
                                                  const SequenceMark& begin) {
  if (absl::Status status = CheckReportedDamage(options.path); !status.ok()) return status;
  if (absl::Status status = CreateJournalFile(options.path); !status.ok()) return status;
  if (absl::Status status = CheckRoomOfJournal(options.path); !status.ok()) return status;
  Opened opened;
  absl::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    opened = {};
    opened.journal.reset(new Journal(options));
    try {
      status = opened.journal->Load(begin.journal_id, &opened);
      break;
    } catch (const SQLite::Exception& error) {
      status = opened.journal->Failure(error);
      const bool is_refuted =
          absl::IsDataLoss(SqliteError(options.path, error)) && absl::IsUnavailable(status);
      if (!is_refuted) break;
    }
  }
  // The identity is ours and the version is known: a table or column that is not there was lost.
  if (absl::IsInternal(status)) return absl::DataLossError(status.message());
  if (status.ok()) status = SyncJournalLog(options.path);
  if (!status.ok()) return status;
  if (begin.journal_id.empty()) return opened;
  Journal& journal = *opened.journal;
  if (journal.bounds().newest > begin.through) {
    return WithoutCheck(absl::DataLossError(absl::StrCat(
        options.path, ": the journal has events up to ", journal.bounds().newest,
        ", and the events of this vmeventd began after ", begin.through, "; restart vmeventd")));
  }
  journal.Rename(begin.journal_id);
  return opened;
}

void Journal::Connect() try {
  database_.emplace(options_.path);
  database_->exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
      "PRAGMA journal_size_limit = 67108864");
  database_->exec("CREATE TEMP TABLE going(sequence INTEGER PRIMARY KEY, time, vm, noise)");
} catch (const SQLite::Exception&) {
  database_.reset();
  throw;
}

absl::Status Journal::Failure(const SQLite::Exception& error) {
  absl::Status status = SqliteError(options_.path, error);
  if (!absl::IsDataLoss(status)) return status;
  database_.reset();
  return CheckDatabase(options_.path, status);
}

absl::Status Journal::Load(const std::string& journal_id, Opened* opened) {
  Connect();
  opened->created = SqliteQuery(*database_, "SELECT count(*) FROM sqlite_schema").Number() == 0;
  if (opened->created) CreateSchema(*database_, options_.path, journal_id);
  absl::Status status =
      opened->created ? SyncDirectoryOf(options_.path) : CheckSchema(*database_, options_.path);
  if (!status.ok()) return status;
  const auto id = QueryMeta(*database_, "journal_id");
  const auto file = QueryMeta(*database_, "file");
  bounds_ = FindBounds();
  opened->hole = {QueryMetaNumber(*database_, "hole_first"),
                  QueryMetaNumber(*database_, "hole_last")};
  SqliteQuery runs(*database_, "SELECT run, sequence, state FROM runs");
  while (runs.Next()) {
    opened->runs[std::string(runs.Bytes(0))] = {std::string(runs.Bytes(2)), runs.Uint(1)};
  }
  SqliteQuery stops(*database_, "SELECT vm FROM stopped_vms ORDER BY sequence");
  while (stops.Next()) {
    if (opened->stops.emplace_back().ParseFromString(std::string(stops.Bytes(0)))) continue;
    opened->stops.pop_back();
    spdlog::error("{}: skipping a damaged row of stopped_vms", options_.path);
  }
  if (!id.has_value() || !file.has_value()) {
    return absl::DataLossError(absl::StrCat(options_.path, ": meta has no journal_id or no file"));
  }
  journal_id_ = *id;
  opened->file = file_ = FileIdentity(options_.path);
  identity_is_stored_ = file_ == *file;
  if (!identity_is_stored_) {
    opened->replaced =
        absl::StrCat("the journal was restored from a copy, which ends with the event ",
                     bounds_.newest, "; what was observed since then is missing");
  }
  return absl::OkStatus();
}

JournalBounds Journal::FindBounds() {
  JournalBounds bounds{.deleted = QueryMetaNumber(*database_, "deleted"),
                       .thinned = QueryMetaNumber(*database_, "thinned")};
  SqliteQuery row(*database_, "SELECT count(*), max(sequence) FROM stored WHERE +sequence > 0");
  row.Next();
  bounds.events = row.Int(0);
  bounds.newest = std::max(row.Uint(1), bounds.deleted);
  FindOldest(&bounds);
  return bounds;
}

void Journal::FindOldest(JournalBounds* bounds) {
  SqliteQuery row(*database_,
                  "SELECT sequence, time FROM stored WHERE sequence > 0 ORDER BY sequence LIMIT 1");
  const bool found = row.Next();
  bounds->oldest = found ? row.Uint(0) : bounds->newest + 1;
  bounds->oldest_time = found ? absl::FromUnixNanos(row.Int(1)) : absl::InfiniteFuture();
}

template <typename Change>
absl::Status Journal::Transact(const Change& change) try {
  failed_ = true;
  if (!database_.has_value()) {
    Connect();
    bounds_ = FindBounds();
  }
  JournalBounds bounds = bounds_;
  SQLite::Transaction transaction(*database_, SQLite::TransactionBehavior::IMMEDIATE);
  change(&bounds);
  transaction.commit();
  failed_ = false;
  bounds_ = bounds;
  return absl::OkStatus();
} catch (const SQLite::Exception& error) {
  return Failure(error);
}

absl::Status Journal::Append(const JournalBatch& batch) {
  absl::Status status = Transact([&](JournalBounds* bounds) { Insert(batch, bounds); });
  identity_is_stored_ = identity_is_stored_ || status.ok();
  if (status.ok() &&
      (FileIdentity(options_.path) != file_ || FileIdentity(options_.path + "-wal").empty())) {
    return WithoutCheck(absl::DataLossError(absl::StrCat(
        options_.path, ": the file or its -wal was removed or replaced; restart vmeventd")));
  }
  return status;
}

void Journal::Insert(const JournalBatch& batch, JournalBounds* bounds) {
  if (!identity_is_stored_) PutIdentity(*database_, journal_id_, options_.path);
  int64_t inserted = 0;
  for (const EventPtr& event : batch.events) {
    // A commit that ended with an error may have been done.
    if (event->sequence <= bounds->newest) continue;
    const auto vm = Parsed<v1::VmRef>(event->vm_ref);
    const uint64_t vm_id = FindVm(vm, event->vm_ref);
    SqliteQuery(*database_,
                "INSERT INTO stored(sequence, time, type, class, vm, event, since)"
                " VALUES(?1, ?2, ?3, nullif(?4, 0), ?5, ?6, nullif(?7, ?2))",
                event->sequence, absl::ToUnixNanos(event->observe_time), int{event->type},
                int{event->shutdown_class}, vm_id, event->event, absl::ToUnixNanos(event->since))
        .Run();
    bounds->newest = event->sequence;
    ++inserted;
  }
  if (bounds->events == 0) FindOldest(bounds);
  bounds->events += inserted;
  if (!batch.hole.empty()) {
    PutMeta(*database_, "hole_first", absl::StrCat(batch.hole_is_named ? 0 : batch.hole.first));
    PutMeta(*database_, "hole_last", absl::StrCat(batch.hole_is_named ? 0 : batch.hole.last));
  }
  for (const auto& [run_id, run] : batch.runs) {
    if (run.payload.empty()) {
      SqliteQuery(*database_, "DELETE FROM runs WHERE run = ?", run_id).Run();
    } else {
      SqliteQuery(*database_,
                  "INSERT INTO runs(run, sequence, state) VALUES(?, ?, ?) ON CONFLICT(run)"
                  " DO UPDATE SET sequence = excluded.sequence, state = excluded.state",
                  run_id, run.last_sequence, absl::string_view(run.payload))
          .Run();
    }
  }
  for (const auto& [sequence, vm] : batch.stops) {
    SqliteQuery(*database_, "INSERT OR REPLACE INTO stopped_vms(sequence, vm) VALUES(?, ?)",
                sequence, absl::string_view(vm->SerializeAsString()))
        .Run();
  }
  if (batch.stops.empty()) return;
  SqliteQuery(*database_,
              "DELETE FROM stopped_vms WHERE sequence <= (SELECT sequence FROM stopped_vms"
              " ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
              VmRegistry::kMaxStopped)
      .Run();
}

uint64_t Journal::FindVm(const v1::VmRef& vm, absl::string_view ref) {
  const uint64_t id =
      SqliteQuery(*database_, "SELECT id FROM vms WHERE name = ? AND run = ? AND ref = ?",
                  vm.name(), vm.run_id(), ref)
          .Number();
  if (id != 0) return id;
  return SqliteQuery(*database_,
                     "INSERT INTO vms(name, run, source, ref) VALUES(?, ?, ?, ?) RETURNING id",
                     vm.name(), vm.run_id(), vm.source(), ref)
      .Number();
}

bool Journal::RetentionIsDue() const {
  if (bounds_.events <= 1 || failed_) return false;
  const int64_t excess = bounds_.events - options_.retention_events;
  return excess > options_.retention_events / 100;
}

bool Journal::ClockIsSteady(Instant now) {
  const absl::Duration passed = looked_.has_value() ? now.monotonic - looked_->monotonic : kExpiry;
  const bool agree =
      looked_.has_value() && absl::AbsDuration(now.wall - looked_->wall - passed) < absl::Hours(1);
  steady_ = agree && (steady_ || passed >= kExpiry);
  if (passed >= kExpiry) looked_ = now;
  return steady_;
}

absl::StatusOr<bool> Journal::Retain(Instant now) {
  const bool by_age = ClockIsSteady(now);
  bool more = false;
  const absl::Status status = Transact([&](JournalBounds* bounds) {
    const uint64_t newest = bounds->newest;
    const int64_t expired = absl::ToUnixNanos(now.wall - options_.retention_age);
    const int64_t excess = std::min(bounds->events - options_.retention_events, kRetainStep);
    more = CountEvents(*bounds) ||
           (by_age && Delete(SqliteQuery(*database_, kFindExpired, newest, kRetainStep, expired,
                                         absl::ToUnixNanos(now.wall)),
                             bounds)) ||
           // Evidence is deleted once no noise is left, the oldest first.
           (excess > 0 && (Delete(SqliteQuery(*database_, kFindNoise, newest, excess), bounds) ||
                           Delete(SqliteQuery(*database_, kFindOldest, newest, excess), bounds)));
  });
  if (!status.ok()) return status;
  return more;
}

bool Journal::CountEvents(const JournalBounds& bounds) {
  const uint64_t counted = QueryMetaNumber(*database_, "counted");
  if (counted >= bounds.newest) return false;
  const uint64_t through =
      SqliteQuery(*database_,
                  "SELECT max(sequence) FROM (SELECT sequence FROM stored WHERE sequence > ?"
                  " ORDER BY sequence LIMIT ?)",
                  counted, kCountStep)
          .Number();
  SqliteQuery(*database_,
              "UPDATE vms SET events = ifnull(vms.events, 0) + new.events"
              " FROM (SELECT vm, count(*) AS events FROM stored WHERE sequence > ? AND"
              " sequence <= ? GROUP BY vm) AS new WHERE id = new.vm",
              counted, through)
      .Run();
  SqliteQuery(
      *database_,
      "INSERT INTO noise SELECT name, count(*), min(sequence) FROM stored JOIN vms"
      " ON vms.id = vm WHERE sequence > ? AND sequence <= ? AND type NOT IN " VMEVENTD_EVIDENCE
      " GROUP BY name ON CONFLICT(vm) DO UPDATE"
      " SET events = events + excluded.events",
      counted, through)
      .Run();
  PutMeta(*database_, "counted", absl::StrCat(through));
  return through < bounds.newest;
}

bool Journal::Delete(SqliteQuery find, JournalBounds* bounds) {
  SqliteQuery(*database_, "DELETE FROM going").Run();
  find.Run();
  SqliteQuery found(*database_, "SELECT count(*), max(sequence) FROM going");
  found.Next();
  if (found.Int(0) == 0) return false;
  bounds->events -= found.Int(0);
  bounds->thinned = std::max(bounds->thinned, found.Uint(1));
  database_->exec(kDeleteGoing);
  FindOldest(bounds);
  // A GAP still stands for events that were thinned out earlier and are now before the oldest one:
  // their times are not known any more.
  SqliteQuery before(*database_, "SELECT max(sequence), max(time) FROM going WHERE sequence < ?",
                     bounds->oldest);
  before.Next();
  bounds->deleted = std::max(bounds->deleted, before.Uint(0));
  SqliteQuery(*database_,
              "INSERT INTO meta(key, value) VALUES('deleted_until', ?) ON CONFLICT(key) DO"
              " UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER))",
              before.Int(1))
      .Run();
  PutMeta(*database_, "deleted", absl::StrCat(bounds->deleted));
  PutMeta(*database_, "thinned", absl::StrCat(bounds->thinned));
  return true;
}

}  // namespace vmeventd
