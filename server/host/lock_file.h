#ifndef VMEVENTD_SERVER_HOST_LOCK_FILE_H_
#define VMEVENTD_SERVER_HOST_LOCK_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace vmeventd {

// Holds a file's flock until destroyed or until the process ends in any way. The file holds the
// owner's pid and is never removed: only the lock counts.
class LockFile {
 public:
  // ALREADY_EXISTS: another process holds it; the message names the file and the pid.
  static absl::StatusOr<std::unique_ptr<LockFile>> Acquire(const std::string& path);
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  explicit LockFile(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_LOCK_FILE_H_
