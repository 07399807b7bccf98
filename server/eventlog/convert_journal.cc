#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <utility>

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

// Checksum of a row of the table `events`.
uint32_t ChecksumOfRow(const SqliteStatement& row) {
  return ChecksumOfEvent({.sequence = static_cast<uint64_t>(row.Int(0)),
                          .observe_ns = row.Int(1),
                          .vm_name = row.Bytes(2),
                          .run_id = row.Bytes(3),
                          .type = static_cast<uint64_t>(row.Int(4)),
                          .shutdown_class = static_cast<uint64_t>(row.Int(5)),
                          .payload = row.Bytes(6)});
}

// Collects rows of the table `events` into rows of `blocks`.
class BlockWriter {
 public:
  static absl::StatusOr<BlockWriter> Create(SqliteDatabase* database) {
    absl::StatusOr<SqliteStatement> insert = database->Prepare(kInsertBlock);
    if (!insert.ok()) return insert.status();
    return BlockWriter(*std::move(insert));
  }

  // The row that `row` stands at.
  absl::Status Add(const SqliteStatement& row) {
    const auto sequence = static_cast<uint64_t>(row.Int(0));
    const absl::string_view payload = row.Bytes(6);
    if (ChecksumOfRow(row) != row.Int(7)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of event ", sequence, " is wrong"));
    }
    const bool fits =
        sequence == last_ + 1 && builder_.bytes() + payload.size() <= EventBlockBuilder::kFullBytes;
    if (!fits) {
      if (absl::Status status = Flush(); !status.ok()) return status;
    }
    builder_.AddEncoded({.sequence = sequence,
                         .type = static_cast<v1::EventType>(row.Int(4)),
                         .shutdown_class = static_cast<v1::ShutdownClass>(row.Int(5)),
                         .observe_time = absl::FromUnixNanos(row.Int(1))},
                        payload);
    last_ = sequence;
    latest_ns_ = std::max(latest_ns_, row.Int(8));
    return absl::OkStatus();
  }

  absl::Status Flush() {
    if (builder_.empty()) return absl::OkStatus();
    row_.Add(*builder_.Finish());
    return BindBlock(row_.Finish(latest_ns_), &insert_).Run();
  }

 private:
  explicit BlockWriter(SqliteStatement insert) : insert_(std::move(insert)) {}

  SqliteStatement insert_;
  EventBlockBuilder builder_;
  BlockRowBuilder row_;
  uint64_t last_ = 0;
  int64_t latest_ns_ = INT64_MIN;
};

absl::Status CopyEvents(SqliteDatabase* database) {
  absl::StatusOr<BlockWriter> blocks = BlockWriter::Create(database);
  if (!blocks.ok()) return blocks.status();
  absl::StatusOr<SqliteStatement> rows = database->Prepare(
      "SELECT sequence, observe_time, vm_name, run_id, type, class, payload, checksum,"
      " coalesce(latest_time, observe_time) FROM old.events ORDER BY sequence");
  if (!rows.ok()) return rows.status();
  while (true) {
    absl::StatusOr<bool> row = rows->Step();
    if (!row.ok()) return row.status();
    if (!*row) return blocks->Flush();
    if (absl::Status status = blocks->Add(*rows); !status.ok()) return status;
  }
}

// Writes the log of the journal `old` into its file. UNAVAILABLE: another program reads it.
absl::Status EmptyOldLog(SqliteDatabase* database, const std::string& path) {
  absl::StatusOr<SqliteStatement> checkpoint =
      database->Prepare("PRAGMA old.wal_checkpoint(TRUNCATE)");
  if (!checkpoint.ok()) return checkpoint.status();
  absl::StatusOr<bool> row = checkpoint->Step();
  if (!row.ok()) return row.status();
  if (*row && checkpoint->Int(0) == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat(path, ": another program has it open; end that, so that it can be converted"));
}

absl::Status Write(const std::string& path, const std::string& converted) {
  absl::StatusOr<SqliteDatabase> database = SqliteDatabase::Open(
      converted, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW);
  if (!database.ok()) return database.status();
  // Nobody reads the new one before it is complete: it needs no log, and is synced once.
  absl::Status status = database->Execute(
      "PRAGMA journal_mode = OFF; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;");
  if (!status.ok()) return status;
  {
    absl::StatusOr<SqliteStatement> attach = database->Prepare("ATTACH ? AS old");
    if (!attach.ok()) return attach.status();
    if (status = attach->BindText(1, path).Run(); !status.ok()) return status;
  }
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
  absl::StatusOr<std::optional<std::string>> file = QueryMeta(&*database, "file");
  if (!file.ok()) return file.status();
  absl::StatusOr<std::optional<std::string>> generations = QueryMeta(&*database, "generations");
  if (!generations.ok()) return generations.status();
  if (WhyJournalIsCopy(path, {file->value_or(""), generations->value_or("")}).empty()) {
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
