#include "watcher/qmp/socket_file.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/passed_descriptors.h"
#include "base/unix_address.h"

namespace vmeventd {
namespace {

// The birth time, where the file system has one (ext4, XFS, Btrfs, tmpfs since Linux 6.0), is not
// changed by a chmod as the ctime is.
int Identify(int directory, const char* path, int flags, SeenSocket* seen) {
  struct statx status {};
  if (statx(directory, path, flags, STATX_BASIC_STATS | STATX_BTIME, &status) != 0) return errno;
  if (!S_ISSOCK(status.stx_mode)) return ENOTSOCK;
  const statx_timestamp& made =
      (status.stx_mask & STATX_BTIME) != 0 ? status.stx_btime : status.stx_ctime;
  seen->identity = {.device = makedev(status.stx_dev_major, status.stx_dev_minor),
                    .inode = status.stx_ino,
                    .made_ns = made.tv_sec * 1'000'000'000 + made.tv_nsec};
  seen->owner = status.stx_uid;
  return 0;
}

}  // namespace

int OpenSocketFile(absl::string_view path, SocketFile* file) {
  UniqueFd fd(open(std::string(path).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return errno;
  if (const int error = Identify(fd.get(), "", AT_EMPTY_PATH, file); error != 0) return error;
  file->fd = std::move(fd);
  return 0;
}

int LookAtSocket(absl::string_view path, SeenSocket* seen, int directory) {
  return Identify(directory, std::string(path).c_str(), AT_SYMLINK_NOFOLLOW, seen);
}

int ConnectTo(const SocketFile& file, UniqueFd* connection) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return errno;
  RefusePassedDescriptors(socket.get());
  const int error = UnixAddress::OfFile(file.fd.get()).Connect(socket.get());
  if (error != 0) return error;
  // Makes the kernel name the sender of each message. Must come after the connect, which would
  // otherwise bind the socket to a name, and before a greeting can be sent.
  const int on = 1;
  if (setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) return errno;
  *connection = std::move(socket);
  return 0;
}

const Manager* OwnerOfFile(const std::string& path) {
  const std::filesystem::path file(path);
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::canonical(file.parent_path(), error);
  return error ? nullptr : OwnerOfPath((directory / file.filename()).string());
}

}  // namespace vmeventd
