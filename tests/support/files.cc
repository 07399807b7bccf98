#include "tests/support/files.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "tests/support/fail.h"

namespace vmeventd::e2e {

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Touch(const std::string& path) {
  if (!std::ofstream(path)) FailErrno("no file " + path);
}

bool Exists(const std::string& path) {
  std::error_code error;  // a name may be too long to exist
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

mode_t ModeOf(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) FailErrno("no mode of " + path);
  return info.st_mode & 0777;
}

}  // namespace vmeventd::e2e
