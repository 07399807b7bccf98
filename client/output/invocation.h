#pragma once

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/glob.h"
#include "client/output/terminal_text.h"

// The parts of commands that a user may paste into a shell.

namespace vmeventd::client {

// The arguments of a command for the VMs with exactly these names, whatever characters they have.
// Safe for a terminal.
inline std::string NamesToPaste(const std::vector<std::string>& names) {
  std::string words;
  bool is_like_option = false;
  for (const std::string& name : names) {
    is_like_option = is_like_option || absl::StartsWith(name, "-");
    absl::StrAppend(&words, words.empty() ? "" : " ", QuoteForShell(PatternFor(name)));
  }
  return absl::StrCat(is_like_option ? "-- " : "", words);
}

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
