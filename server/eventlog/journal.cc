#include "server/eventlog/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/random.h"
#include "server/eventlog/unreadable.h"

namespace vmeventd {
namespace {

// Events deleted per retention step, which is short enough to fit unnoticed between two appends.
constexpr int64_t kRetainRows = 500;

// Number of the VMs that stopped last that are kept for the answers about VMs.
constexpr int64_t kMaxStops = 10'000;

// SQLite gives a new file the mode that its umask leaves; the write-ahead log takes the database's.
absl::Status CreateFile(const std::string& path) {
  const int fd =
      open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
  if (fd < 0) {
    return absl::UnavailableError(ErrnoStatus(path, "cannot open the journal", errno).message());
  }
  struct stat info {};
  const bool known = fstat(fd, &info) == 0;
  close(fd);
  if (!known || !S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": this is no regular file; move it away"));
  }
  if (info.st_uid != geteuid()) {
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": belongs to the user with the id ", info.st_uid, ", and vmeventd runs as ",
        geteuid(), ": give it to that user, or run vmeventd as its owner"));
  }
  return absl::OkStatus();
}

// The identity is ours and the version is known: a table or column that is not there was lost.
absl::Status LostIsDamage(const absl::Status& status) {
  return absl::IsInternal(status) ? absl::DataLossError(status.message()) : status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const JournalOptions& options,
                                                       const JournalBeginning& beginning) {
  if (absl::Status status = CreateFile(options.path); !status.ok()) return status;
  absl::StatusOr<SqliteDatabase> database =
      SqliteDatabase::Open(options.path, SQLITE_OPEN_READWRITE);
  if (!database.ok()) return database.status();
  std::unique_ptr<Journal> journal(new Journal(options, *std::move(database)));
  // `cell_size_check` finds more corruption, `trusted_schema` runs nothing that a foreign file
  // brings along. The limit keeps the log small after a burst. Nothing is changed in a file that is
  // not ours.
  absl::Status status = journal->database_.Execute(
      "PRAGMA busy_timeout = 500; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;");
  if (status.ok()) status = CheckSchema(&journal->database_, options.path);
  if (status.ok()) {
    status = journal->database_.Execute(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = "
        "4194304;");
  }
  if (status.ok()) status = journal->database_.KeepLogFile();
  if (status.ok()) status = CreateSchemaIfNew(&journal->database_, beginning);
  if (status.ok()) status = journal->LoadIdentity();
  if (status.ok()) {
    absl::StatusOr<JournalBounds> bounds = ReadBounds(&journal->database_, options);
    if (bounds.ok()) journal->bounds_ = *bounds;
    status = bounds.status();
  }
  if (!status.ok()) return LostIsDamage(status);
  journal->file_ = FileKeyOf(options.path);
  journal->log_ = FileKeyOf(options.path + "-wal");
  return journal;
}

absl::StatusOr<std::string> Journal::WhatItReplaces() {
  if (bounds_.oldest <= bounds_.newest) return "";
  absl::StatusOr<std::optional<std::string>> replaces = QueryMeta(&database_, "replaces");
  if (!replaces.ok()) return replaces.status();
  return replaces->value_or("");
}

absl::Status Journal::RecordOrigin(bool new_identity) {
  const absl::StatusOr<std::string> generation = RandomUuid();
  if (!generation.ok()) return generation.status();
  const JournalOrigin origin = OriginWith(options_.path, *generation);
  std::string journal_id = journal_id_;
  std::string token_key = token_key_;
  if (new_identity) {
    absl::StatusOr<std::string> id = RandomUuid();
    if (!id.ok()) return id.status();
    absl::StatusOr<std::string> key = RandomBytes(32);
    if (!key.ok()) return key.status();
    journal_id = *std::move(id);
    token_key = *std::move(key);
  }
  const absl::Status status = Transact([&](JournalBounds*) {
    absl::Status put = PutMeta(&database_, "file", origin.file);
    if (put.ok()) put = PutMeta(&database_, "generations", origin.generations);
    if (put.ok()) put = PutMeta(&database_, "journal_id", journal_id);
    if (put.ok()) put = PutMeta(&database_, "token_key", token_key);
    return put;
  });
  // The earlier record still holds if the disk is full; but a copy must not continue with its old
  // id.
  if (!status.ok()) return absl::IsUnavailable(status) && !new_identity ? absl::OkStatus() : status;
  journal_id_ = journal_id;
  token_key_ = token_key;
  BeginGeneration(options_.path, *generation);
  return absl::OkStatus();
}

