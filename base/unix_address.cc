#include "base/unix_address.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace vmeventd {
namespace {

constexpr absl::string_view kDescriptors = "/proc/self/fd/";

static_assert(UnixAddress::kMaxPath == sizeof(sockaddr_un::sun_path) - 1);
// The longest number of a descriptor, and a slash.
static_assert(UnixAddress::kMaxNameOfLongerPath == UnixAddress::kMaxPath - kDescriptors.size() -
                                                       (std::numeric_limits<int>::digits10 + 1) -
                                                       1);

absl::string_view NameIn(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

sockaddr_un AddressOf(absl::string_view text) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  text.copy(address.sun_path, UnixAddress::kMaxPath);
  return address;
}

}  // namespace

std::string UnixAddress::Refusal(absl::string_view path) {
  const size_t name = NameIn(path).size();
  if (path.size() <= kMaxPath || name <= kMaxNameOfLongerPath) return "";
  return absl::StrCat("its file name is too long for a Unix socket: ", name,
                      " bytes; in a path of more than ", kMaxPath, " bytes at most ",
                      kMaxNameOfLongerPath, " fit");
}

absl::StatusOr<UnixAddress> UnixAddress::Open(const std::string& path) {
  UnixAddress address;
  if (path.size() <= kMaxPath) {
    address.text_ = path;
    return address;
  }
  if (const std::string refusal = Refusal(path); !refusal.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", refusal));
  }
  const absl::string_view name = NameIn(path);
  const std::string directory = path.substr(0, path.size() - name.size());
  address.directory_ = UniqueFd(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!address.directory_.valid()) {
    return ErrnoStatus(path, "the directory cannot be opened", errno);
  }
  address.text_ = absl::StrCat(kDescriptors, address.directory_.get(), "/", name);
  return address;
}

UnixAddress UnixAddress::OfFile(int file) {
  UnixAddress address;
  address.text_ = absl::StrCat(kDescriptors, file);
  return address;
}

int UnixAddress::Connect(int socket) const {
  const sockaddr_un address = AddressOf(text_);
  const int result = connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return result == 0 ? 0 : errno;
}

int UnixAddress::Bind(int socket) const {
  const sockaddr_un address = AddressOf(text_);
  const int result = bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return result == 0 ? 0 : errno;
}

}  // namespace vmeventd
