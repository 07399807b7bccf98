#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/output/terminal_text.h"

// Reads files that options name.

namespace vmeventd::client {

// Returns the content of a file that an option names. It must not be empty, and a `secret` file
// must give no permissions to others (o-rwx). INVALID_ARGUMENT names the option and the fault.
absl::StatusOr<std::string> ReadOption(const char* option, const std::string& path,
                                       bool secret = true);

// Checks that a file that an option names can be read, or that none is named. INVALID_ARGUMENT
// names the option and the fault.
absl::Status CheckReadable(absl::string_view option, const std::string& path);

// Parses the file that the option names; an error of `parse` completes "FILE ...". Without a path
// it returns an empty value.
template <typename Parse>
auto ParseOption(const char* option, const std::string& path, const Parse& parse,
                 bool secret = true) -> decltype(parse(path)) {
  using Value = typename decltype(parse(path))::value_type;
  if (path.empty()) return Value();
  const absl::StatusOr<std::string> content = ReadOption(option, path, secret);
  if (!content.ok()) return content.status();
  auto parsed = parse(*content);
  if (parsed.ok()) return parsed;
  return absl::InvalidArgumentError(
      absl::StrCat(option, ": ", EscapeForTerminal(path), " ", parsed.status().message()));
}

}  // namespace vmeventd::client
