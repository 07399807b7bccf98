#include "tests/support/temp_dir.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "tests/support/wait.h"

namespace vmeventd::e2e {

TempDir::TempDir() {
  std::string path = "/tmp/vme-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) FailErrno("no temporary directory");
  path_ = path;
}

TempDir::~TempDir() {
  std::error_code ignored;  // what is left over in /tmp fails no test
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Touch(const std::string& path) {
  if (!std::ofstream(path)) FailErrno("no file " + path);
}

bool Exists(const std::string& path) {
  std::error_code error;  // a name may be too long to be there
  return std::filesystem::exists(path, error);
}

}  // namespace vmeventd::e2e
