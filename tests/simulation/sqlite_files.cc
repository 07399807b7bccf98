#include <sqlite3.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/kernel.h"
#include "tests/simulation/simulation.h"

namespace vmeventd::simulation {
namespace {

// State that the connections to one database share, as processes share it through the file.
struct Shared {
  int readers = 0;            // connections with SQLITE_LOCK_SHARED or more
  void* reserved = nullptr;   // the connection that has that lock, or more
  void* exclusive = nullptr;  // pending or exclusive
  int maps = 0;               // connections that use the shared memory
  std::vector<std::unique_ptr<std::array<char, 32768>>> regions;
  std::array<int, SQLITE_SHM_NLOCK> shm_readers{};
  std::array<void*, SQLITE_SHM_NLOCK> shm_writer{};
};

std::map<Disk::File*, std::shared_ptr<Shared>>& All() {
  static auto* const all = new std::map<Disk::File*, std::shared_ptr<Shared>>();
  return *all;
}

struct State {
  std::string path;
  Disk::FilePtr file;
  std::shared_ptr<Shared> shared;
  int fd = -1;  // the descriptor that the file would take
  int lock = SQLITE_LOCK_NONE;
  bool mapped = false;
  bool keeps_log = false;
  std::array<bool, SQLITE_SHM_NLOCK> shm_shared{};
};
struct SqliteFile {
  sqlite3_file base;
  State* state;
};
State& StateOf(sqlite3_file* file) { return *reinterpret_cast<SqliteFile*>(file)->state; }

int CodeOf(int error, int code) {
  if (error == 0) return SQLITE_OK;
  return error == ENOSPC ? SQLITE_FULL : code;
}

int Unlock(sqlite3_file* file, int level) {
  State& state = StateOf(file);
  Shared& shared = *state.shared;
  if (level >= state.lock) return SQLITE_OK;
  if (shared.exclusive == file) shared.exclusive = nullptr;
  if (shared.reserved == file) shared.reserved = nullptr;
  if (level == SQLITE_LOCK_NONE) --shared.readers;
  state.lock = level;
  return SQLITE_OK;
}

int Lock(sqlite3_file* file, int level) {
  State& state = StateOf(file);
  Shared& shared = *state.shared;
  if (level <= state.lock) return SQLITE_OK;
  if (shared.exclusive != nullptr && shared.exclusive != file) return SQLITE_BUSY;
  if (level == SQLITE_LOCK_SHARED) {
    ++shared.readers;
  } else {
    if (shared.reserved != nullptr && shared.reserved != file) return SQLITE_BUSY;
    shared.reserved = file;
    if (level >= SQLITE_LOCK_PENDING) {
      shared.exclusive = file;
      if (level == SQLITE_LOCK_EXCLUSIVE && shared.readers > 1) {
        state.lock = SQLITE_LOCK_PENDING;
        return SQLITE_BUSY;
      }
    }
  }
  state.lock = level;
  return SQLITE_OK;
}

int CheckReservedLock(sqlite3_file* file, int* reserved) {
  *reserved = StateOf(file).shared->reserved != nullptr ? 1 : 0;
  return SQLITE_OK;
}

int ShmLock(sqlite3_file* file, int offset, int count, int flags) {
  State& state = StateOf(file);
  Shared& shared = *state.shared;
  const auto begin = static_cast<size_t>(offset);
  const size_t end = begin + static_cast<size_t>(count);
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    for (size_t i = begin; i < end; ++i) {
      if (state.shm_shared[i]) --shared.shm_readers[i];
      state.shm_shared[i] = false;
      if (shared.shm_writer[i] == file) shared.shm_writer[i] = nullptr;
    }
    return SQLITE_OK;
  }
  for (size_t i = begin; i < end; ++i) {
    if (shared.shm_writer[i] != nullptr && shared.shm_writer[i] != file) return SQLITE_BUSY;
    const int others = shared.shm_readers[i] - (state.shm_shared[i] ? 1 : 0);
    if ((flags & SQLITE_SHM_EXCLUSIVE) != 0 && others > 0) return SQLITE_BUSY;
  }
  for (size_t i = begin; i < end; ++i) {
    if ((flags & SQLITE_SHM_EXCLUSIVE) != 0) {
      shared.shm_writer[i] = file;
    } else if (!state.shm_shared[i]) {
      state.shm_shared[i] = true;
      ++shared.shm_readers[i];
    }
  }
  return SQLITE_OK;
}

int ShmUnmap(sqlite3_file* file, int) {
  State& state = StateOf(file);
  if (!state.mapped) return SQLITE_OK;
  state.mapped = false;
  ShmLock(file, 0, SQLITE_SHM_NLOCK, SQLITE_SHM_UNLOCK);
  if (--state.shared->maps == 0) state.shared->regions.clear();
  return SQLITE_OK;
}

int Close(sqlite3_file* file) {
  ShmUnmap(file, 0);
  Unlock(file, SQLITE_LOCK_NONE);
  State* const state = &StateOf(file);
  Disk::File* const key = state->file.get();
  const bool last = state->shared.use_count() == 2;
  if (last) All().erase(key);
  Kernel::Current().Close(state->fd);
  delete state;
  return SQLITE_OK;
}

int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
  const State& state = StateOf(file);
  if (Kernel::Current().disk().Try("read", state.path) != 0) return SQLITE_IOERR_READ;
  const std::string& content = state.file->content;
  const size_t begin = std::min(static_cast<size_t>(at), content.size());
  const size_t there = content.copy(static_cast<char*>(to), static_cast<size_t>(size), begin);
  if (there == static_cast<size_t>(size)) return SQLITE_OK;
  std::memset(static_cast<char*>(to) + there, 0, static_cast<size_t>(size) - there);
  return SQLITE_IOERR_SHORT_READ;
}

int Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
  const State& state = StateOf(file);
  const int error = Kernel::Current().disk().Write(
      state.path, state.file.get(), static_cast<size_t>(at),
      absl::string_view(static_cast<const char*>(from), static_cast<size_t>(size)));
  return CodeOf(error, SQLITE_IOERR_WRITE);
}

int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  const State& state = StateOf(file);
  return CodeOf(
      Kernel::Current().disk().Truncate(state.path, state.file.get(), static_cast<size_t>(size)),
      SQLITE_IOERR_TRUNCATE);
}

int Sync(sqlite3_file* file, int) {
  const State& state = StateOf(file);
  return CodeOf(Kernel::Current().disk().Sync(state.path, state.file.get()), SQLITE_IOERR_FSYNC);
}

int FileSize(sqlite3_file* file, sqlite3_int64* size) {
  *size = static_cast<sqlite3_int64>(StateOf(file).file->content.size());
  return SQLITE_OK;
}

int FileControl(sqlite3_file* file, int operation, void* value) {
  if (operation != SQLITE_FCNTL_PERSIST_WAL) return SQLITE_NOTFOUND;
  int* const keeps = static_cast<int*>(value);
  bool& keeps_log = StateOf(file).keeps_log;
  if (*keeps >= 0) keeps_log = *keeps != 0;
  *keeps = keeps_log ? 1 : 0;
  return SQLITE_OK;
}

int SectorSize(sqlite3_file*) { return 4096; }
int Characteristics(sqlite3_file*) { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; }

int ShmMap(sqlite3_file* file, int page, int size, int extend, void volatile** to) {
  State& state = StateOf(file);
  Shared& shared = *state.shared;
  *to = nullptr;
  if (size != 32768) return SQLITE_IOERR_SHMSIZE;
  if (!state.mapped) {
    state.mapped = true;
    ++shared.maps;
  }
  while (shared.regions.size() <= static_cast<size_t>(page)) {
    if (extend == 0) return SQLITE_OK;
    shared.regions.push_back(std::make_unique<std::array<char, 32768>>());
    shared.regions.back()->fill(0);
  }
  *to = shared.regions[static_cast<size_t>(page)]->data();
  return SQLITE_OK;
}

void ShmBarrier(sqlite3_file*) {}

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
                                     Characteristics,
                                     ShmMap,
                                     ShmLock,
                                     ShmBarrier,
                                     ShmUnmap,
                                     nullptr,
                                     nullptr};

int Open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  file->pMethods = nullptr;
  Kernel& kernel = Kernel::Current();
  const std::string path = name == nullptr ? "/run/sqlite-temporary" : name;
  if (kernel.disk().Try("open", path) != 0) return SQLITE_CANTOPEN;
  Disk::FilePtr found = kernel.disk().Find(path);
  if (found == nullptr && (flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
  const int fd = kernel.OpenUnused(path);
  if (fd < 0) return SQLITE_CANTOPEN;
  if (found == nullptr) {
    found = kernel.disk().Make(path, S_IFREG | 0640, kernel.wall_ns());
  }
  std::shared_ptr<Shared>& shared = All()[found.get()];
  if (shared == nullptr) shared = std::make_shared<Shared>();
  auto* const made = reinterpret_cast<SqliteFile*>(file);
  made->state = new State{path, found, shared, fd};
  file->pMethods = &kMethods;
  if (out_flags != nullptr) *out_flags = flags;
  return SQLITE_OK;
}

int Delete(sqlite3_vfs*, const char* name, int) {
  Kernel& kernel = Kernel::Current();
  if (kernel.disk().Try("unlink", name) != 0) return SQLITE_IOERR_DELETE;
  return kernel.disk().Unlink(name) ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

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
  static sqlite3_vfs vfs{};
  vfs.iVersion = 2;
  vfs.szOsFile = sizeof(SqliteFile);
  vfs.mxPathname = 512;
  vfs.zName = "simulation";
  vfs.xOpen = Open;
  vfs.xDelete = Delete;
  vfs.xAccess = Access;
  vfs.xFullPathname = FullPathname;
  vfs.xRandomness = Randomness;
  vfs.xSleep = Sleep;
  vfs.xCurrentTimeInt64 = CurrentTimeInt64;
  sqlite3_vfs_register(&vfs, 1);
}

}  // namespace vmeventd::simulation
