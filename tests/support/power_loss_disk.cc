#include "tests/support/power_loss_disk.h"

#include <sqlite3.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <new>
#include <optional>
#include <utility>
#include <vector>

namespace vmeventd {
namespace {

namespace fs = std::filesystem;

// One change that is not synced: a write, or a new size of the file.
struct Change {
  size_t offset = 0;
  std::string bytes;
  std::optional<size_t> size;
};
struct DiskFile {
  std::string durable;
  std::vector<Change> changes;
};

bool active = false;
std::map<std::string, DiskFile> files;      // by path, of SQLite
std::map<std::string, std::string> synced;  // by path, what fdatasync made durable
std::function<void()> before_change = [] {};

std::string ContentOf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void WriteTo(std::string* content, size_t offset, const char* bytes, size_t size) {
  if (content->size() < offset + size) content->resize(offset + size);
  std::copy(bytes, bytes + size, content->begin() + static_cast<ptrdiff_t>(offset));
}

void Apply(const Change& change, std::string* content) {
  if (change.size.has_value()) {
    content->resize(*change.size);
  } else {
    WriteTo(content, change.offset, change.bytes.data(), change.bytes.size());
  }
}

// Applies all of it, nothing, or some of its sectors.
void ApplyPart(const Change& change, std::string* content, std::mt19937_64& random) {
  switch (random() % 3) {
    case 0:
      return;
    case 1:
      return Apply(change, content);
    default:
      break;
  }
  if (change.size.has_value()) return;
  constexpr size_t kSector = 512;
  for (size_t at = 0; at < change.bytes.size();) {
    const size_t end = std::min(change.bytes.size(),
                                ((change.offset + at) / kSector + 1) * kSector - change.offset);
    if (random() % 2 == 0) {
      WriteTo(content, change.offset + at, change.bytes.data() + at, end - at);
    }
    at = end;
  }
}

struct ShimFile {
  sqlite3_file base;
  sqlite3_file* real;
  DiskFile* disk;  // null: not tracked
};

ShimFile* Shim(sqlite3_file* file) { return reinterpret_cast<ShimFile*>(file); }
sqlite3_file* Real(sqlite3_file* file) { return Shim(file)->real; }

void Record(sqlite3_file* file, int code, Change change) {
  if (code == SQLITE_OK && Shim(file)->disk != nullptr) {
    Shim(file)->disk->changes.push_back(std::move(change));
  }
}

int Close(sqlite3_file* file) { return Real(file)->pMethods->xClose(Real(file)); }
int Read(sqlite3_file* file, void* to, int size, sqlite3_int64 at) {
  return Real(file)->pMethods->xRead(Real(file), to, size, at);
}
int Write(sqlite3_file* file, const void* from, int size, sqlite3_int64 at) {
  before_change();
  const int code = Real(file)->pMethods->xWrite(Real(file), from, size, at);
  Record(file, code,
         {static_cast<size_t>(at),
          std::string(static_cast<const char*>(from), static_cast<size_t>(size)), std::nullopt});
  return code;
}
int Truncate(sqlite3_file* file, sqlite3_int64 size) {
  before_change();
  const int code = Real(file)->pMethods->xTruncate(Real(file), size);
  Record(file, code, {0, "", static_cast<size_t>(size)});
  return code;
}
int Sync(sqlite3_file* file, int flags) {
  before_change();
  const int code = Real(file)->pMethods->xSync(Real(file), flags);
  DiskFile* const disk = Shim(file)->disk;
  if (code == SQLITE_OK && disk != nullptr) {
    for (const Change& change : disk->changes) Apply(change, &disk->durable);
    disk->changes.clear();
  }
  return code;
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
  shim->disk = nullptr;
  const int code = RealVfs(vfs)->xOpen(RealVfs(vfs), name, shim->real, flags, out_flags);
  shim->base.pMethods = shim->real->pMethods == nullptr ? nullptr : &kMethods;
  if (code == SQLITE_OK && name != nullptr) {
    const auto [it, added] = files.try_emplace(name);
    if (added) it->second.durable = ContentOf(name);
    shim->disk = &it->second;
  }
  return code;
}

sqlite3_vfs shim_vfs;

}  // namespace

PowerLossDisk::PowerLossDisk() {
  sqlite3_vfs* const real = sqlite3_vfs_find(nullptr);
  shim_vfs = *real;
  shim_vfs.szOsFile = static_cast<int>(sizeof(ShimFile)) + real->szOsFile;
  shim_vfs.zName = "power-loss";
  shim_vfs.pAppData = real;
  shim_vfs.xOpen = vmeventd::Open;
  sqlite3_vfs_register(&shim_vfs, 1);
  active = true;
}

PowerLossDisk::~PowerLossDisk() {
  active = false;
  before_change = [] {};
  files.clear();
  synced.clear();
  sqlite3_vfs_register(static_cast<sqlite3_vfs*>(shim_vfs.pAppData), 1);
  sqlite3_vfs_unregister(&shim_vfs);
}

void PowerLossDisk::set_before_change(std::function<void()> call) {
  before_change = std::move(call);
}

void PowerLossDisk::CutPower(const std::string& from, const std::string& to,
                             std::mt19937_64& random) const {
  fs::remove_all(to);
  fs::create_directories(to);
  for (const auto& [path, file] : files) {
    if (fs::path(path).parent_path() != from || !fs::exists(path)) continue;
    std::string content = file.durable;
    for (const Change& change : file.changes) ApplyPart(change, &content, random);
    std::ofstream(fs::path(to) / fs::path(path).filename(), std::ios::binary) << content;
  }
  const std::string mark = from + "/sequence";
  const auto durable = synced.find(mark);
  const std::string old = durable == synced.end() ? "" : durable->second;
  std::ofstream(to + "/sequence", std::ios::binary) << (random() % 2 == 0 ? old : ContentOf(mark));
}

}  // namespace vmeventd

// Syncs the daemon's own files. SQLite's files are synced as well, but the shim stands in front of
// their layer.
extern "C" int fdatasync(int fd) {
  if (vmeventd::active) {
    std::error_code error;
    const auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
    if (!error && path.filename() == "sequence") {
      vmeventd::synced[path] = vmeventd::ContentOf(path);
    }
  }
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}
