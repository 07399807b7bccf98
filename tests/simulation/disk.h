#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/simulation/random.h"

namespace vmeventd::simulation {

// The file system of a simulated node: its content, and what would remain of it after a loss of
// power. A file's data is durable after a sync; of later writes, each sector of 512 bytes is either
// kept or lost. Names become durable in the order in which they were made, and all of them at any
// sync. Files below /run never survive (tmpfs). Errors are errno values; 0: none.
class Disk {
 public:
  struct File {
    mode_t mode = 0;  // S_IF* and permissions
    uint64_t inode = 0;
    int64_t birth_ns = 0;
    int64_t change_ns = 0;
    int64_t modify_ns = 0;
    bool kept = false;  // false: in a tmpfs
    std::string content;

   private:
    friend class Disk;
    struct Change {
      size_t offset = 0;
      std::string bytes;
      std::optional<size_t> size;  // the new size, for a truncation
    };
    std::string durable_;
    std::vector<Change> changes_;
  };
  using FilePtr = std::shared_ptr<File>;

  // Called before each operation on a file that is not in a tmpfs, with the name of the system
  // call. Returns the error with which the operation fails, or 0.
  using Fault = std::function<int(absl::string_view call, const std::string& path)>;
  void set_fault(Fault fault) { fault_ = std::move(fault); }

  // Returns the file; null: there is none.
  FilePtr Find(const std::string& path) const;
  FilePtr Make(const std::string& path, mode_t mode, int64_t now_ns);
  bool Unlink(const std::string& path);
  bool Rename(const std::string& from, const std::string& to);
  // The names in a directory.
  std::vector<std::string> List(const std::string& directory) const;

  int Write(const std::string& path, File* file, size_t offset, absl::string_view bytes);
  int Truncate(const std::string& path, File* file, size_t size);
  // Makes the file and all names durable; with a null `file`, only the names.
  int Sync(const std::string& path, File* file);

  void LosePower(Random* random);
  uint64_t last_inode() const { return last_inode_; }

 private:
  static void Apply(const File::Change& change, std::string* content);
  static void ApplyPart(const File::Change& change, std::string* content, Random* random);
  static bool IsKept(const std::string& path);

  std::map<std::string, FilePtr> files_;  // keyed by path
  // Each function undoes one change of a name; the oldest first.
  std::vector<std::function<void()>> names_;
  uint64_t last_inode_ = 100;
  Fault fault_;
};

}  // namespace vmeventd::simulation
