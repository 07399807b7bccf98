#include "server/host/files.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/system.h"
#include "base/uuid.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

absl::Status MakeMissing(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  if (errno == EEXIST) return absl::OkStatus();  // or not a directory: the caller checks
  if (errno != ENOENT) return ErrnoStatus(path, "cannot be created", errno);
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) {
    return ErrnoStatus(path, "cannot be created", ENOENT);
  }
  if (absl::Status status = MakeMissing(path.substr(0, slash), 0755); !status.ok()) return status;
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return absl::OkStatus();
  return ErrnoStatus(path, "cannot be created", errno);
}

// Gives the directory that this process has just created to `group`, and no other directory that
// has taken its name.
absl::Status GiveToGroup(const std::string& path, std::optional<gid_t> group) {
  if (!group.has_value()) return absl::OkStatus();
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) {
    return ErrnoStatus(path, "cannot be examined", errno);
  }
  if (info.st_uid != geteuid()) return absl::OkStatus();  // the caller checks the owner
  // The umask may have removed the group's right to enter.
  if (fchown(fd.get(), static_cast<uid_t>(-1), *group) != 0 || fchmod(fd.get(), 0750) != 0) {
    return ErrnoStatus(path, absl::StrCat("cannot be given to the group with the id ", *group),
                       errno);
  }
  return absl::OkStatus();
}

absl::Status BelongsToAnother(const std::string& path, uid_t owner) {
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": belongs to the user with the id ", owner, ", and vmeventd runs as ",
                   geteuid(), ": give it to that user, or name another directory"));
}

// A user who may write to a directory may remove and replace its files. The process's own group is
// accepted: systems that give each user a private group use it so.
absl::Status CheckWriters(const std::string& path, const struct stat& info) {
  if ((info.st_mode & S_IWOTH) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": everybody may write there: revoke that with chmod o-w"));
  }
  if ((info.st_mode & S_IWGRP) != 0 && info.st_gid != getegid()) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": the group with the id ", info.st_gid,
                                                      " may write there, and vmeventd runs as ",
                                                      getegid(), ": revoke that with chmod g-w"));
  }
  return absl::OkStatus();
}

absl::Status HeldByAnother(const std::string& path, int fd) {
  char text[32];
  const ssize_t size = pread(fd, text, sizeof(text), 0);
  const absl::string_view pid =
      absl::StripAsciiWhitespace(absl::string_view(text, size > 0 ? static_cast<size_t>(size) : 0));
  const bool number = !pid.empty() && pid.find_first_not_of("0123456789") == pid.npos;
  return absl::AlreadyExistsError(absl::StrCat(path, ": another vmeventd holds this lock (pid ",
                                               number ? std::string(pid) : std::string("unknown"),
                                               ")"));
}

// Returns whether `path` still names the file behind `fd`: it may have been replaced before the
// lock.
bool SameFile(const std::string& path, int fd) {
  struct stat by_fd {};
  struct stat by_path {};
  return fstat(fd, &by_fd) == 0 && lstat(path.c_str(), &by_path) == 0 &&
         by_fd.st_dev == by_path.st_dev && by_fd.st_ino == by_path.st_ino;
}

// Records the pid for people who find the lock held. Its length is fixed, so that rewriting needs
// no disk space; if the disk is full, the lock holds without it.
void WritePid(const std::string& path, int fd) {
  const std::string text = absl::StrFormat("%-10d\n", getpid());
  if (pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    spdlog::warn("{}", std::string(ErrnoStatus(path, "cannot write the pid", errno).message()));
  }
}

// vmeventd's own: `systemd-id128 machine-id --app-specific=cfa051b179e349de98d50d35ed0d0b37` prints
// the same node id.
constexpr char kApplicationId[] = "cfa051b179e349de98d50d35ed0d0b37";
constexpr size_t kIdBytes = 16;
using IdBytes = std::array<unsigned char, kIdBytes>;

// `digits`: 32 hexadecimal digits.
IdBytes BytesOf(const std::string& digits) {
  IdBytes bytes{};
  OPENSSL_hexstr2buf_ex(bytes.data(), bytes.size(), nullptr, digits.c_str(), '\0');
  return bytes;
}

