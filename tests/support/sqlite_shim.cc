#include "tests/support/sqlite_shim.h"

#include <new>

namespace vmeventd::sqlite_shim {

File* Shim(sqlite3_file* file) { return reinterpret_cast<File*>(file); }

sqlite3_file* Real(sqlite3_file* file) { return Shim(file)->real; }

sqlite3_io_methods PassOn() {
  sqlite3_io_methods methods{};
  methods.iVersion = 2;
  methods.xClose = Forward<&sqlite3_io_methods::xClose>;
  methods.xRead = Forward<&sqlite3_io_methods::xRead>;
  methods.xWrite = Forward<&sqlite3_io_methods::xWrite>;
  methods.xTruncate = Forward<&sqlite3_io_methods::xTruncate>;
  methods.xSync = Forward<&sqlite3_io_methods::xSync>;
  methods.xFileSize = Forward<&sqlite3_io_methods::xFileSize>;
  methods.xLock = Forward<&sqlite3_io_methods::xLock>;
  methods.xUnlock = Forward<&sqlite3_io_methods::xUnlock>;
  methods.xCheckReservedLock = Forward<&sqlite3_io_methods::xCheckReservedLock>;
  methods.xFileControl = Forward<&sqlite3_io_methods::xFileControl>;
  methods.xSectorSize = Forward<&sqlite3_io_methods::xSectorSize>;
  methods.xDeviceCharacteristics = Forward<&sqlite3_io_methods::xDeviceCharacteristics>;
  methods.xShmMap = Forward<&sqlite3_io_methods::xShmMap>;
  methods.xShmLock = Forward<&sqlite3_io_methods::xShmLock>;
  methods.xShmBarrier = Forward<&sqlite3_io_methods::xShmBarrier>;
  methods.xShmUnmap = Forward<&sqlite3_io_methods::xShmUnmap>;
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
