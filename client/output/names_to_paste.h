#pragma once

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/glob.h"
#include "client/output/shell_quote.h"

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

}  // namespace vmeventd::client
