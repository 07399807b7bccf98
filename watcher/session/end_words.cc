#include "watcher/session/end_words.h"

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/signal_name.h"

namespace vmeventd {
namespace {

// "; logged in as alice, session 12, from 192.0.2.7"; empty: nobody had logged in.
std::string DescribeLogin(const SignalSender& sender) {
  if (!sender.login_uid.has_value()) return "";
  std::string text = absl::StrCat("; logged in as ", sender.login_user);
  if (sender.login_user.empty()) absl::StrAppend(&text, "uid ", *sender.login_uid);
  if (sender.login_session.has_value()) {
    absl::StrAppend(&text, ", session ", *sender.login_session);
  }
  if (!sender.remote_host.empty()) absl::StrAppend(&text, ", from ", sender.remote_host);
  return text;
}

}  // namespace

std::string DescribeExit(const ExitStatus& status) {
  if (status.signal == 0) return absl::StrCat("exit code ", status.code);
  std::string text = absl::StrCat("exit signal ", status.signal);
  if (sigabbrev_np(status.signal) == nullptr) return text;
  return absl::StrCat(text, " (", SignalName(status.signal), ")");
}

std::string DescribeSender(const SignalSender& sender) {
  if (sender.first_process != 0) {
    std::string first = absl::StrCat("the kernel, because the first process of its container (pid ",
                                     sender.first_process, ") ended");
    if (sender.first_signal == 0) return first;
    SignalSender sent = sender;
    sent.first_process = 0;
    return absl::StrCat(first, " after a ", SignalName(sender.first_signal), " of ",
                        DescribeSender(sent));
  }
  if (!sender.ended_with.empty()) return absl::StrCat("the kernel, because ", sender.ended_with);
  if (sender.by_kernel) return "the kernel";
  if (sender.from_last_words) {
    return absl::StrCat(sender.command.empty() ? "a process" : sender.command, " (pid ", sender.pid,
                        ", as QEMU reports)");
  }
  if (!sender.uid.has_value()) {
    return absl::StrCat(sender.of_qemu ? "QEMU or a process of its own" : "a process that is gone",
                        " (pid ", sender.pid, ")");
  }
  const bool nameless = absl::StripAsciiWhitespace(sender.command).empty();
  return absl::StrCat(nameless ? "a process without a name" : sender.command, " (pid ", sender.pid,
                      ", uid ", *sender.uid, sender.cgroup.empty() ? "" : ", ", sender.cgroup,
                      sender.descent_unproven ? ", perhaps QEMU's own: what started it is gone"
                      : sender.of_qemu        ? ", of QEMU's own"
                                              : "",
                      DescribeLogin(sender), ")");
}

}  // namespace vmeventd
