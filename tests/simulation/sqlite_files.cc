#include "tests/simulation/sqlite_files.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdarg>

#include "tests/simulation/kernel.h"

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names of --wrap.
extern "C" {
int __wrap_open(const char*, int, ...);
int __wrap_close(int);
int __wrap_stat(const char*, struct stat*);
int __wrap_fstat(int, struct stat*);
int __wrap_fchmod(int, mode_t);
int __wrap_unlink(const char*);
ssize_t __wrap_pread(int, void*, size_t, off_t);
ssize_t __wrap_pwrite(int, const void*, size_t, off_t);
}
// NOLINTEND(bugprone-reserved-identifier)

namespace vmeventd::simulation {
namespace {

int Open(const char* path, int flags, int mode) { return __wrap_open(path, flags, mode); }

// An EIO would be damage for SQLite (SQLITE_IOERR_CORRUPTFS), at once and for the whole file.
ssize_t Read(int fd, void* to, size_t size, off_t at) {
  const ssize_t read = __wrap_pread(fd, to, size, at);
  if (read < 0) errno = EINVAL;
  return read;
}

int Truncate(int fd, off_t size) {
  Kernel& kernel = Kernel::Current();
  const Disk::FilePtr file = kernel.Look(fd, "");
  errno = kernel.disk().Truncate(kernel.PathOf(fd), file.get(), static_cast<size_t>(size));
  return errno == 0 ? 0 : -1;
}

// The locks of other processes, of which there are none.
int Fcntl(int /*fd*/, int command, ...) {
  va_list list;
  va_start(list, command);
  if (command == F_GETLK) va_arg(list, struct flock*)->l_type = F_UNLCK;
  va_end(list);
  return 0;
}

int Chown(int /*fd*/, uid_t /*user*/, gid_t /*group*/) { return 0; }

int Access(sqlite3_vfs*, const char* name, int, int* there) {
  *there = Kernel::Current().disk().Find(name) != nullptr ? 1 : 0;
  return SQLITE_OK;
}

int FullPathname(sqlite3_vfs*, const char* name, int size, char* to) {
  sqlite3_snprintf(size, to, "%s", name);
  return SQLITE_OK;
}

int Randomness(sqlite3_vfs*, int size, char* to) {
  for (int i = 0; i < size; ++i) to[i] = static_cast<char>(Kernel::Current().random().Next());
  return size;
}

int Sleep(sqlite3_vfs*, int microseconds) { return microseconds; }

int CurrentTimeInt64(sqlite3_vfs*, sqlite3_int64* milliseconds) {
  *milliseconds = 210866760000000 + Kernel::Current().wall_ns() / 1'000'000;
  return SQLITE_OK;
}

}  // namespace

void UseSimulatedFilesForSqlite() {
  // The one whose connections share their memory within the process.
  sqlite3_vfs* const real = sqlite3_vfs_find("unix-excl");
  const auto set = [real](const char* name, auto* call) {
    real->xSetSystemCall(real, name, reinterpret_cast<sqlite3_syscall_ptr>(call));
  };
  set("open", Open);
  set("close", __wrap_close);
  set("stat", __wrap_stat);
  set("fstat", __wrap_fstat);
  set("ftruncate", Truncate);
  set("fcntl", Fcntl);
  for (const char* name : {"pread", "pread64"}) set(name, Read);  // whichever it was built with
  for (const char* name : {"pwrite", "pwrite64"}) set(name, __wrap_pwrite);
  set("fchmod", __wrap_fchmod);
  set("fchown", Chown);
  set("unlink", __wrap_unlink);
  static sqlite3_vfs vfs = *real;
  vfs.xAccess = Access;
  vfs.xFullPathname = FullPathname;
  vfs.xRandomness = Randomness;
  vfs.xSleep = Sleep;
  vfs.xCurrentTimeInt64 = CurrentTimeInt64;
  sqlite3_vfs_register(&vfs, 1);
}

}  // namespace vmeventd::simulation
