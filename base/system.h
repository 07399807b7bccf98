#pragma once

#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Thin wrappers of system calls: descriptors, errors, small files, accounts, thread names.

struct msghdr;

namespace vmeventd {

// Owns one file descriptor, or none (-1), and closes it on destruction.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  // Passes the descriptor to the caller, who must close it.
  int Release() { return std::exchange(fd_, -1); }

  // Closes the descriptor. Ignores the error of close(): no descriptor here has cached writes whose
  // loss close() could report.
  void Reset() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

inline std::string ErrnoText(int error) { return std::generic_category().message(error); }

// "OBJECT: what: the errno in words".
inline absl::Status ErrnoStatus(const std::string& object, const std::string& what, int error) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      absl::StrCat(object, ": ", what, ": ", ErrnoText(error)));
}

// Reads a file of the kernel (/proc, a cgroup) or another short one, at most `max_bytes` of it.
// Does not block, even on a FIFO. Errors name the path; RESOURCE_EXHAUSTED: out of descriptors.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes = 4096);
// Reads an open file in the same way, from its current offset. `path` is for errors.
absl::StatusOr<std::string> ReadSmallFile(int file, absl::string_view path, size_t max_bytes);

// Syncs the directory of a file, so that a loss of power leaves the file's name there.
absl::Status SyncDirectoryOf(const std::string& path);

// Return the name from the user or group database; the number if there is no name. May ask the
// network, as name services do. Any thread.
std::string UserName(uid_t uid);
std::string GroupName(gid_t gid);

// Takes the descriptors out of a Unix socket's message (SCM_RIGHTS) that recvmsg(2) has filled.
// They then belong to the caller: call it once.
std::vector<UniqueFd> TakeDescriptors(msghdr* message);

// Names the calling thread, for top -H, debuggers and core files. The kernel stores 15 bytes.
template <size_t kSize>
void SetThreadName(const char (&name)[kSize]) {
  static_assert(kSize <= 16, "at most 15 bytes");
  pthread_setname_np(pthread_self(), name);
}

}  // namespace vmeventd
