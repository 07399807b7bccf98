#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "vmeventd/v1/vm_events.pb.h"

// Texts for a VM's fields.

namespace vmeventd::client {

// The reason of a pause, from QEMU's run state: "waits for an incoming migration". Escaped; empty
// for an empty run state.
std::string PauseWords(absl::string_view run_state);

// The texts of the VM's problems, separated by "; "; not escaped.
std::string ProblemsText(const v1::Vm& vm);

// "app=web,tier=db", sorted by key; "" without labels. A backslash precedes a comma or a backslash
// in a value, as in a selector.
std::string LabelsText(const v1::VmRef& vm);

}  // namespace vmeventd::client
