#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace vmeventd {

// The address of the Unix socket at a path of any length. An address has room for 107 bytes
// (unix(7)). A longer path is reached through a descriptor of its directory, which the object owns:
// such an address works only in this process and while the object lives.
class UnixAddress {
 public:
  // Longest path that fits into an address, and longest file name in a longer path.
  static constexpr size_t kMaxPath = 107;
  static constexpr size_t kMaxNameOfLongerPath = 82;
  // Returns the reason why no socket can be reached at such a path, in the form "its ... is ...";
  // empty: one can. Pure.
  static std::string Refusal(absl::string_view path);

  // Opens the directory if that is needed, and follows links as connect(2) does. The error names
  // the path and the reason: NOT_FOUND: no such directory; INVALID_ARGUMENT: a name is too long;
  // RESOURCE_EXHAUSTED: no descriptor is left.
  static absl::StatusOr<UnixAddress> Open(const std::string& path);
  // Returns an address of exactly the socket file that `file` has open (O_PATH).
  static UnixAddress OfFile(int file);

  // The address, for a library that takes it as text.
  const std::string& text() const { return text_; }
  // connect(2) and bind(2). Return 0 or the errno.
  int Connect(int socket) const;
  int Bind(int socket) const;

 private:
  UnixAddress() = default;

  UniqueFd directory_;
  std::string text_;
};

}  // namespace vmeventd
