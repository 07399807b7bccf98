#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The sender of a signal to QEMU: a process or the kernel. Text is UTF-8 without control
// characters.
struct SignalSender {
  int signal = 0;
  bool by_kernel = false;  // the members up to `sent` are then empty
  int64_t pid = 0;
  std::optional<uint32_t> uid;  // the real one; unset: nothing more is known of it
  std::string command;          // its comm
  std::string executable;       // empty, like `cgroup`: it was gone before it was read
  std::string cgroup;
  bool of_qemu = false;           // QEMU itself, or a process that may descend from it
  bool descent_unproven = false;  // with of_qemu: the descent is neither shown nor excluded
  absl::Time sent = absl::InfinitePast();  // InfinitePast: before all further input of QEMU
  // If the kernel killed QEMU because the first process of its PID namespace (its container) ended:
  // that process; else 0. Then all members but `signal` describe the signal that ended the first
  // process, whose number is `first_signal`. `first_signal` 0: nobody saw such a signal, and
  // by_kernel is set.
  int64_t first_process = 0;
  int first_signal = 0;
  // The end of another process that made the kernel send the signal, for people: of QEMU's parent,
  // as QEMU's launcher had requested (PR_SET_PDEATHSIG), or of a tracer. Empty: none.
  std::string ended_with = {};
  // It runs, or may run, as the user of QEMU, which is not root: a guest that broke out of a QEMU
  // can have chosen the sender's name.
  bool of_qemus_user = false;
  bool from_last_words = false;  // only QEMU's last words name it, by `pid` and `command`
  // The user from whose login the sender descends, and the login session, as the kernel's audit
  // numbers them; unset: no login, or not known.
  std::optional<uint32_t> login_uid = {};
  std::optional<uint32_t> login_session = {};
  std::string login_user = {};   // that user's name, from systemd-logind; empty: not known
  std::string remote_host = {};  // where the user came from; empty: this host, or not known
};

v1::SignalSender ToProto(const SignalSender& sender);

}  // namespace vmeventd
