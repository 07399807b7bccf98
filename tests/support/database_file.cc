#include "tests/support/database_file.h"

#include <fstream>

#include "gtest/gtest.h"
#include "server/eventlog/sqlite.h"

namespace vmeventd {

absl::Status ExecuteSql(const std::string& path, const std::string& sql) try {
  SqliteDatabase(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE).exec(sql);
  return absl::OkStatus();
} catch (const SQLite::Exception& error) {
  return SqliteError(path, error);
}

void GarbleDatabase(const std::string& path) {
  ASSERT_TRUE(ExecuteSql(path, "PRAGMA wal_checkpoint(TRUNCATE)").ok());
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file << std::string(4096, '\x5a');
}

}  // namespace vmeventd
