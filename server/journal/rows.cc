#include "server/journal/rows.h"

#include <zlib.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// CRC-32, zlib's. Numbers as 8 bytes, little endian; texts behind their length.
class Crc {
 public:
  Crc& Add(uint64_t number) {
    unsigned char bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<unsigned char>(number >> (8 * i));
    crc_ = crc32(crc_, bytes, sizeof bytes);
    return *this;
  }
  Crc& Add(absl::string_view text) {
    Add(text.size());
    if (text.empty()) return *this;  // a null pointer makes zlib begin again
    crc_ = crc32_z(crc_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    return *this;
  }
  uint32_t value() const { return static_cast<uint32_t>(crc_); }

 private:
  uLong crc_ = crc32(0, nullptr, 0);
};

}  // namespace

uint32_t Checksum(const JournalEvent& event) {
  return Crc()
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
  return Crc().Add(session.run_id).Add(session.payload).Add(session.last_sequence).value();
}

uint32_t Checksum(const JournalStop& stop) { return Crc().Add(stop.sequence).Add(stop.vm).value(); }

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
