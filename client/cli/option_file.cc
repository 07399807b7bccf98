#include "client/cli/option_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/strings/ascii.h"
#include "base/small_file.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxOfFile = 16 << 10;  // limit of a file with a secret, a URL or headers

}  // namespace

absl::StatusOr<std::string> ReadOption(const char* option, const std::string& path, bool secret) {
  const auto failed = [&](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat(option, ": ", EscapeForTerminal(path), " ", what));
  };
  struct stat found {};
  if (stat(path.c_str(), &found) != 0)
    return failed(absl::StrCat("cannot be read: ", strerror(errno)));
  if (secret && (found.st_mode & S_IRWXO) != 0) {
    return failed("may be read by every user of the host; chmod o-rwx it");
  }
  absl::StatusOr<std::string> content = ReadSmallFile(path, kMaxOfFile + 1);
  if (!content.ok()) return failed(absl::StrCat("cannot be read: ", content.status().message()));
  if (content->size() > kMaxOfFile)
    return failed(absl::StrCat("has more than ", kMaxOfFile, " bytes"));
  if (absl::StripAsciiWhitespace(*content).empty()) return failed("is empty");
  return content;
}

absl::Status CheckReadable(absl::string_view option, const std::string& path) {
  if (path.empty() || access(path.c_str(), R_OK) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(option, ": cannot read ", EscapeForTerminal(path), ": ", strerror(errno)));
}

}  // namespace vmeventd::client
