#include "tests/simulation/disk.h"

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"

namespace vmeventd::simulation {

bool Disk::IsKept(const std::string& path) { return !absl::StartsWith(path, "/run"); }

Disk::FilePtr Disk::Find(const std::string& path) const {
  const auto it = files_.find(path);
  return it == files_.end() ? nullptr : it->second;
}

Disk::FilePtr Disk::Make(const std::string& path, mode_t mode, int64_t now_ns) {
  auto file = std::make_shared<File>();
  file->mode = mode;
  file->inode = ++last_inode_;
  file->birth_ns = file->change_ns = file->modify_ns = now_ns;
  file->kept = IsKept(path);
  files_[path] = file;
  if (file->kept) names_.emplace_back([this, path] { files_.erase(path); });
  return file;
}

bool Disk::Unlink(const std::string& path) {
  const auto it = files_.find(path);
  if (it == files_.end()) return false;
  const FilePtr file = it->second;
  files_.erase(it);
  if (file->kept) names_.emplace_back([this, path, file] { files_[path] = file; });
  return true;
}

bool Disk::Rename(const std::string& from, const std::string& to) {
  const FilePtr file = Find(from);
  if (file == nullptr) return false;
  const FilePtr before = Find(to);
  files_.erase(from);
  files_[to] = file;
  if (file->kept) {
    names_.emplace_back([this, from, to, file, before] {
      files_.erase(to);
      if (before != nullptr) files_[to] = before;
      files_[from] = file;
    });
  }
  return true;
}

std::vector<std::string> Disk::List(const std::string& directory) const {
  const std::string prefix = directory == "/" ? "/" : directory + "/";
  std::vector<std::string> names;
  for (auto it = files_.lower_bound(prefix);
       it != files_.end() && absl::StartsWith(it->first, prefix); ++it) {
    const std::string name = it->first.substr(prefix.size());
    if (!name.empty() && !absl::StrContains(name, '/')) names.push_back(name);
  }
  return names;
}

int Disk::Write(const std::string& path, File* file, size_t offset, absl::string_view bytes) {
  if (const int error = fault_("write", path); error != 0) return error;
  File::Change change{offset, std::string(bytes), std::nullopt};
  Apply(change, &file->content);
  if (file->kept) file->changes_.push_back(std::move(change));
  return 0;
}

int Disk::Truncate(const std::string& path, File* file, size_t size) {
  if (const int error = fault_("truncate", path); error != 0) return error;
  File::Change change{0, "", size};
  Apply(change, &file->content);
  if (file->kept) file->changes_.push_back(std::move(change));
  return 0;
}

int Disk::Sync(const std::string& path, File* file) {
  if (const int error = fault_("fsync", path); error != 0) return error;
  names_.clear();
  if (file == nullptr) return 0;
  for (const File::Change& change : file->changes_) Apply(change, &file->durable_);
  file->changes_.clear();
  return 0;
}

void Disk::Apply(const File::Change& change, std::string* content) {
  if (change.size.has_value()) {
    content->resize(*change.size);
    return;
  }
  if (content->size() < change.offset) content->resize(change.offset);
  content->replace(change.offset, change.bytes.size(), change.bytes);
}

void Disk::ApplyPart(const File::Change& change, std::string* content, Random* random) {
  const uint64_t kind = random->Below(3);
  if (kind == 0) return;
  if (kind == 1 || change.size.has_value()) return Apply(change, content);
  constexpr size_t kSector = 512;
  for (size_t at = 0; at < change.bytes.size();) {
    const size_t end = std::min(change.bytes.size(),
                                ((change.offset + at) / kSector + 1) * kSector - change.offset);
    if (random->OneIn(2)) {
      Apply({change.offset + at, change.bytes.substr(at, end - at), std::nullopt}, content);
    }
    at = end;
  }
}

void Disk::LosePower(Random* random) {
  for (size_t lost = random->Below(names_.size() + 1); lost > 0; --lost) {
    names_.back()();
    names_.pop_back();
  }
  names_.clear();
  for (auto it = files_.begin(); it != files_.end();) {
    File& file = *it->second;
    if (!file.kept && !S_ISDIR(file.mode)) {
      it = files_.erase(it);
      continue;
    }
    if (file.kept) {
      file.content = file.durable_;
      // Perhaps nothing of it was under way yet.
      const bool none = random->OneIn(4);
      for (const File::Change& change : file.changes_) {
        if (!none) ApplyPart(change, &file.content, random);
      }
      file.changes_.clear();
      file.durable_ = file.content;
    }
    ++it;
  }
}

}  // namespace vmeventd::simulation
