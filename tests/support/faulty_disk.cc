#include "tests/support/faulty_disk.h"

#include <sqlite3.h>

#include "tests/support/sqlite_shim.h"

namespace vmeventd {
namespace {

using sqlite_shim::Real;

int fail_code = SQLITE_OK;
int calls_until_failure = 0;

bool paused = false;
int64_t lost_byte = -1;
int opens_until_failure = -1;
char is_database;  // its address marks the files of databases

int Fault() {
  if (fail_code == SQLITE_OK || paused) return SQLITE_OK;
  if (calls_until_failure > 0) {
    --calls_until_failure;
    return SQLITE_OK;
  }
  return fail_code;
}

int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
  const bool is_lost = sqlite_shim::Shim(file)->owner == &is_database && lost_byte >= at &&
                       lost_byte < at + size && !paused;
  if (is_lost) return SQLITE_IOERR_READ;
  return Real(file)->pMethods->xRead(Real(file), to, size, at);
}
int Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
  const int fault = Fault();
  return fault != SQLITE_OK ? fault : Real(file)->pMethods->xWrite(Real(file), from, size, at);
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  const int fault = Fault();
  return fault != SQLITE_OK ? fault : Real(file)->pMethods->xTruncate(Real(file), size);
}
int Sync(sqlite3_file* file, int flags) {
  const int fault = Fault();
  return fault != SQLITE_OK ? fault : Real(file)->pMethods->xSync(Real(file), flags);
}

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  static const sqlite3_io_methods methods = [] {
    sqlite3_io_methods made = sqlite_shim::PassOn();
    made.xRead = Read;
    made.xWrite = Write;
    made.xTruncate = Truncate;
    made.xSync = Sync;
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

void FaultyDisk::Pause(bool pause) { paused = pause; }

void FaultyDisk::Fail(int code, int after) {
  fail_code = code;
  calls_until_failure = after;
}

}  // namespace vmeventd
