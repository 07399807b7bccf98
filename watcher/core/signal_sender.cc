#include "watcher/core/signal_sender.h"

namespace vmeventd {

v1::SignalSender ToProto(const SignalSender& sender) {
  v1::SignalSender out;
  out.set_signal(sender.signal);
  out.set_kernel(sender.by_kernel);
  out.set_pid(sender.pid);
  if (sender.uid.has_value()) out.set_uid(*sender.uid);
  out.set_command(sender.command);
  out.set_executable(sender.executable);
  out.set_cgroup(sender.cgroup);
  if (!sender.by_kernel && !sender.descent_unproven && !sender.from_last_words) {
    out.set_of_qemu(sender.of_qemu);
  }
  out.set_from_last_words(sender.from_last_words);
  if (sender.login_uid.has_value()) out.set_login_uid(*sender.login_uid);
  if (sender.login_session.has_value()) out.set_login_session(*sender.login_session);
  out.set_login_user(sender.login_user);
  out.set_remote_host(sender.remote_host);
  out.set_container_pid(sender.first_process);
  out.set_container_signal(sender.first_signal);
  out.set_parent_ended(!sender.ended_with.empty());
  return out;
}

}  // namespace vmeventd
