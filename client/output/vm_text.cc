#include "client/output/vm_text.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

std::string PauseWords(absl::string_view run_state) {
  static constexpr std::pair<absl::string_view, absl::string_view> kWords[] = {
      {"paused", "by a command of the host (stop)"},
      {"prelaunch", "held before its start (-S)"},
      {"inmigrate", "waits for an incoming migration"},
      {"finish-migrate", "at the end of a migration"},
      {"postmigrate", "migrated away, or its memory saved to a file"},
      {"save-vm", "its state is being saved"},
      {"restore-vm", "its state is being restored"},
      {"io-error", "after an I/O error"},
      {"watchdog", "by its watchdog"},
      {"internal-error", "after an internal error of KVM or QEMU"},
      {"guest-panicked", "its guest's kernel panicked"},
      {"debug", "by a debugger"},
      {"colo", "waits for its COLO replica"},
  };
  for (const auto& [name, words] : kWords) {
    if (name == run_state) return std::string(words);
  }
  return run_state.empty() ? "" : absl::StrCat("run state ", EscapeForTerminal(run_state));
}

std::string ProblemsText(const v1::Vm& vm) {
  return absl::StrJoin(vm.problems(), "; ", [](std::string* out, const v1::Problem& problem) {
    absl::StrAppend(out, problem.text());
  });
}

std::string LabelsText(const v1::VmRef& vm) {
  const std::map<std::string, std::string> labels(vm.labels().begin(), vm.labels().end());
  return absl::StrJoin(labels, ",", [](std::string* out, const auto& label) {
    absl::StrAppend(out, label.first, "=",
                    absl::StrReplaceAll(label.second, {{",", "\\,"}, {"\\", "\\\\"}}));
  });
}

}  // namespace vmeventd::client
