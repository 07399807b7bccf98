// The daemon's system calls, and the library calls that stand for them: the linker leads each one
// here (--wrap, tests/simulation/CMakeLists.txt). While a simulation runs they are the simulated
// kernel's; otherwise, and for descriptors that are not its own, they are the real ones.

#include <dirent.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "tests/simulation/kernel.h"
#include "tests/simulation/threads.h"

namespace vmeventd::simulation {

// The object that std::thread hands over, by the layout of its table of functions. Not in an
// unnamed namespace, where the compiler would know that nobody derives from it.
class ThreadState {
 public:
  virtual ~ThreadState() = default;
  virtual void Run() = 0;
};

}  // namespace vmeventd::simulation

using vmeventd::simulation::Disk;
using vmeventd::simulation::Kernel;
using vmeventd::simulation::Threads;
using vmeventd::simulation::ThreadState;

namespace {

constexpr int kSoPeerPidfd = 77;
constexpr int kSoPassRights = 83;
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, char[64]);
constexpr size_t kInfoMask = 0;  // offsets in the answer of PIDFD_GET_INFO
constexpr size_t kInfoExitCode = 60;
constexpr uint64_t kInfoExit = 1 << 3;
constexpr unsigned long kPidFsMagic = 0x50494446;
constexpr uint64_t kPidNamespace = 4026531836;

bool Simulated(int fd) { return Kernel::Runs() && Kernel::Current().Owns(fd); }
bool Simulated() { return Kernel::Runs(); }

struct Directory {
  int fd;
  std::vector<std::string> names;
  size_t next;
  dirent entry;
};

timespec ToTimespec(int64_t ns) { return {ns / 1'000'000'000, ns % 1'000'000'000}; }

int Fill(const Disk::FilePtr& file, struct stat* status) {
  if (file == nullptr) return -1;
  *status = {};
  status->st_dev = makedev(8, 1);
  status->st_ino = file->inode;
  status->st_mode = file->mode;
  status->st_nlink = 1;
  status->st_uid = geteuid();
  status->st_size = static_cast<off_t>(file->content.size());
  status->st_mtim = ToTimespec(file->modify_ns);
  status->st_ctim = ToTimespec(file->change_ns);
  return 0;
}

}  // namespace

// The linker makes these names of --wrap.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

#define REAL(name) __real_##name

int REAL(open)(const char*, int, ...);
int __wrap_open(const char* path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(list, mode_t) : 0;
  va_end(list);
  if (!Simulated()) return REAL(open)(path, flags, mode);
  return Kernel::Current().Open(path, flags, mode);
}

int REAL(close)(int);
int __wrap_close(int fd) { return Simulated(fd) ? Kernel::Current().Close(fd) : REAL(close)(fd); }

ssize_t REAL(read)(int, void*, size_t);
ssize_t __wrap_read(int fd, void* to, size_t size) {
  return Simulated(fd) ? Kernel::Current().Read(fd, to, size) : REAL(read)(fd, to, size);
}

ssize_t REAL(pread)(int, void*, size_t, off_t);
ssize_t __wrap_pread(int fd, void* to, size_t size, off_t at) {
  return Simulated(fd) ? Kernel::Current().PositionedRead(fd, to, size, at)
                       : REAL(pread)(fd, to, size, at);
}

ssize_t REAL(pwrite)(int, const void*, size_t, off_t);
ssize_t __wrap_pwrite(int fd, const void* from, size_t size, off_t at) {
  return Simulated(fd) ? Kernel::Current().PositionedWrite(fd, from, size, at)
                       : REAL(pwrite)(fd, from, size, at);
}

long REAL(syscall)(long, ...);
int REAL(fsync)(int);
int __wrap_fsync(int fd) { return Simulated(fd) ? Kernel::Current().Sync(fd) : REAL(fsync)(fd); }

// Not wrapped: of SQLite's calls it is the one that SQLite lets nobody replace.
int fdatasync(int fd) {
  return Simulated(fd) ? Kernel::Current().Sync(fd)
                       : static_cast<int>(REAL(syscall)(SYS_fdatasync, fd));
}

int REAL(stat)(const char*, struct stat*);
int REAL(lstat)(const char*, struct stat*);
int REAL(fstat)(int, struct stat*);
int REAL(fstatat)(int, const char*, struct stat*, int);

