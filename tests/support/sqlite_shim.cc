#include "tests/support/sqlite_shim.h"

#include <new>

namespace vmeventd::sqlite_shim {
namespace {

const sqlite3_io_methods& Methods(sqlite3_file* file) { return *Real(file)->pMethods; }

}  // namespace

File* Shim(sqlite3_file* file) { return reinterpret_cast<File*>(file); }

sqlite3_file* Real(sqlite3_file* file) { return Shim(file)->real; }

sqlite3_io_methods PassOn() {
  sqlite3_io_methods methods{};
  methods.iVersion = 2;
  methods.xClose = [](sqlite3_file* file) { return Methods(file).xClose(Real(file)); };
  methods.xRead = [](sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
    return Methods(file).xRead(Real(file), to, size, at);
  };
  methods.xWrite = [](sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
    return Methods(file).xWrite(Real(file), from, size, at);
  };
  methods.xTruncate = [](sqlite3_file* file, sqlite3_int64 size) {
    return Methods(file).xTruncate(Real(file), size);
  };
  methods.xSync = [](sqlite3_file* file, int flags) {
    return Methods(file).xSync(Real(file), flags);
  };
  methods.xFileSize = [](sqlite3_file* file, sqlite3_int64* size) {
    return Methods(file).xFileSize(Real(file), size);
  };
  methods.xLock = [](sqlite3_file* file, int lock) {
    return Methods(file).xLock(Real(file), lock);
  };
  methods.xUnlock = [](sqlite3_file* file, int lock) {
    return Methods(file).xUnlock(Real(file), lock);
  };
  methods.xCheckReservedLock = [](sqlite3_file* file, int* result) {
    return Methods(file).xCheckReservedLock(Real(file), result);
  };
  methods.xFileControl = [](sqlite3_file* file, int operation, void* argument) {
    return Methods(file).xFileControl(Real(file), operation, argument);
  };
  methods.xSectorSize = [](sqlite3_file* file) { return Methods(file).xSectorSize(Real(file)); };
  methods.xDeviceCharacteristics = [](sqlite3_file* file) {
    return Methods(file).xDeviceCharacteristics(Real(file));
  };
  methods.xShmMap = [](sqlite3_file* file, int page, int size, int extend, void volatile** out) {
    return Methods(file).xShmMap(Real(file), page, size, extend, out);
  };
  methods.xShmLock = [](sqlite3_file* file, int offset, int count, int flags) {
    return Methods(file).xShmLock(Real(file), offset, count, flags);
  };
  methods.xShmBarrier = [](sqlite3_file* file) { Methods(file).xShmBarrier(Real(file)); };
  methods.xShmUnmap = [](sqlite3_file* file, int remove) {
    return Methods(file).xShmUnmap(Real(file), remove);
  };
  return methods;
}

sqlite3_vfs MakeVfs(const char* name, decltype(sqlite3_vfs::xOpen) open) {
  sqlite3_vfs* const real = sqlite3_vfs_find(nullptr);
  sqlite3_vfs vfs = *real;  // its other methods receive the shim, which they do not inspect
  vfs.szOsFile = static_cast<int>(sizeof(File)) + real->szOsFile;
  vfs.zName = name;
  vfs.pAppData = real;
  vfs.xOpen = open;
  return vfs;
}

sqlite3_vfs* RealVfs(sqlite3_vfs* vfs) { return static_cast<sqlite3_vfs*>(vfs->pAppData); }

int Open(const sqlite3_io_methods& methods, sqlite3_vfs* vfs, const char* name, sqlite3_file* file,
         int flags, int* out_flags) {
  File* const shim = new (file) File{};
  shim->real = reinterpret_cast<sqlite3_file*>(shim + 1);
  const int code = RealVfs(vfs)->xOpen(RealVfs(vfs), name, shim->real, flags, out_flags);
  shim->base.pMethods = shim->real->pMethods == nullptr ? nullptr : &methods;
  return code;
}

}  // namespace vmeventd::sqlite_shim
