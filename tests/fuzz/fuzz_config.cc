// Any flags and configuration file result in a configuration, or in an error with a message; any
// configuration can be printed.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/config/parse_config.h"

namespace {

using vmeventd::ParseConfig;
using vmeventd::ParsedConfig;

const vmeventd::Environment& Nobody() {
  static const auto* environment =
      new vmeventd::Environment{1000, [](const char*) { return std::string("/run/user"); }};
  return *environment;
}

// A file with this text, which exists while the object does.
class MemoryFile {
 public:
  explicit MemoryFile(absl::string_view text) : fd_(memfd_create("config", MFD_CLOEXEC)) {
    if (fd_ < 0 || write(fd_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      std::abort();
    }
  }
  ~MemoryFile() { close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_); }

 private:
  const int fd_;
};

void Check(const ParsedConfig& parsed) {
  if (parsed.config.has_value()) return;
  if (parsed.exit_code != 0 && parsed.exit_code != 2) std::abort();
  if (parsed.text.empty()) std::abort();
}

}  // namespace

// The first byte decides whether the rest is a file, or flags, one a line.
void Fuzz_config(absl::string_view input) {
  if (input.empty()) return;
  const absl::string_view text = input.substr(1);
  std::vector<std::string> arguments;
  const MemoryFile file(text);
  if (input[0] == 'f') {
    arguments = {"--config", file.path()};
  } else {
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      // The fuzzer must not read files of the system.
      if (line.find('/') != absl::string_view::npos &&
          line.find("config") != absl::string_view::npos) {
        return;
      }
      arguments.emplace_back(line);
    }
  }
  const ParsedConfig parsed = ParseConfig(arguments, Nobody());
  Check(parsed);
  if (!parsed.config.has_value()) return;
  arguments.insert(arguments.begin(), "--check-config");  // "--" may end the flags
  const ParsedConfig described = ParseConfig(arguments, Nobody());
  if (described.exit_code != 0 || described.text.empty()) std::abort();
}