int __wrap_lstat(const char* path, struct stat* status) {
  if (!Simulated()) return REAL(lstat)(path, status);
  return Fill(Kernel::Current().Look(AT_FDCWD, path), status);
}
int __wrap_stat(const char* path, struct stat* status) {
  if (!Simulated()) return REAL(stat)(path, status);
  if (std::strcmp(path, "/proc/self/ns/pid") == 0) {
    *status = {};
    status->st_ino = kPidNamespace;
    return 0;
  }
  return Fill(Kernel::Current().Look(AT_FDCWD, path), status);
}
int __wrap_fstat(int fd, struct stat* status) {
  if (!Simulated(fd)) return REAL(fstat)(fd, status);
  if (Kernel::Current().IsPidfd(fd)) {
    const uint64_t inode = Kernel::Current().PidfdInode(fd);
    *status = {};
    status->st_ino = inode != 0 ? inode : 1;  // a kernel without pidfs has one inode for all
    return 0;
  }
  return Fill(Kernel::Current().Look(fd, ""), status);
}
int __wrap_fstatat(int directory, const char* path, struct stat* status, int flags) {
  if (!Simulated()) return REAL(fstatat)(directory, path, status, flags);
  return Fill(Kernel::Current().Look(directory, path), status);
}

int REAL(statx)(int, const char*, int, unsigned, struct statx*);
int __wrap_statx(int directory, const char* path, int flags, unsigned mask, struct statx* status) {
  if (!Simulated()) return REAL(statx)(directory, path, flags, mask, status);
  const Disk::FilePtr file = Kernel::Current().Look(directory, path);
  if (file == nullptr) return -1;
  *status = {};
  status->stx_mask = STATX_BASIC_STATS | STATX_BTIME;
  status->stx_mode = static_cast<uint16_t>(file->mode);
  status->stx_ino = file->inode;
  status->stx_uid = geteuid();
  status->stx_dev_major = 8;
  status->stx_dev_minor = 1;
  status->stx_btime.tv_sec = file->birth_ns / 1'000'000'000;
  status->stx_btime.tv_nsec = static_cast<uint32_t>(file->birth_ns % 1'000'000'000);
  return 0;
}

int REAL(fstatfs)(int, struct statfs*);
int __wrap_fstatfs(int fd, struct statfs* status) {
  if (!Simulated(fd)) return REAL(fstatfs)(fd, status);
  *status = {};
  if (Kernel::Current().PidfdInode(fd) != 0) status->f_type = static_cast<long>(kPidFsMagic);
  return 0;
}

int REAL(access)(const char*, int);
int __wrap_access(const char* path, int mode) {
  if (!Simulated()) return REAL(access)(path, mode);
  return Kernel::Current().Look(AT_FDCWD, path) != nullptr ? 0 : -1;
}

int REAL(unlink)(const char*);
int __wrap_unlink(const char* path) {
  return Simulated() ? Kernel::Current().UnlinkFile(path) : REAL(unlink)(path);
}
int REAL(rename)(const char*, const char*);
int __wrap_rename(const char* from, const char* to) {
  return Simulated() ? Kernel::Current().Rename(from, to) : REAL(rename)(from, to);
}

int REAL(utimensat)(int, const char*, const timespec*, int);
int __wrap_utimensat(int directory, const char* path, const timespec* times, int flags) {
  return Simulated() ? Kernel::Current().Touch(path)
                     : REAL(utimensat)(directory, path, times, flags);
}
int REAL(fchmod)(int, mode_t);
int __wrap_fchmod(int fd, mode_t mode) {
  return Simulated(fd) ? Kernel::Current().ChangeMode(fd, mode) : REAL(fchmod)(fd, mode);
}

ssize_t REAL(readlink)(const char*, char*, size_t);
ssize_t __wrap_readlink(const char* path, char* to, size_t size) {
  return Simulated() ? Kernel::Current().ReadLink(path, to, size) : REAL(readlink)(path, to, size);
}

DIR* REAL(opendir)(const char*);
DIR* __wrap_opendir(const char* path) {
  if (!Simulated()) return REAL(opendir)(path);
  const int fd = Kernel::Current().Open(path, O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return nullptr;
  return reinterpret_cast<DIR*>(
      new Directory{fd, Kernel::Current().ListDirectory(path), 0, dirent{}});
}
dirent* REAL(readdir)(DIR*);
dirent* __wrap_readdir(DIR* stream) {
  if (!Simulated()) return REAL(readdir)(stream);
  auto* const directory = reinterpret_cast<Directory*>(stream);
  if (directory->next == directory->names.size()) return nullptr;
  const std::string& name = directory->names[directory->next++];
  directory->entry = {};
  directory->entry.d_type = DT_UNKNOWN;
  name.copy(directory->entry.d_name, sizeof(directory->entry.d_name) - 1);
  return &directory->entry;
}
int REAL(closedir)(DIR*);
int __wrap_closedir(DIR* stream) {
  if (!Simulated()) return REAL(closedir)(stream);
  auto* const directory = reinterpret_cast<Directory*>(stream);
  Kernel::Current().Close(directory->fd);
  delete directory;
  return 0;
}
int REAL(dirfd)(DIR*);
int __wrap_dirfd(DIR* stream) {
  return Simulated() ? reinterpret_cast<Directory*>(stream)->fd : REAL(dirfd)(stream);
}

int REAL(eventfd)(unsigned, int);
int __wrap_eventfd(unsigned count, int flags) {
  return Simulated() ? Kernel::Current().EventFd() : REAL(eventfd)(count, flags);
}
int REAL(eventfd_write)(int, eventfd_t);
int __wrap_eventfd_write(int fd, eventfd_t value) {
  return Simulated(fd) ? Kernel::Current().EventFdWrite(fd) : REAL(eventfd_write)(fd, value);
}
int REAL(eventfd_read)(int, eventfd_t*);
int __wrap_eventfd_read(int fd, eventfd_t* value) {
  return Simulated(fd) ? Kernel::Current().EventFdRead(fd) : REAL(eventfd_read)(fd, value);
}
int REAL(epoll_create1)(int);
int __wrap_epoll_create1(int flags) {
  return Simulated() ? Kernel::Current().EpollCreate() : REAL(epoll_create1)(flags);
}
int REAL(epoll_ctl)(int, int, int, epoll_event*);
int __wrap_epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  return Simulated(epoll) ? Kernel::Current().EpollControl(epoll, operation, fd, event)
                          : REAL(epoll_ctl)(epoll, operation, fd, event);
}
int REAL(epoll_wait)(int, epoll_event*, int, int);
int __wrap_epoll_wait(int epoll, epoll_event* events, int max, int timeout_ms) {
  return Simulated(epoll) ? Kernel::Current().EpollWait(epoll, events, max, timeout_ms)
                          : REAL(epoll_wait)(epoll, events, max, timeout_ms);
}
int REAL(inotify_init1)(int);
int __wrap_inotify_init1(int flags) {
  return Simulated() ? Kernel::Current().InotifyInit() : REAL(inotify_init1)(flags);
}
int REAL(inotify_add_watch)(int, const char*, uint32_t);
int __wrap_inotify_add_watch(int fd, const char* path, uint32_t mask) {
  return Simulated(fd) ? Kernel::Current().InotifyAdd(fd, path)
                       : REAL(inotify_add_watch)(fd, path, mask);
}
int REAL(inotify_rm_watch)(int, int);
int __wrap_inotify_rm_watch(int fd, int watch) {
  return Simulated(fd) ? Kernel::Current().InotifyRemove(fd, watch)
                       : REAL(inotify_rm_watch)(fd, watch);
}

int REAL(socket)(int, int, int);
int __wrap_socket(int family, int type, int protocol) {
  return Simulated() ? Kernel::Current().Socket(family) : REAL(socket)(family, type, protocol);
}
int REAL(connect)(int, const sockaddr*, socklen_t);
int __wrap_connect(int fd, const sockaddr* address, socklen_t size) {
  if (!Simulated(fd)) return REAL(connect)(fd, address, size);
  return Kernel::Current().Connect(fd, reinterpret_cast<const sockaddr_un*>(address)->sun_path);
}
ssize_t REAL(recv)(int, void*, size_t, int);
ssize_t __wrap_recv(int fd, void* to, size_t size, int flags) {
  int64_t sender = 0;
  return Simulated(fd) ? Kernel::Current().Receive(fd, to, size, flags, &sender)
                       : REAL(recv)(fd, to, size, flags);
}
ssize_t REAL(recvmsg)(int, msghdr*, int);
ssize_t __wrap_recvmsg(int fd, msghdr* message, int flags) {
  if (!Simulated(fd)) return REAL(recvmsg)(fd, message, flags);
  int64_t sender = 0;
  const ssize_t size = Kernel::Current().Receive(fd, message->msg_iov->iov_base,
                                                 message->msg_iov->iov_len, flags, &sender);
  cmsghdr* const header = CMSG_FIRSTHDR(message);
  if (size <= 0 || sender == 0 || header == nullptr) {
    message->msg_controllen = 0;
    return size;
  }
  const ucred credentials{static_cast<pid_t>(sender), 0, 0};
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_CREDENTIALS;
  header->cmsg_len = CMSG_LEN(sizeof(credentials));
  std::memcpy(CMSG_DATA(header), &credentials, sizeof(credentials));
  message->msg_controllen = CMSG_SPACE(sizeof(credentials));
  return size;
}
ssize_t REAL(send)(int, const void*, size_t, int);
ssize_t __wrap_send(int fd, const void* from, size_t size, int flags) {
  if (!Simulated(fd)) return REAL(send)(fd, from, size, flags);
  return Kernel::Current().SendTo(fd, {static_cast<const char*>(from), size});
}
int REAL(setsockopt)(int, int, int, const void*, socklen_t);
int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t size) {
  if (!Simulated(fd)) return REAL(setsockopt)(fd, level, name, value, size);
  return name == SO_PASSCRED ? Kernel::Current().PassCredentials(fd) : 0;
}
int REAL(getsockopt)(int, int, int, void*, socklen_t*);
int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* size) {
  if (!Simulated(fd)) return REAL(getsockopt)(fd, level, name, value, size);
  if (name == SO_DOMAIN || name == kSoPassRights) {  // the sockets refuse descriptors
    const int answer = name == SO_DOMAIN ? AF_UNIX : 0;
    std::memcpy(value, &answer, sizeof(answer));
    return 0;
  }
  if (name == kSoPeerPidfd) {
    const int pidfd = Kernel::Current().PeerPidfd(fd);
    if (pidfd < 0) return -1;
    std::memcpy(value, &pidfd, sizeof(pidfd));
    return 0;
  }
  int64_t pid = 0;
  if (Kernel::Current().PeerCredentials(fd, &pid) != 0) return -1;
  const ucred credentials{static_cast<pid_t>(pid), 0, 0};
  std::memcpy(value, &credentials, sizeof(credentials));
  return 0;
}

