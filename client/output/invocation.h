#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// How this program was called, for the commands in its sentences: pasted, they ask the same
// servers. Safe for a terminal.
struct Invocation {
  // Begins a command: "vmevents" with the options that were given to name its servers.
  std::string client = "vmevents";
  std::string where;     // completes "is known", as " in the fleet"
  bool is_here = false;  // it asks one vmeventd, which is on this host

  // The command to paste, and the same in a sentence: "`vmevents --context prod vms --all`".
  std::string Line(absl::string_view command) const { return absl::StrCat(client, " ", command); }
  std::string Quoted(absl::string_view command) const {
    return absl::StrCat("`", Line(command), "`");
  }
  // `doctor` in a sentence, which has to run on the node.
  std::string QuotedDoctor() const {
    return is_here ? Quoted("doctor") : "`vmevents doctor` on the node";
  }
};

}  // namespace vmeventd::client
