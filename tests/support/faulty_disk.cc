#include "tests/support/faulty_disk.h"

#include <sqlite3.h>

#include "tests/support/sqlite_shim.h"

namespace vmeventd {
namespace {

int fail_code = SQLITE_OK;
int read_code = SQLITE_OK;
int64_t fail_from = 0;
int calls_until_failure = 0;
bool syncs_paused = false;

int Fault() {
  if (fail_code == SQLITE_OK || syncs_paused) return SQLITE_OK;
  if (calls_until_failure > 0) {
    --calls_until_failure;
    return SQLITE_OK;
  }
  return fail_code;
}

// Fails, or calls the same method of the real file.
template <auto kMethod, typename... Args>
int FailOrForward(sqlite3_file* file, Args... args) {
  const int fault = Fault();
  return fault != SQLITE_OK ? fault : sqlite_shim::Forward<kMethod, int>(file, args...);
}

int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
  if (read_code != SQLITE_OK && at + size > fail_from) return read_code;
  return sqlite_shim::Forward<&sqlite3_io_methods::xRead, int>(file, to, size, at);
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
  return sqlite_shim::Open(methods, vfs, name, file, flags, out_flags);
}

sqlite3_vfs shim_vfs;

}  // namespace

FaultyDisk::FaultyDisk() {
  shim_vfs = sqlite_shim::MakeVfs("faulty", vmeventd::Open);
  sqlite3_vfs_register(&shim_vfs, 1);
}

FaultyDisk::~FaultyDisk() {
  Fail(SQLITE_OK);
  FailReads(SQLITE_OK);
  Pause(false);
  sqlite3_vfs_register(sqlite_shim::RealVfs(&shim_vfs), 1);
  sqlite3_vfs_unregister(&shim_vfs);
}

void FaultyDisk::Pause(bool pause) { syncs_paused = pause; }

void FaultyDisk::FailReads(int code, int64_t from) {
  read_code = code;
  fail_from = from;
}

void FaultyDisk::Fail(int code, int after) {
  fail_code = code;
  calls_until_failure = after;
}

}  // namespace vmeventd