int REAL(ioctl)(int, unsigned long, ...);
int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  if (!Simulated(fd)) return REAL(ioctl)(fd, request, argument);
  if (request == SIOCINQ) {
    const int bytes = Kernel::Current().BytesWaiting(fd);
    if (bytes < 0) return -1;
    std::memcpy(argument, &bytes, sizeof(bytes));
    return 0;
  }
  if (request != kPidfdGetInfo) {
    errno = ENOTTY;
    return -1;
  }
  std::optional<int> wait_status;
  if (Kernel::Current().PidfdExit(fd, &wait_status) != 0) return -1;
  const uint64_t mask = wait_status.has_value() ? kInfoExit : 0;
  std::memcpy(static_cast<char*>(argument) + kInfoMask, &mask, sizeof(mask));
  const int code = wait_status.value_or(0);
  std::memcpy(static_cast<char*>(argument) + kInfoExitCode, &code, sizeof(code));
  return 0;
}

int REAL(poll)(pollfd*, nfds_t, int);
int __wrap_poll(pollfd* fds, nfds_t count, int timeout) {
  if (count != 1 || !Simulated(fds->fd)) return REAL(poll)(fds, count, timeout);
  fds->revents = Kernel::Current().IsReadable(fds->fd) ? POLLIN : 0;
  return fds->revents != 0 ? 1 : 0;
}

