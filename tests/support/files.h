#ifndef VMEVENTD_TESTS_SUPPORT_TEMP_DIR_H_
#define VMEVENTD_TESTS_SUPPORT_TEMP_DIR_H_

#include <string>

namespace vmeventd::e2e {

// A new directory under /tmp, removed with all that is in it at the end. Its path is short: a Unix
// socket's has 107 bytes.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string ReadFile(const std::string& path);
// Makes an empty file.
void Touch(const std::string& path);
bool Exists(const std::string& path);

}  // namespace vmeventd::e2e

#endif  // VMEVENTD_TESTS_SUPPORT_TEMP_DIR_H_
