// Any flags and configuration file result in a configuration, or in an error with a message; any
// configuration can be printed.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/config/config.h"

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
extern "C" int Fuzz_config(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const absl::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::vector<std::string> arguments;
  const MemoryFile file(text);
  if (data[0] == 'f') {
    arguments = {"--config", file.path()};
  } else {
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      // The fuzzer must not read files of the system.
      if (line.find('/') != absl::string_view::npos &&
          line.find("config") != absl::string_view::npos) {
        return 0;
      }
      arguments.emplace_back(line);
    }
  }
  const ParsedConfig parsed = ParseConfig(arguments, Nobody());
  Check(parsed);
  if (!parsed.config.has_value()) return 0;
  arguments.insert(arguments.begin(), "--check-config");  // "--" may end the flags
  const ParsedConfig described = ParseConfig(arguments, Nobody());
  if (described.exit_code != 0 || described.text.empty()) std::abort();
  return 0;
}
