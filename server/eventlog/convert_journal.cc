#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"
#include "server/eventlog/block_row.h"
#include "server/eventlog/journal_origin.h"
#include "server/eventlog/schema.h"
#include "server/eventlog/sequence_mark.h"
#include "server/eventlog/sqlite.h"
#include "server/events/event_block.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// Writes the events of the journal `old`.
absl::Status CopyEvents(SqliteDatabase* database) {
  EventBlockBuilder builder;
  BlockRowBuilder row;
  uint64_t last = 0;
  int64_t latest_ns = INT64_MIN;
  const auto flush = [&] {
    if (builder.empty()) return absl::OkStatus();
    row.Add(*builder.Finish());
    return PutBlock(database, row.Finish(latest_ns));
  };
  SqliteQuery events(
      database,
      "SELECT sequence, observe_time, vm_name, run_id, type, class, payload, checksum,"
      " coalesce(latest_time, observe_time) FROM old.events ORDER BY sequence");
  while (events.Next()) {
    const uint64_t sequence = events.Uint(0);
    const absl::string_view payload = events.Bytes(6);
    const RowChecksum checksum = RowChecksum()
                                     .Add(sequence)
                                     .Add(events.Uint(1))
                                     .Add(events.Bytes(2))
                                     .Add(events.Bytes(3))
                                     .Add(events.Uint(4))
                                     .Add(events.Uint(5))
                                     .Add(payload);
    if (checksum.value() != events.Int(7)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of event ", sequence, " is wrong"));
    }
    const bool fits =
        sequence == last + 1 && builder.bytes() + payload.size() <= EventBlockBuilder::kFullBytes;
    if (!fits) {
      if (absl::Status status = flush(); !status.ok()) return status;
    }
    builder.AddEncoded({.sequence = sequence,
                        .type = static_cast<v1::EventType>(events.Int(4)),
                        .shutdown_class = static_cast<v1::ShutdownClass>(events.Int(5)),
                        .observe_time = absl::FromUnixNanos(events.Int(1))},
                       payload);
    last = sequence;
    latest_ns = std::max(latest_ns, events.Int(8));
  }
  if (!events.status().ok()) return events.status();
  return flush();
}

// Writes the log of the journal `old` into its file. UNAVAILABLE: another program reads it.
absl::Status EmptyOldLog(SqliteDatabase* database, const std::string& path) {
  SqliteQuery checkpoint(database, "PRAGMA old.wal_checkpoint(TRUNCATE)");
  if (checkpoint.Next() && checkpoint.Int(0) == 0) return absl::OkStatus();
  if (!checkpoint.status().ok()) return checkpoint.status();
  return absl::UnavailableError(
      absl::StrCat(path, ": another program has it open; end that, so that it can be converted"));
}

absl::Status Write(const std::string& path, const std::string& converted) {
  absl::StatusOr<SqliteDatabase> database = SqliteDatabase::Open(converted, SQLITE_OPEN_READWRITE);
  if (!database.ok()) return database.status();
  // Nobody reads the new one before it is complete: it needs no log, and is synced once.
  absl::Status status = database->Execute(
      "PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;");
  if (!status.ok()) return status;
  status = SqliteQuery(&*database, "ATTACH ? AS old").BindText(path).Run();
  if (!status.ok()) return status;
  if (status = database->Execute("PRAGMA cell_size_check = ON"); !status.ok()) return status;
  if (status = EmptyOldLog(&*database, path); !status.ok()) return status;
  if (status = database->Execute("BEGIN"); !status.ok()) return status;
  if (status = CreateTables(&*database); !status.ok()) return status;
  status = database->Execute(
      "INSERT INTO main.meta SELECT key, value FROM old.meta;"
      "INSERT INTO main.sessions SELECT run_id, payload, last_sequence, checksum FROM old.sessions;"
      "INSERT INTO main.holes SELECT first, last FROM old.holes;"
      "INSERT INTO main.stops SELECT sequence, vm, checksum FROM old.stops;");
  if (status.ok()) status = CopyEvents(&*database);
  if (!status.ok()) return status;
  // It is another file now; but one that was a copy stays one.
  const absl::StatusOr<std::string> why_copied = WhyCopied(&*database, path);
  if (!why_copied.ok()) return why_copied.status();
  if (why_copied->empty()) {
    status = PutMeta(&*database, "file", OriginWith(converted, "").file);
    if (!status.ok()) return status;
  }
  return database->Execute("COMMIT");
}

}  // namespace

absl::Status ConvertJournal(const std::string& path) {
  const std::string converted = path + ".new";
  spdlog::info("{}: the journal has the format of an earlier version, and is converted", path);
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    unlink(absl::StrCat(converted, suffix).c_str());
  }
  {
    const UniqueFd made(
        open(converted.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640));
    if (made.get() < 0) {
      return absl::UnavailableError(
          ErrnoStatus(converted, "cannot be made to convert the journal", errno).message());
    }
  }
  if (absl::Status status = Write(path, converted); !status.ok()) {
    struct stat info {};
    const bool known = stat(path.c_str(), &info) == 0;
    unlink(converted.c_str());
    // A table or column that is not there was lost.
    if (absl::IsInternal(status)) return absl::DataLossError(status.message());
    if (!absl::IsUnavailable(status) || !known) return status;
    return absl::Status(
        status.code(),
        absl::StrCat(status.message(), "; to convert the journal takes up to ",
                     (info.st_size >> 20) + 1, " MiB beside it, and a disk that works"));
  }
  // The log is empty: it must not be taken for that of the new one.
  for (const char* suffix : {"-wal", "-shm"}) unlink(absl::StrCat(path, suffix).c_str());
  if (std::rename(converted.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(
        ErrnoStatus(converted, absl::StrCat("cannot be moved to ", path), errno).message());
  }
  return SyncDirectoryOf(path);
}

}  // namespace vmeventd
