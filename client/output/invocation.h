#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

// The call of this program. With it, the commands in its sentences ask the same servers when a
// user pastes them. Safe for a terminal.
struct Invocation {
  // The beginning of a command: "vmevents" with the options that named the servers.
  std::string client = "vmevents";
  std::string where;     // completes "is known", for example " in the fleet"
  bool is_here = false;  // it asks a single vmeventd on this host

  // The command to paste, and the command in a sentence: "`vmevents --context prod vms --all`".
  std::string Line(absl::string_view command) const { return absl::StrCat(client, " ", command); }
  std::string Quoted(absl::string_view command) const {
    return absl::StrCat("`", Line(command), "`");
  }
  // The command `doctor` in a sentence. It must run on the node.
  std::string QuotedDoctor() const {
    return is_here ? Quoted("doctor") : "`vmevents doctor` on the node";
  }
};

}  // namespace vmeventd::client
