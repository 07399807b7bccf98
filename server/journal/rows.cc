#include "server/journal/rows.h"

#include <endian.h>
#include <libdeflate.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/container/fixed_array.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// CRC-32, as zlib has it, but by the processor's carry-less multiplication. Numbers as 8 bytes,
// little endian; texts behind their length. What is added is put together first: one long piece
// takes a fraction of the time of many short ones.
class Crc {
 public:
  explicit Crc(size_t text_bytes) : bytes_(text_bytes + kMaxNumbers * sizeof(uint64_t)) {}
  Crc& Add(uint64_t number) {
    const uint64_t little_endian = htole64(number);
    std::memcpy(end_, &little_endian, sizeof(little_endian));
    end_ += sizeof(little_endian);
    return *this;
  }
  Crc& Add(absl::string_view text) {
    Add(text.size());
    end_ = std::copy(text.begin(), text.end(), end_);
    return *this;
  }
  uint32_t value() const {
    return libdeflate_crc32(0, bytes_.data(), static_cast<size_t>(end_ - bytes_.data()));
  }

 private:
  static constexpr size_t kMaxNumbers = 16;  // the lengths of texts among them
  static constexpr size_t kUsualBytes = 1024;

  absl::FixedArray<char, kUsualBytes> bytes_;
  char* end_ = bytes_.data();
};

}  // namespace

uint32_t Checksum(const JournalEvent& event) {
  return Crc(event.vm_name.size() + event.run_id.size() + event.payload.size())
      .Add(event.sequence)
      .Add(static_cast<uint64_t>(absl::ToUnixNanos(event.observe_time)))
      .Add(event.vm_name)
      .Add(event.run_id)
      .Add(static_cast<uint64_t>(event.type))
      .Add(static_cast<uint64_t>(event.shutdown_class))
      .Add(event.payload)
      .value();
}

uint32_t Checksum(const JournalSession& session) {
  return Crc(session.run_id.size() + session.payload.size())
      .Add(session.run_id)
      .Add(session.payload)
      .Add(session.last_sequence)
      .value();
}

uint32_t Checksum(const JournalStop& stop) {
  return Crc(stop.vm.size()).Add(stop.sequence).Add(stop.vm).value();
}

SqliteStatement& BindSession(const JournalSession& session, SqliteStatement* statement) {
  return statement->BindText(1, session.run_id)
      .BindBlob(2, session.payload)
      .Bind(3, static_cast<int64_t>(session.last_sequence))
      .Bind(4, Checksum(session));
}

absl::Status ReadSessions(SqliteDatabase* database, std::vector<JournalSession>* sessions) {
  absl::StatusOr<SqliteStatement> statement = database->Prepare(
      "SELECT run_id, payload, last_sequence, checksum FROM sessions ORDER BY run_id");
  if (!statement.ok()) return statement.status();
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    JournalSession session{std::string(statement->Bytes(0)), std::string(statement->Bytes(1)),
                           static_cast<uint64_t>(statement->Int(2))};
    if (Checksum(session) != statement->Int(3)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of session ", session.run_id, " is wrong"));
    }
    sessions->push_back(std::move(session));
  }
}

absl::StatusOr<std::vector<JournalStop>> ReadStops(SqliteDatabase* database) {
  absl::StatusOr<SqliteStatement> statement =
      database->Prepare("SELECT sequence, vm, checksum FROM stops ORDER BY sequence");
  if (!statement.ok()) return statement.status();
  std::vector<JournalStop> stops;
  while (true) {
    absl::StatusOr<bool> row = statement->Step();
    if (!row.ok()) return row.status();
    if (!*row) return stops;
    JournalStop stop{static_cast<uint64_t>(statement->Int(0)), std::string(statement->Bytes(1))};
    if (Checksum(stop) != statement->Int(2)) {
      return absl::DataLossError(
          absl::StrCat("the journal's checksum of stop ", stop.sequence, " is wrong"));
    }
    stops.push_back(std::move(stop));
  }
}

}  // namespace vmeventd
