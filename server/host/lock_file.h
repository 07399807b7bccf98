#ifndef VMEVENTD_SERVER_HOST_LOCK_FILE_H_
#define VMEVENTD_SERVER_HOST_LOCK_FILE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace vmeventd {

// Holds a file's flock until it is destroyed or the process ends, however it ends. The file tells
// the holder's pid and stays where it is: what counts is the lock.
class LockFile {
 public:
  // FAILED_PRECONDITION: another process holds it; the message names the file and the pid.
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
