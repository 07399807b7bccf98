#include "server/journal_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/journal.h"

namespace vmeventd {

absl::StatusOr<std::unique_ptr<JournalReader>> JournalReader::Open(const std::string& path) {
  absl::StatusOr<SqliteDatabase> database =
      SqliteDatabase::Open(path, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW);
  if (!database.ok()) return database.status();
  std::unique_ptr<JournalReader> reader(new JournalReader(*std::move(database)));
  absl::Status status = reader->database_.Execute(
      "PRAGMA busy_timeout = 500; PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;");
  if (!status.ok()) return status;
  const struct {
    const char* sql;
    std::unique_ptr<SqliteStatement>* statement;
  } statements[] = {
      {"SELECT sequence, observe_time, vm_name, run_id, type, class, payload, checksum FROM events"
       " WHERE sequence BETWEEN ? AND ? ORDER BY sequence",
       &reader->read_from_},
      {"SELECT sequence FROM events WHERE observe_time >= ? ORDER BY sequence LIMIT 1",
       &reader->first_since_},
  };
  for (const auto& [sql, statement] : statements) {
    absl::StatusOr<SqliteStatement> prepared = reader->database_.Prepare(sql);
    if (!prepared.ok()) return prepared.status();
    *statement = std::make_unique<SqliteStatement>(*std::move(prepared));
  }
  return reader;
}

absl::StatusOr<std::vector<EventBlockPtr>> JournalReader::ReadFrom(uint64_t sequence, uint64_t last,
                                                                   size_t max_bytes) {
  std::vector<EventBlockPtr> blocks;
  EventBlockBuilder builder;
  size_t bytes = 0;
  uint64_t expected = 0;
  read_from_->Bind(1, static_cast<int64_t>(sequence)).Bind(2, static_cast<int64_t>(last));
  while (bytes < max_bytes) {
    absl::StatusOr<bool> row = read_from_->Step();
    if (!row.ok()) return row.status();
    if (!*row) break;
    const JournalEvent event = {.sequence = static_cast<uint64_t>(read_from_->Int(0)),
                                .observe_time = absl::FromUnixNanos(read_from_->Int(1)),
                                .vm_name = read_from_->Bytes(2),
                                .run_id = read_from_->Bytes(3),
                                .type = static_cast<int>(read_from_->Int(4)),
                                .shutdown_class = static_cast<int>(read_from_->Int(5)),
                                .payload = read_from_->Bytes(6)};
    if (Checksum(event) != read_from_->Int(7)) {
      read_from_->Reset();
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of event ", event.sequence, " is wrong"));
    }
    // A block holds consecutive sequences; events that were given up while the disk was full leave
    // a hole.
    if (!builder.empty() && (builder.full() || event.sequence != expected)) {
      blocks.push_back(builder.Finish());
    }
    builder.AddEncoded({.sequence = event.sequence,
                        .vm_name = event.vm_name,
                        .run_id = event.run_id,
                        .type = static_cast<v1::EventType>(event.type),
                        .shutdown_class = static_cast<v1::ShutdownClass>(event.shutdown_class),
                        .observe_time = event.observe_time},
                       event.payload);
    bytes += event.payload.size();
    expected = event.sequence + 1;
  }
  read_from_->Reset();
  if (!builder.empty()) blocks.push_back(builder.Finish());
  return blocks;
}

absl::StatusOr<uint64_t> JournalReader::FirstSince(absl::Time time) {
  first_since_->Bind(1, absl::ToUnixNanos(time));
  absl::StatusOr<bool> row = first_since_->Step();
  if (!row.ok()) return row.status();
  const uint64_t sequence = *row ? static_cast<uint64_t>(first_since_->Int(0)) : 0;
  first_since_->Reset();
  return sequence;
}

}  // namespace vmeventd
