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

// One descriptor that holds many others and a text: a Unix socket with all of them in its queue,
// whose other end is closed. The service manager keeps it as it is, and sees neither number nor
// content. Any thread; nothing blocks.
struct Parcel {
  static constexpr size_t kMaxText = size_t{64} << 20;
  static constexpr size_t kMaxDescriptors = 1 << 20;

  std::string text;
  std::vector<UniqueFd> descriptors;
};

// `descriptors` stay open and the caller's. The error names the system call that failed. ABORTED:
// so many descriptors of this user are under way that the kernel permits no more (RLIMIT_NOFILE).
absl::StatusOr<UniqueFd> PackParcel(absl::string_view text, const std::vector<int>& descriptors);

// Takes everything out, which can be done once. INVALID_ARGUMENT: it is no parcel, or not a whole
// one.
absl::StatusOr<Parcel> OpenParcel(UniqueFd parcel);

// Parcels are messages of a Unix socket of type SOCK_SEQPACKET, each with a text and at most
// kMaxOfMessage descriptors.
inline constexpr size_t kMaxOfMessage = 253;  // SCM_MAX_FD
struct ParcelSockets {
  UniqueFd parcel;  // from which messages are received
  UniqueFd sender;
};
absl::StatusOr<ParcelSockets> MakeParcelSockets();
bool IsParcelSocket(int fd);
// Names one socket for as long as the kernel runs; 0: no socket.
uint64_t SocketCookie(int socket);
// `descriptors` stay open and the caller's. An error: nothing was sent. ABORTED: as of PackParcel.
absl::Status SendToParcel(int sender, absl::string_view text, absl::Span<const int> descriptors);
// Adds to `descriptors` what comes with the next message, and returns its text: empty at the end.
// The message `stays` in the parcel, or does not. UNAVAILABLE: no message is there.
// INVALID_ARGUMENT: not all of it could be received.
absl::StatusOr<std::string> ReceiveFromParcel(int parcel, size_t max_text,
                                              std::vector<UniqueFd>* descriptors,
                                              bool stays = false);

}  // namespace vmeventd
