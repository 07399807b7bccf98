#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/unix_sockets.h"

namespace vmeventd {

// Why a monitor sent no greeting: by the state of QEMU's process, and by the kernel's list of Unix
// sockets. That list takes 14 ms to read with 20,000 sockets, so it is read once for all monitors
// that began to wait before. Loop thread.
class SilentMonitors {
 public:
  struct Reason {
    absl::string_view problem;  // of the VM, for people; what cannot be distinguished is together
    bool may_start;             // a QEMU that starts shows the same
  };
  // Of the VM whose monitor `connection` has waited for the greeting for `waited`.
  // `pid` is that of its QEMU, 0 if it is not known.
  Reason Explain(int connection, int64_t pid, absl::Duration now, absl::Duration waited);

 private:
  // Of a monitor's socket.
  struct Clients {
    bool listening = false;  // it was found
    bool accepted = false;   // a client that lives is connected
    bool ours = false;       // this is
  };
  Clients ClientsOf(int connection) const;

  std::vector<UnixSocket> sockets_;  // by path
  absl::Duration read_at_ = -absl::InfiniteDuration();
};

}  // namespace vmeventd
