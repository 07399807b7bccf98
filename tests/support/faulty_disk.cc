#include "tests/support/faulty_disk.h"

#include <sqlite3.h>

#include "tests/support/sqlite_shim.h"

namespace vmeventd {
namespace {

int fail_code = SQLITE_OK;
int calls_until_failure = 0;

bool syncs_paused = false;
int64_t lost_byte = -1;
int opens_until_failure = -1;
char is_database;  // its address marks the files of databases

int Fault() {
  if (fail_code == SQLITE_OK || syncs_paused) return SQLITE_OK;
  if (calls_until_failure > 0) {
    --calls_until_failure;
    return SQLITE_OK;
  }
  return fail_code;
}

int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
  const bool is_lost = sqlite_shim::Shim(file)->owner == &is_database && lost_byte >= at &&
                       lost_byte < at + size && !syncs_paused;
  if (is_lost) return SQLITE_IOERR_READ;
  return sqlite_shim::Forward<&sqlite3_io_methods::xRead, int>(file, to, size, at);
}

// Fails, or calls the same method of the real file.
template <auto kMethod, typename... Args>
int FailOrForward(sqlite3_file* file, Args... args) {
  const int fault = Fault();
  return fault != SQLITE_OK ? fault : sqlite_shim::Forward<kMethod, int>(file, args...);
}

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  static const sqlite3_io_methods methods = [] {
    sqlite3_io_methods made = sqlite_shim::PassOn();
    made.xRead = Read;
    made.xWrite = FailOrForward<&sqlite3_io_methods::xWrite>;
    made.xTruncate = FailOrForward<&sqlite3_io_methods::xTruncate>;
    made.xSync = FailOrForward<&sqlite3_io_methods::xSync>;
    return made;
  }();
  if ((flags & SQLITE_OPEN_MAIN_DB) != 0 && opens_until_failure >= 0 && --opens_until_failure < 0) {
    file->pMethods = nullptr;
    return SQLITE_IOERR;
  }
  const int code = sqlite_shim::Open(methods, vfs, name, file, flags, out_flags);
  if ((flags & SQLITE_OPEN_MAIN_DB) != 0) sqlite_shim::Shim(file)->owner = &is_database;
  return code;
}

sqlite3_vfs shim_vfs;

}  // namespace

FaultyDisk::FaultyDisk() {
  shim_vfs = sqlite_shim::MakeVfs("faulty", vmeventd::Open);
  sqlite3_vfs_register(&shim_vfs, 1);
}

FaultyDisk::~FaultyDisk() {
  Fail(SQLITE_OK);
  FailOpen(-1);
  FailReadsAt(-1);
  Pause(false);
  sqlite3_vfs_register(sqlite_shim::RealVfs(&shim_vfs), 1);
  sqlite3_vfs_unregister(&shim_vfs);
}

void FaultyDisk::FailOpen(int after) { opens_until_failure = after; }

void FaultyDisk::FailReadsAt(int64_t at) { lost_byte = at; }

void FaultyDisk::Pause(bool pause) { syncs_paused = pause; }

void FaultyDisk::Fail(int code, int after) {
  fail_code = code;
  calls_until_failure = after;
}

}  // namespace vmeventd
