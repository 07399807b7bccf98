#pragma once

#include <sqlite3.h>

// A layer between SQLite and its files, which passes every call on. A test replaces the methods
// that are its subject.

namespace vmeventd::sqlite_shim {

// SQLite allocates szOsFile bytes for each file: this, and the real file behind it.
struct File {
  sqlite3_file base;
  sqlite3_file* real;
  void* owner;  // free for the test's use; null after an open
};

File* Shim(sqlite3_file* file);
sqlite3_file* Real(sqlite3_file* file);

// Calls the same method of the real file.
template <auto kMethod, typename Result, typename... Args>
Result Forward(sqlite3_file* file, Args... args) {
  return (Real(file)->pMethods->*kMethod)(Real(file), args...);
}

// Every method passes its call on to the real file.
sqlite3_io_methods PassOn();

// A VFS over the default one, named `name`, which must outlive it. `open` must call Open().
sqlite3_vfs MakeVfs(const char* name, decltype(sqlite3_vfs::xOpen) open);
sqlite3_vfs* RealVfs(sqlite3_vfs* vfs);

// Opens the real file; what is called on it goes to `methods`.
int Open(const sqlite3_io_methods& methods, sqlite3_vfs* vfs, const char* name, sqlite3_file* file,
         int flags, int* out_flags);

}  // namespace vmeventd::sqlite_shim
