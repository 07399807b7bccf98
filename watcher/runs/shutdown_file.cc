#include "watcher/runs/shutdown_file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/system.h"

namespace vmeventd {
namespace {

constexpr mode_t kMode = 0644;

std::string PathOf(const std::string& directory, const std::string& vm_name) {
  return absl::StrCat(directory, "/", vm_name, ".shutdown");
}

absl::Status Failed(absl::string_view verb, const std::string& path, int error) {
  return absl::ErrnoToStatus(
      error, absl::StrCat("cannot ", verb, " the shutdown file ", absl::CHexEscape(path)));
}

// The last time with `mark` nanoseconds; the time as it is without one.
timespec LastMarked(uint32_t mark) {
  if (mark == 0) return {0, UTIME_NOW};
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (now.tv_nsec < static_cast<int64_t>(mark)) --now.tv_sec;
  return {now.tv_sec, static_cast<int64_t>(mark)};
}

// Sets both times. Only the owner may set another time than the present one.
bool SetTimes(const std::string& path, uint32_t mark) {
  const timespec marked = LastMarked(mark);
  const timespec times[2] = {marked, marked};
  if (utimensat(AT_FDCWD, path.c_str(), times, 0) == 0) return true;
  return errno == EPERM && utimensat(AT_FDCWD, path.c_str(), nullptr, 0) == 0;
}

// ALREADY_EXISTS where anything is in its place.
absl::Status CreateNew(const std::string& path, uint32_t mark) {
  const UniqueFd file(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
  const timespec marked = LastMarked(mark);
  const timespec times[2] = {marked, marked};
  if (!file.valid() || fchmod(file.get(), kMode) != 0 || futimens(file.get(), times) != 0) {
    return Failed("create", path, errno);
  }
  return absl::OkStatus();
}

}  // namespace

uint32_t NewShutdownFileMark() {
  // std::random_device runs CPUID, which costs 40 us on a virtual machine.
  uint32_t number = 0;
  if (getrandom(&number, sizeof(number), 0) < 0) return 1;  // it does not fail for so few bytes
  return 1 + number % 999'999'999;
}

absl::Status CreateShutdownFile(const std::string& directory, const std::string& vm_name,
                                uint32_t mark) {
  const std::string path = PathOf(directory, vm_name);
  absl::Status status = CreateNew(path, mark);
  if (!absl::IsAlreadyExists(status)) return status;

  // Held without being opened, since to open what is there could wait for somebody or set something
  // off, and so that what is looked at is what is renewed, whatever takes its name between.
  const UniqueFd file(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat there;
  if (!file.valid() || fstat(file.get(), &there) != 0) return Failed("renew", path, errno);
  if (!S_ISREG(there.st_mode)) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot create the shutdown file ", absl::CHexEscape(path),
                     ": something that is no regular file is in its place"));
  }
  if (there.st_nlink > 1) {
    // Its other link is none of our business.
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return Failed("replace", path, errno);
    return CreateNew(path, mark);
  }
  if (!SetTimes(absl::StrCat("/proc/self/fd/", file.get()), mark)) {
    return Failed("renew", path, errno);
  }
  return absl::OkStatus();
}

absl::Status DeleteShutdownFile(const std::string& directory, const std::string& vm_name) {
  const std::string path = PathOf(directory, vm_name);
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return Failed("remove", path, errno);
}

std::optional<absl::Time> OwnShutdownFileTime(const std::string& directory,
                                              const std::string& vm_name, uint32_t mark) {
  struct stat status;
  if (lstat(PathOf(directory, vm_name).c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_uid != geteuid() || mark == 0 ||
      status.st_mtim.tv_nsec != static_cast<int64_t>(mark)) {
    return std::nullopt;
  }
  return absl::TimeFromTimespec(status.st_mtim);
}

}  // namespace vmeventd