absl::Status Journal::SetDeletedUntil(absl::Time time) {
  return Transact([&](JournalBounds* bounds) {
    bounds->deleted_until = time;
    return PutMeta(&database_, "deleted_until", absl::StrCat(absl::ToUnixNanos(time)));
  });
}

absl::Status Journal::CheckInPlace() const {
  for (const auto& [path, key] :
       {std::pair(options_.path, file_), std::pair(options_.path + "-wal", log_)}) {
    if (IsOtherFile(key, FileKeyOf(path))) {
      return absl::DataLossError(
          absl::StrCat(path, ": this file was moved, removed or replaced while vmeventd uses it"));
    }
  }
  return absl::OkStatus();
}

absl::Status Journal::LoadIdentity() {
  for (const auto& [key, value] :
       {std::pair("journal_id", &journal_id_), std::pair("token_key", &token_key_)}) {
    absl::StatusOr<std::optional<std::string>> found = QueryMeta(&database_, key);
    if (!found.ok()) return found.status();
    if (!found->has_value()) {
      return absl::DataLossError(absl::StrCat(options_.path, ": meta has no ", key));
    }
    *value = **std::move(found);
  }
  return absl::OkStatus();
}

absl::Status Journal::ReadSaved(std::vector<SavedRun>* runs, std::vector<JournalStop>* stops) {
  absl::Status status = ReadRuns(&database_, runs);
  if (status.ok()) status = ReadStops(&database_, stops);
  return LostIsDamage(status);
}

std::vector<SavedRun> Journal::ReadableRuns() {
  std::vector<SavedRun> runs;
  ReadRuns(&database_, &runs).IgnoreError();
  return runs;
}

absl::Status Journal::Transact(const std::function<absl::Status(JournalBounds*)>& change) {
  JournalBounds bounds = bounds_;
  absl::Status status = SqliteQuery(&database_, "BEGIN IMMEDIATE").Run();
  if (status.ok()) status = change(&bounds);
  if (status.ok()) status = SqliteQuery(&database_, "COMMIT").Run();
  // Commits to files that nobody finds again are not durable.
  if (status.ok()) status = CheckInPlace();
  if (!status.ok()) {
    // If this fails as well, the connection has rolled back by itself.
    if (database_.in_transaction()) database_.Execute("ROLLBACK").IgnoreError();
    return status;
  }
  bounds_ = bounds;
  return absl::OkStatus();
}

absl::Status Journal::Append(const Batch& batch, absl::Time now) {
  absl::Status retained;
  int64_t written = 0;
  for (const EventBlockPtr& block : batch.blocks) written += static_cast<int64_t>(block->size());
  absl::Status status = Transact([&](JournalBounds* bounds) {
    absl::Status inserted = Insert(batch, bounds);
    const bool deletes = retention_problem_.ok() && Excess(*bounds) > slack();
    if (!inserted.ok() || !deletes) return inserted;
    retained = DeleteOld(now, 2 * written, bounds);
    return retained;
  });
  if (retained.ok() || absl::IsDataLoss(retained)) return status;
  retention_problem_ = retained;
  // Old events that cannot be deleted do not keep out new ones.
  return Transact([&](JournalBounds* bounds) { return Insert(batch, bounds); });
}

absl::Status Journal::ExtendTo(const EventBlock& block, JournalBounds* bounds) {
  const uint64_t first = block.first_sequence();
  if (first <= bounds->newest) {
    return absl::InternalError(
        absl::StrCat(options_.path, ": event ", first,
                     " is given to the journal again, which has events up to ", bounds->newest));
  }
  // Missing events were given up before, not lost later.
  if (first != bounds->newest + 1) {
    absl::Status status =
        SqliteQuery(&database_, "INSERT OR REPLACE INTO holes(first, last) VALUES(?, ?)")
            .Bind(bounds->newest + 1)
            .Bind(first - 1)
            .Run();
    if (!status.ok()) return status;
    if (bounds->newest >= bounds->oldest) {
      bounds->missing += static_cast<int64_t>(first - bounds->newest - 1);
    }
  }
  if (bounds->newest < bounds->oldest) {
    bounds->oldest = first;  // unbroken_from is newest + 1 still
    bounds->oldest_time = block.at(0).observe_time;
  }
  bounds->newest = block.last_sequence();
  return absl::OkStatus();
}

