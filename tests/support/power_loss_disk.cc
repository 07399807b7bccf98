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
#include <optional>
#include <utility>
#include <vector>

#include "tests/support/sqlite_shim.h"

namespace vmeventd {
namespace {

using sqlite_shim::Real;

namespace fs = std::filesystem;

// A change that is not synced: a write, or a new size of the file.
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
std::map<std::string, DiskFile> files;      // SQLite's files, by path
std::map<std::string, std::string> synced;  // contents that fdatasync made durable, by path
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

void MakeDurable(DiskFile* file) {
  for (const Change& change : file->changes) Apply(change, &file->durable);
  file->changes.clear();
}

// Applies the whole change, none of it, or some of its sectors.
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

// Null: the file is not tracked.
DiskFile* Disk(sqlite3_file* file) {
  return static_cast<DiskFile*>(sqlite_shim::Shim(file)->owner);
}

void Record(sqlite3_file* file, int code, Change change) {
  if (code == SQLITE_OK && Disk(file) != nullptr) {
    Disk(file)->changes.push_back(std::move(change));
  }
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
  DiskFile* const disk = Disk(file);
  if (code == SQLITE_OK && disk != nullptr) MakeDurable(disk);
  return code;
}
int Open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out_flags) {
  static const sqlite3_io_methods methods = [] {
    sqlite3_io_methods made = sqlite_shim::PassOn();
    made.xWrite = Write;
    made.xTruncate = Truncate;
    made.xSync = Sync;
    return made;
  }();
  const int code = sqlite_shim::Open(methods, vfs, name, file, flags, out_flags);
  if (code == SQLITE_OK && name != nullptr) {
    const auto [it, added] = files.try_emplace(name);
    if (added) it->second.durable = ContentOf(name);
    sqlite_shim::Shim(file)->owner = &it->second;
  }
  return code;
}

sqlite3_vfs shim_vfs;

}  // namespace

PowerLossDisk::PowerLossDisk() {
  shim_vfs = sqlite_shim::MakeVfs("power-loss", vmeventd::Open);
  sqlite3_vfs_register(&shim_vfs, 1);
  active = true;
}

PowerLossDisk::~PowerLossDisk() {
  active = false;
  before_change = [] {};
  files.clear();
  synced.clear();
  sqlite3_vfs_register(sqlite_shim::RealVfs(&shim_vfs), 1);
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

// Syncs files past SQLite, whose own syncs the shim sees.
extern "C" int fdatasync(int fd) {
  if (vmeventd::active) {
    std::error_code error;
    const auto path = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), error);
    if (!error && path.filename() == "sequence") {
      vmeventd::synced[path] = vmeventd::ContentOf(path);
    }
    const auto file = vmeventd::files.find(path);
    if (!error && file != vmeventd::files.end()) vmeventd::MakeDurable(&file->second);
  }
  return static_cast<int>(syscall(SYS_fdatasync, fd));
}
