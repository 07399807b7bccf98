#include "watcher/core/qemu_program.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace vmeventd {

bool IsQemuProgram(absl::string_view name) {
  name.remove_prefix(name.rfind('/') + 1);
  // NixOS calls a wrapped program ".qemu-system-x86_64-wrapped".
  if (absl::ConsumePrefix(&name, ".")) absl::ConsumeSuffix(&name, "-wrapped");
  // Not qemu-nbd, qemu-storage-daemon and the like.
  return absl::StartsWith(name, "qemu-system-") || name == "qemu-kvm" || name == "kvm" ||
         name == "kvm-spice" || name == "qemu";
}

bool IsQemu(const std::vector<std::string>& arguments) {
  return !arguments.empty() && IsQemuProgram(arguments.front());
}

std::vector<std::string> WithProgram(std::vector<std::string> arguments, absl::string_view file,
                                     absl::string_view name) {
  if (arguments.empty() || IsQemu(arguments)) return arguments;
  absl::ConsumeSuffix(&file, " (deleted)");  // since the process began
  for (const absl::string_view program : {file, name}) {
    if (!IsQemuProgram(program)) continue;
    arguments[0] = std::string(program);
    return arguments;
  }
  // An AppImage or Conda may start the loader: "ld-linux-x86-64.so.2 --library-path DIRS PROGRAM".
  const absl::string_view loader = file.substr(file.rfind('/') + 1);
  if (!absl::StartsWith(loader, "ld-") && !absl::StartsWith(loader, "ld.so")) return arguments;
  const auto program = std::find_if(arguments.begin() + 1, arguments.end(), IsQemuProgram);
  if (program != arguments.end()) arguments.erase(arguments.begin(), program);
  return arguments;
}

}  // namespace vmeventd
