#pragma once

#include <sys/types.h>

#include <string>

namespace vmeventd::e2e {

std::string ReadFile(const std::string& path);
// Creates an empty file.
void Touch(const std::string& path);
// Returns whether there is such a file. A symbolic link exists even if it leads nowhere.
bool Exists(const std::string& path);
// The permissions of a file, without its type.
mode_t ModeOf(const std::string& path);

}  // namespace vmeventd::e2e
