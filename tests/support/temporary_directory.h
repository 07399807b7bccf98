#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace vmeventd {

// A new directory under /tmp. The destructor removes it with its contents. Its path is canonical,
// and short enough for programs that put a Unix socket's whole path into the address.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string path = "/tmp/vme-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
      std::perror("mkdtemp");
      std::abort();
    }
    path_ = std::filesystem::canonical(path);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;  // leftovers in /tmp fail no test
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return Path(name); }
  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  // Creates a directory inside, with its parents, and returns its path.
  std::string MakeDirectory(const std::string& name) const {
    std::string path = Path(name);
    std::filesystem::create_directories(path);
    return path;
  }

 private:
  std::string path_;
};

}  // namespace vmeventd
