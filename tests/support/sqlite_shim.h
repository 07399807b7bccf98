#pragma once

#include <sqlite3.h>

// A layer between SQLite and its files that forwards every call. A test replaces the methods that
// it wants to change.

namespace vmeventd::sqlite_shim {

// SQLite allocates szOsFile bytes for each file: for this struct and, after it, the real file.
struct File {
  sqlite3_file base;
  sqlite3_file* real;
  void* owner;  // for the test's use; null after Open()
};

File* Shim(sqlite3_file* file);
sqlite3_file* Real(sqlite3_file* file);

// Calls the same method of the real file.
template <auto kMethod, typename Result, typename... Args>
Result Forward(sqlite3_file* file, Args... args) {
  return (Real(file)->pMethods->*kMethod)(Real(file), args...);
}

// Returns methods each of which forwards its call to the real file.
sqlite3_io_methods PassOn();

// A VFS on top of the default one. `name` must outlive it. `open` must call Open().
sqlite3_vfs MakeVfs(const char* name, decltype(sqlite3_vfs::xOpen) open);
sqlite3_vfs* RealVfs(sqlite3_vfs* vfs);

// Opens the real file. Calls on `file` go to `methods`.
int Open(const sqlite3_io_methods& methods, sqlite3_vfs* vfs, const char* name, sqlite3_file* file,
         int flags, int* out_flags);

}  // namespace vmeventd::sqlite_shim
