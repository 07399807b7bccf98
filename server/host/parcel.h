#ifndef VMEVENTD_SERVER_HOST_PARCEL_H_
#define VMEVENTD_SERVER_HOST_PARCEL_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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

// `descriptors` stay open and the caller's. The error names the system call that failed.
absl::StatusOr<UniqueFd> PackParcel(absl::string_view text, const std::vector<int>& descriptors);

// Takes everything out, which can be done once. INVALID_ARGUMENT: it is no parcel, or not a whole
// one.
absl::StatusOr<Parcel> OpenParcel(UniqueFd parcel);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_PARCEL_H_
