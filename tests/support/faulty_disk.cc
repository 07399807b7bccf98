#include "tests/support/faulty_disk.h"

#include <sqlite3.h>

#include <new>

namespace vmeventd {
namespace {

int fail_code = SQLITE_OK;
int calls_until_failure = 0;

bool paused = false;

int Fault() {
  if (fail_code == SQLITE_OK || paused) return SQLITE_OK;
  if (calls_until_failure > 0) {
    --calls_until_failure;
    return SQLITE_OK;
  }
  return fail_code;
}

// SQLite allocates szOsFile bytes for each file: this, and the real one behind it.
struct ShimFile {
  sqlite3_file base;
  sqlite3_file* real;
};

sqlite3_file* Real(sqlite3_file* file) { return reinterpret_cast<ShimFile*>(file)->real; }

int Close(sqlite3_file* file) { return Real(file)->pMethods->xClose(Real(file)); }
int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
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
int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  return Real(file)->pMethods->xFileSize(Real(file), size);
}
int Lock(sqlite3_file* file, int lock) { return Real(file)->pMethods->xLock(Real(file), lock); }
int Unlock(sqlite3_file* file, int lock) { return Real(file)->pMethods->xUnlock(Real(file), lock); }
int CheckReservedLock(sqlite3_file* file, int* result) {
  return Real(file)->pMethods->xCheckReservedLock(Real(file), result);
}
int FileControl(sqlite3_file* file, int operation, void* argument) {
  return Real(file)->pMethods->xFileControl(Real(file), operation, argument);
}
int SectorSize(sqlite3_file* file) { return Real(file)->pMethods->xSectorSize(Real(file)); }
int DeviceCharacteristics(sqlite3_file* file) {
  return Real(file)->pMethods->xDeviceCharacteristics(Real(file));
}
int ShmMap(sqlite3_file* file, int page, int size, int extend, void volatile** out) {
  return Real(file)->pMethods->xShmMap(Real(file), page, size, extend, out);
}
int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  return Real(file)->pMethods->xShmLock(Real(file), offset, count, flags);
}
void ShmBarrier(sqlite3_file* file) { Real(file)->pMethods->xShmBarrier(Real(file)); }
int ShmUnmap(sqlite3_file* file, int remove) {
  return Real(file)->pMethods->xShmUnmap(Real(file), remove);
}

const sqlite3_io_methods kMethods = {2,
                                     Close,
                                     Read,
                                     Write,
                                     Truncate,
                                     Sync,
                                     FileSize,
                                     Lock,
                                     Unlock,
                                     CheckReservedLock,
                                     FileControl,
                                     SectorSize,
                                     DeviceCharacteristics,
                                     ShmMap,
                                     ShmLock,
                                     ShmBarrier,
                                     ShmUnmap,
                                     nullptr,
                                     nullptr};

sqlite3_vfs* RealVfs(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  auto* const shim = new (file) ShimFile;
  shim->real = reinterpret_cast<sqlite3_file*>(shim + 1);
  const int code = RealVfs(vfs)->xOpen(RealVfs(vfs), name, shim->real, flags, out_flags);
  shim->base.pMethods = shim->real->pMethods == nullptr ? nullptr : &kMethods;
  return code;
}

// The other methods receive the shim, which they do not inspect.
sqlite3_vfs* Shim() {
  static sqlite3_vfs shim = [] {
    sqlite3_vfs* const real = sqlite3_vfs_find(nullptr);
    sqlite3_vfs made = *real;
    made.szOsFile = static_cast<int>(sizeof(ShimFile)) + real->szOsFile;
    made.zName = "faulty";
    made.pAppData = real;
    made.xOpen = Open;
    return made;
  }();
  return &shim;
}

}  // namespace

FaultyDisk::FaultyDisk() { sqlite3_vfs_register(Shim(), 1); }

FaultyDisk::~FaultyDisk() {
  Fail(SQLITE_OK);
  Pause(false);
  sqlite3_vfs_register(static_cast<sqlite3_vfs*>(Shim()->pAppData), 1);
  sqlite3_vfs_unregister(Shim());
}

void FaultyDisk::Pause(bool pause) { paused = pause; }

void FaultyDisk::Fail(int code, int after) {
  fail_code = code;
  calls_until_failure = after;
}

}  // namespace vmeventd