absl::Status Journal::InsertRow(JournalBounds* bounds) {
  if (row_.empty()) return absl::OkStatus();
  const size_t bytes = row_.bytes();
  const StoredBlock::Columns columns = row_.Finish(bounds->latest_time == absl::InfinitePast()
                                                       ? INT64_MIN
                                                       : absl::ToUnixNanos(bounds->latest_time));
  bounds->latest_time = absl::FromUnixNanos(columns.latest_ns);
  if (bounds->unmerged_bytes == 0 && bytes >= options_.row_bytes / 2) {
    bounds->merged_to = columns.last;
  } else {
    bounds->unmerged_bytes += bytes;
  }
  return PutBlock(&database_, columns);
}

absl::Status Journal::MergeRows(JournalBounds* bounds) {
  if (bounds->unmerged_bytes < options_.row_bytes) return absl::OkStatus();
  BlockRowBuilder merged;
  int rows = 0;
  bool full = false;  // or nothing more fits
  {
    BlockQuery blocks(&database_, bounds->merged_to + 1);
    while (const StoredBlock* const block = full ? nullptr : blocks.NextBlock()) {
      full = !merged.empty() && (block->first() != merged.last() + 1 ||
                                 merged.bytes() + block->bytes() > options_.row_bytes);
      if (full) break;
      merged.Add(*block);
      ++rows;
      full = merged.bytes() >= options_.row_bytes;
    }
    if (!blocks.status().ok()) return blocks.status();
  }
  if (!full) {  // retention has deleted others
    bounds->unmerged_bytes = merged.bytes();
    return absl::OkStatus();
  }
  bounds->merged_to = merged.last();
  bounds->unmerged_bytes -= std::min(bounds->unmerged_bytes, merged.bytes());
  if (rows == 1) return absl::OkStatus();
  absl::Status status = SqliteQuery(&database_, "DELETE FROM blocks WHERE last BETWEEN ? AND ?")
                            .Bind(merged.first())
                            .Bind(merged.last())
                            .Run();
  if (!status.ok()) return status;
  return PutBlock(&database_, merged.Finish(INT64_MIN));
}

absl::Status Journal::Insert(const Batch& batch, JournalBounds* bounds) {
  row_.Clear();
  for (const EventBlockPtr& block : batch.blocks) {
    const bool fits = block->first_sequence() == row_.last() + 1 &&
                      row_.bytes() + block->encodings().size() <= BlockRowBuilder::kFullBytes;
    absl::Status status = fits ? absl::OkStatus() : InsertRow(bounds);
    if (status.ok()) status = ExtendTo(*block, bounds);
    if (!status.ok()) return status;
    row_.Add(*block);
  }
  if (absl::Status status = InsertRow(bounds); !status.ok()) return status;
  for (const SavedRun& saved : batch.runs) {
    absl::Status status = saved.payload.empty()
                              ? SqliteQuery(&database_, "DELETE FROM sessions WHERE run_id = ?")
                                    .BindText(saved.run_id)
                                    .Run()
                              : PutRun(&database_, saved);
    if (!status.ok()) return status;
  }
  for (const JournalStop& stop : batch.stops) {
    absl::Status status = SqliteQuery(&database_,
                                      "INSERT OR REPLACE INTO stops(sequence, vm, checksum)"
                                      " VALUES(?, ?, ?)")
                              .Bind(stop.sequence)
                              .BindBlob(stop.vm)
                              .Bind(Checksum(stop))
                              .Run();
    if (status.ok() && ++bounds->stops > kMaxStops) {
      --bounds->stops;
      status = SqliteQuery(&database_,
                           "DELETE FROM stops WHERE sequence = (SELECT min(sequence) FROM stops)")
                   .Run();
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Journal::RetainStep(absl::Time now) {
  const uint64_t before = bounds_.oldest;
  retention_problem_ = Transact([&](JournalBounds* bounds) {
    absl::Status status = DeleteOld(now, kRetainRows, bounds);
    return status.ok() ? MergeRows(bounds) : status;
  });
  if (!retention_problem_.ok()) {
    SetReadErrorPlace(absl::StrCat("event ", before), &retention_problem_);
    return retention_problem_;
  }
  return bounds_.oldest >= before + kRetainRows || has_small_rows();
}

}  // namespace vmeventd
