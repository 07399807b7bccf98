#ifndef VMEVENTD_TESTS_SUPPORT_FILES_H_
#define VMEVENTD_TESTS_SUPPORT_FILES_H_

#include <string>

namespace vmeventd::e2e {

std::string ReadFile(const std::string& path);
// Creates an empty file.
void Touch(const std::string& path);
bool Exists(const std::string& path);

}  // namespace vmeventd::e2e

#endif  // VMEVENTD_TESTS_SUPPORT_FILES_H_
