#pragma once

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace vmeventd {

// Ganeti's directory. The monitors that Ganeti leaves to other programs are *.kvmd there, which is
// the default pattern for it; elsewhere that is *.qmp.
inline constexpr char kGanetiControlDirectory[] = "/var/run/ganeti/kvm-hypervisor/ctrl";
inline constexpr char kGanetiMonitorSuffix[] = ".kvmd";
// Returns whether it is that directory; /var/run stands for /run.
inline bool IsGanetiControlDirectory(absl::string_view directory) {
  return absl::StripPrefix(directory, "/var") == absl::StripPrefix(kGanetiControlDirectory, "/var");
}

}  // namespace vmeventd