pid_t REAL(waitpid)(pid_t, int*, int);
pid_t __wrap_waitpid(pid_t pid, int* status, int options) {
  return Simulated() ? static_cast<pid_t>(Kernel::Current().WaitFor(pid))
                     : REAL(waitpid)(pid, status, options);
}

// Takes six arguments as libc's does, also where fewer were given.
__attribute__((no_sanitize("address"))) long __wrap_syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  std::array<long, 6> arguments{};
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (Simulated()) {
    Kernel& kernel = Kernel::Current();
    switch (number) {
      case SYS_pidfd_open:
        return kernel.PidfdOpen(arguments[0]);
      case SYS_pidfd_send_signal:
        return kernel.PidfdSignal(static_cast<int>(arguments[0]));
      case SYS_clone:
        return kernel.CloneProbe(reinterpret_cast<int*>(arguments[2]));
      default:
        break;
    }
  }
  return REAL(syscall)(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                       arguments[5]);
}

int REAL(clock_gettime)(clockid_t, timespec*);
int __wrap_clock_gettime(clockid_t clock, timespec* now) {
  if (!Simulated()) return REAL(clock_gettime)(clock, now);
  const Kernel& kernel = Kernel::Current();
  if (clock == CLOCK_REALTIME) {
    *now = ToTimespec(kernel.wall_ns());
  } else if (clock == CLOCK_BOOTTIME) {
    *now = ToTimespec(absl::ToInt64Nanoseconds(kernel.since_boot()));
  } else {
    *now = ToTimespec(absl::ToInt64Nanoseconds(kernel.monotonic()));
  }
  return 0;
}

