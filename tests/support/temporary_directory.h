#ifndef VMEVENTD_TESTS_SUPPORT_TEMPORARY_DIRECTORY_H_
#define VMEVENTD_TESTS_SUPPORT_TEMPORARY_DIRECTORY_H_

#include <cstdlib>
#include <filesystem>
#include <string>

namespace vmeventd {

// A directory of the test's own, with a short path, for sockets. Gone with it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string path = "/tmp/vmeventd-test-XXXXXX";
    if (mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_TESTS_SUPPORT_TEMPORARY_DIRECTORY_H_
