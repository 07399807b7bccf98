#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/unique_fd.h"

namespace vmeventd {

// A parcel: one descriptor that holds many others with a text for each few of them, a Unix socket
// of type SOCK_SEQPACKET with all of them in its queue. The service manager keeps it as it is, and
// sees neither number nor content. Any thread; nothing blocks.

// Most descriptors of one message.
inline constexpr size_t kMaxOfMessage = 253;  // SCM_MAX_FD

struct ParcelSockets {
  UniqueFd parcel;  // the end from which messages are received
  UniqueFd sender;
};
absl::StatusOr<ParcelSockets> MakeParcelSockets();
bool IsParcelSocket(int fd);
// Names one socket for as long as the kernel runs; 0: no socket.
uint64_t SocketCookie(int socket);
// `descriptors` stay open and the caller's. The error names the system call that failed: nothing
// was sent. It also fails if so many descriptors of this user are in flight that the kernel permits
// no more (RLIMIT_NOFILE).
absl::Status SendToParcel(int sender, absl::string_view text, absl::Span<const int> descriptors);
// Adds the descriptors of the next message to `descriptors`, and returns its text: empty at the
// end. The message `stays` in the parcel, or is removed. UNAVAILABLE: no message is there.
// INVALID_ARGUMENT: not all of it could be received.
absl::StatusOr<std::string> ReceiveFromParcel(int parcel, size_t max_text,
                                              std::vector<UniqueFd>* descriptors,
                                              bool stays = false);

}  // namespace vmeventd