// Creates the file atomically: it exists complete or not at all.
absl::StatusOr<std::string> MakeIdFile(const std::string& path) {
  const std::string id = RandomUuid();
  const std::string text = absl::StrCat(id, "\n");
  const std::string made = absl::StrCat(path, ".new");
  const UniqueFd fd(
      open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0640));
  if (!fd.valid()) return ErrnoStatus(made, "cannot be created", errno);
  errno = ENOSPC;  // a short write means this
  if (write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      fsync(fd.get()) != 0) {
    return ErrnoStatus(made, "cannot be written", errno);
  }
  if (rename(made.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(path, "cannot be created", errno);
  }
  return id;
}

}  // namespace

absl::Status MakeOwnDirectory(const std::string& path, std::optional<gid_t> group) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return ErrnoStatus(path, "cannot be examined", errno);
    if (absl::Status status = MakeMissing(path, 0750); !status.ok()) return status;
    if (absl::Status status = GiveToGroup(path, group); !status.ok()) return status;
    if (stat(path.c_str(), &info) != 0) return ErrnoStatus(path, "cannot be examined", errno);
  }
  if (!S_ISDIR(info.st_mode)) return ErrnoStatus(path, "cannot be used", ENOTDIR);
  // Checks with the effective ids, which the files are created with.
  if (faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) != 0 && errno != EROFS) {
    return ErrnoStatus(path, "is not writable by this user", errno);
  }
  return absl::OkStatus();
}

absl::Status CheckOwner(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(path, "cannot be examined", errno);
  if (info.st_uid != geteuid()) return BelongsToAnother(path, info.st_uid);
  return CheckWriters(path, info);
}

absl::Status CheckNobodyElseReplaces(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(path, "cannot be examined", errno);
  if (info.st_uid != 0 && info.st_uid != geteuid()) return BelongsToAnother(path, info.st_uid);
  return (info.st_mode & S_ISVTX) != 0 ? absl::OkStatus() : CheckWriters(path, info);
}

absl::StatusOr<UniqueFd> LockFile(const std::string& path) {
  for (;;) {
    std::string locked = path;
    UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640));
    const bool no_room = !fd.valid() && (errno == EROFS || errno == ENOSPC || errno == EDQUOT);
    if (no_room) fd = UniqueFd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (no_room && !fd.valid()) {
      locked = path.substr(0, path.rfind('/'));
      fd = UniqueFd(open(locked.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    if (!fd.valid()) {
      return ErrnoStatus(
          path,
          errno == ELOOP ? "the lock file is a symbolic link" : "the lock file cannot be opened",
          errno);
    }
    if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return HeldByAnother(locked, fd.get());
      return ErrnoStatus(locked, "the lock file cannot be locked", errno);
    }
    if (!SameFile(locked, fd.get())) continue;
    if (!no_room) WritePid(path, fd.get());
    return fd;
  }
}

absl::StatusOr<std::string> NodeIdOfMachine(absl::string_view machine_id) {
  const bool is_hex = machine_id.size() == 2 * kIdBytes &&
                      std::all_of(machine_id.begin(), machine_id.end(), [](char c) {
                        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
                      });
  if (!is_hex || machine_id.find_first_not_of('0') == absl::string_view::npos) {
    return absl::InvalidArgumentError("a machine id has 32 hexadecimal digits, not all of them 0");
  }
  const IdBytes key = BytesOf(std::string(machine_id));
  const IdBytes data = BytesOf(kApplicationId);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(), digest,
       &size);
  return UuidFromBytes(std::string(reinterpret_cast<const char*>(digest), kIdBytes));
}

absl::StatusOr<std::string> NodeId(const std::string& state_dir,
                                   const std::string& machine_id_file) {
  // A missing or empty machine id is usual in a container.
  const absl::StatusOr<std::string> machine = ReadSmallFile(machine_id_file);
  if (machine.ok()) {
    absl::StatusOr<std::string> id = NodeIdOfMachine(absl::StripAsciiWhitespace(*machine));
    if (id.ok()) return id;
  }
  const std::string path = state_dir + "/node_id";
  const absl::StatusOr<std::string> stored = ReadSmallFile(path);
  if (stored.ok()) {
    const absl::string_view id = absl::StripAsciiWhitespace(*stored);
    if (ParseUuid(id).has_value()) return std::string(id);
  }
  return MakeIdFile(path);
}

}  // namespace vmeventd