ssize_t REAL(getrandom)(void*, size_t, unsigned);
ssize_t __wrap_getrandom(void* to, size_t size, unsigned flags) {
  if (!Simulated()) return REAL(getrandom)(to, size, flags);
  for (size_t i = 0; i < size; ++i) {
    static_cast<unsigned char*>(to)[i] =
        static_cast<unsigned char>(Kernel::Current().random().Next());
  }
  return static_cast<ssize_t>(size);
}

// std::chrono::steady_clock::now()
int64_t __wrap__ZNSt6chrono3_V212steady_clock3nowEv() {
  timespec now{};
  __wrap_clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

// std::mutex
int REAL(pthread_mutex_lock)(pthread_mutex_t*);
int __wrap_pthread_mutex_lock(pthread_mutex_t* mutex) {
  if (Threads::Current() != nullptr) Threads::Current()->BeforeLock();
  return REAL(pthread_mutex_lock)(mutex);
}
int REAL(pthread_mutex_unlock)(pthread_mutex_t*);
int __wrap_pthread_mutex_unlock(pthread_mutex_t* mutex) {
  const int result = REAL(pthread_mutex_unlock)(mutex);
  if (Threads::Current() != nullptr) Threads::Current()->AfterUnlock();
  return result;
}

// std::condition_variable: wait, wait_for, notify_one and notify_all
void REAL(_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE)(void*,
                                                                     std::unique_lock<std::mutex>&);
void __wrap__ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE(
    void* condition, std::unique_lock<std::mutex>& lock) {
  if (Threads::Current() == nullptr) {
    return REAL(_ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE)(condition, lock);
  }
  Threads::Current()->WaitUnlocked(lock.mutex()->native_handle(), condition,
                                   absl::InfiniteDuration());
}
int REAL(pthread_cond_clockwait)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*);
int __wrap_pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                  clockid_t clock, const timespec* until) {
  if (Threads::Current() == nullptr) {
    return REAL(pthread_cond_clockwait)(condition, mutex, clock, until);
  }
  const bool notified =
      Threads::Current()->WaitUnlocked(mutex, condition, absl::DurationFromTimespec(*until));
  return notified ? 0 : ETIMEDOUT;
}
void REAL(_ZNSt18condition_variable10notify_oneEv)(void*);
void __wrap__ZNSt18condition_variable10notify_oneEv(void* condition) {
  if (Threads::Current() == nullptr) {
    return REAL(_ZNSt18condition_variable10notify_oneEv)(condition);
  }
  Threads::Current()->Notify(condition, false);
}
void REAL(_ZNSt18condition_variable10notify_allEv)(void*);
void __wrap__ZNSt18condition_variable10notify_allEv(void* condition) {
  if (Threads::Current() == nullptr) {
    return REAL(_ZNSt18condition_variable10notify_allEv)(condition);
  }
  Threads::Current()->Notify(condition, true);
}

// std::thread, which holds its number alone: its begin, join and detach.
void REAL(_ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE)(
    pthread_t*, std::unique_ptr<ThreadState>&, void (*)());
void __wrap__ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE(
    pthread_t* self, std::unique_ptr<ThreadState>& state, void (*depend)()) {
  if (Threads::Current() == nullptr) {
    return REAL(
        _ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE)(
        self, state, depend);
  }
  *self = Threads::Current()->Start(
      [state = std::shared_ptr<ThreadState>(std::move(state))] { state->Run(); });
}
void REAL(_ZNSt6thread4joinEv)(pthread_t*);
void __wrap__ZNSt6thread4joinEv(pthread_t* self) {
  if (Threads::Current() == nullptr) return REAL(_ZNSt6thread4joinEv)(self);
  Threads::Current()->Join(*self);
  *self = 0;
}
void REAL(_ZNSt6thread6detachEv)(pthread_t*);
void __wrap__ZNSt6thread6detachEv(pthread_t* self) {
  if (Threads::Current() == nullptr) return REAL(_ZNSt6thread6detachEv)(self);
  Threads::Current()->Detach(*self);
  *self = 0;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
