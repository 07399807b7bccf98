#include "server/rpc/who_ended.h"

#include <cstdint>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "watcher/core/causes.h"
#include "watcher/core/vm_source.h"

namespace vmeventd {
namespace {

// The name of the sender's program. A script's process has the script's name, and its interpreter's
// executable; a thread of a program may have any name.
std::string ProgramOf(const v1::SignalSender& sender) {
  constexpr absl::string_view kInterpreters[] = {"bash", "dash", "python", "perl",
                                                 "ruby", "node", "php"};
  const std::string& path = sender.executable();
  const std::string program = path.substr(path.rfind('/') + 1);
  const bool interprets = absl::c_any_of(kInterpreters, [&program](absl::string_view name) {
    return absl::StartsWith(program, name);
  });
  return program.empty() || (interprets && !sender.command().empty()) ? sender.command() : program;
}

std::string SenderOf(const v1::SignalSender& sender) {
  if (sender.kernel()) return "the kernel";
  if (sender.of_qemu()) return "QEMU itself";
  if (!sender.login_user().empty()) return sender.login_user();
  const std::string program = ProgramOf(sender);
  const std::string name = program.empty() ? absl::StrCat("pid ", sender.pid()) : program;
  const uint32_t uid = sender.has_login_uid() ? sender.login_uid() : sender.uid();
  return uid != 0 ? absl::StrCat(name, " (uid ", uid, ")") : name;
}

// The key of a source that is a manager is the manager's name, and only a manager reports such an
// end.
std::string ManagerNameOf(const v1::VmRef& vm) {
  const std::string key = ParseVmSource(vm.source()).key;
  return key.empty() ? "the manager" : key;
}

}  // namespace

std::string WhoOf(const v1::ShutdownDetail& shutdown, const v1::VmRef& vm) {
  // An intent did not decide if the class is another one.
  if (shutdown.has_intent() && shutdown.shutdown_class() == v1::SHUTDOWN_CLASS_ADMIN) {
    return shutdown.intent().actor();
  }
  if (shutdown.has_sender()) return SenderOf(shutdown.sender());
  switch (TraitsOf(static_cast<ShutdownCause>(shutdown.cause())).ender) {
    case Ender::kGuest:
      return "the guest";
    case Ender::kQemu:
      return "QEMU itself";
    case Ender::kManager:
      return ManagerNameOf(vm);
    case Ender::kOfClass:
      break;
  }
  switch (shutdown.shutdown_class()) {
    case v1::SHUTDOWN_CLASS_USER:
      return "the guest";
    case v1::SHUTDOWN_CLASS_ADMIN:
    case v1::SHUTDOWN_CLASS_CRASH:
      return "the host";
    default:
      return "unknown";
  }
}

}  // namespace vmeventd
