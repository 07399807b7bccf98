#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {

// Returns whether an epoll instance of this process watches the file of `fd`, by this descriptor or
// another one.
inline bool IsWatchedByEpoll(int fd) {
  struct stat file {};
  fstat(fd, &file);
  const std::string entry = absl::StrCat(" ino:", absl::Hex(file.st_ino), " ");
  for (const auto& info : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
    std::ifstream in(info.path());
    std::string text;
    // Reads nothing if another thread closes the descriptor meanwhile.
    std::getline(in, text, '\0');
    if (absl::StrContains(text, "tfd:") && absl::StrContains(text, entry)) return true;
  }
  return false;
}

}  // namespace vmeventd
