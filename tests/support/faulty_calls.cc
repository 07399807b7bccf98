#include "tests/support/faulty_calls.h"

#include <dirent.h>
#include <dlfcn.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace {

// Faults of all threads; -1: the calls work.
std::atomic<int> entries_left = -1;
// Faults for the calling thread; 0: the calls work.
thread_local int peer_error = 0;
thread_local std::function<void()> before_peer;
thread_local pid_t gone_peer = 0;
thread_local pid_t reused_by = 0;

std::mutex hang_mutex;
std::condition_variable hang_ends;
std::string hanging;  // a directory; empty: none hangs

void WaitWhileHanging(const char* path) {
  std::unique_lock<std::mutex> lock(hang_mutex);
  hang_ends.wait(lock, [path] {
    return hanging.empty() || std::string_view(path).substr(0, hanging.size()) != hanging;
  });
}

constexpr int kSoPeerPidfd = 77;

template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

// Names of libc's parameters are reserved to it.
// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name)
extern "C" dirent* readdir(DIR* directory) {
  static const auto next = Next<dirent* (*)(DIR*)>("readdir");
  if (entries_left == 0) {
    errno = EIO;
    return nullptr;
  }
  if (entries_left > 0) --entries_left;
  return next(directory);
}

extern "C" int inotify_add_watch(int fd, const char* path, uint32_t mask) noexcept {
  static const auto next = Next<int (*)(int, const char*, uint32_t)>("inotify_add_watch");
  WaitWhileHanging(path);
  return next(fd, path, mask);
}

extern "C" int statx(int directory, const char* path, int flags, unsigned mask,
                     struct statx* status) noexcept {
  static const auto next = Next<int (*)(int, const char*, int, unsigned, struct statx*)>("statx");
  WaitWhileHanging(path);
  return next(directory, path, flags, mask, status);
}

extern "C" int fstatat(int directory, const char* path, struct stat* status, int flags) noexcept {
  static const auto next = Next<int (*)(int, const char*, struct stat*, int)>("fstatat");
  WaitWhileHanging(path);
  return next(directory, path, status, flags);
}

extern "C" int getsockopt(int fd, int level, int name, void* value, socklen_t* size) noexcept {
  static const auto next = Next<int (*)(int, int, int, void*, socklen_t*)>("getsockopt");
  if (before_peer && level == SOL_SOCKET && name == SO_PEERCRED) std::exchange(before_peer, {})();
  if (peer_error != 0 && level == SOL_SOCKET && name == SO_PEERCRED) {
    errno = peer_error;
    return -1;
  }
  if (gone_peer == 0 || level != SOL_SOCKET) return next(fd, level, name, value, size);
  if (name == kSoPeerPidfd) {
    errno = ENOPROTOOPT;
    return -1;
  }
  const int result = next(fd, level, name, value, size);
  if (result == 0 && name == SO_PEERCRED) {
    auto* const credentials = static_cast<ucred*>(value);
    if (credentials->pid == gone_peer) credentials->pid = reused_by;
  }
  return result;
}
// NOLINTEND(readability-inconsistent-declaration-parameter-name)

namespace vmeventd {

FaultyReaddir::FaultyReaddir(int entries) : ScopedFault([] { entries_left = -1; }) {
  entries_left = entries;
}
FaultyPeerCredentials::FaultyPeerCredentials(int error) : ScopedFault([] { peer_error = 0; }) {
  peer_error = error;
}
BeforePeerCredentials::BeforePeerCredentials(std::function<void()> then)
    : ScopedFault([] { before_peer = {}; }) {
  before_peer = std::move(then);
}
HangingDirectory::HangingDirectory(std::string directory)
    : ScopedFault([] {
        const std::lock_guard<std::mutex> lock(hang_mutex);
        hanging.clear();
        hang_ends.notify_all();
      }) {
  const std::lock_guard<std::mutex> lock(hang_mutex);
  hanging = std::move(directory);
}
ReusedPeerPid::ReusedPeerPid(pid_t gone, pid_t now) : ScopedFault([] { gone_peer = 0; }) {
  gone_peer = gone;
  reused_by = now;
}

}  // namespace vmeventd
